//! Goldens, tolerances and tiny models for tests.
