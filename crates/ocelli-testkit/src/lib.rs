//! Goldens, tolerances and tiny models for tests. For tests only: what goes wrong here panics, with
//! the facts.
//!
//! [`Suite::load`] opens a folder of `tests/goldens`: a tiny GGUF pair and cases whose every stage
//! was computed by the reference. [`Case::assert_stage`] compares one stage,
//! [`Case::assert_stages`] all of them, in the order in which they are computed, so that the first
//! line that fails is the place to look. [`tiny`] makes models from nothing, whole or broken.
#![forbid(unsafe_code)]

mod compare;
mod goldens;
mod stages;
pub mod tiny;

pub use compare::{Report, TOLERANCE, compare};
pub use goldens::{Case, Conversation, Suite, goldens, suites};
pub use stages::{Stage, Stages, Values};
