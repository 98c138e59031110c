//! Sequences, caches, sampling and generation.
