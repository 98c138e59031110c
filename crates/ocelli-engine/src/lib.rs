//! Generation: prompts with pictures, sequences, key/value pages, caches, sampling.
//!
//! One [`Engine`] owns a model's mutable state. A [`Prompt`] goes in, [`Event`]s come out, an
//! [`Outcome`] ends it. What is not here: files, templates, HTTP, devices.
#![forbid(unsafe_code)]

mod answer;
mod engine;
mod error;
mod event;
mod features;
mod model;
mod pages;
mod plan;
mod prompt;
mod sampler;
mod scheduler;
mod sequence;
mod step;
mod trace;
mod vision;

pub use engine::{Engine, Generate, Settings};
pub use error::Error;
pub use event::{Event, FinishReason, Outcome, Output, Timings};
pub use features::FeatureCache;
pub use model::Model;
pub use pages::{PageKey, PagePool};
pub use plan::{STEP_ROWS, text_memory, vision_memory};
pub use prompt::{ImageKey, ImageSlot, ImageSpan, Prompt};
pub use sampler::{Sampler, Sampling, most_likely};
pub use scheduler::{ClientId, Plan, Scheduler, SchedulerLimits, SequenceId, Submission};
pub use trace::Traced;
pub use vision::Picture;

pub(crate) use sequence::Sequence;

/// Tokens in a page of the cache of keys and values.
pub const PAGE_TOKENS: usize = 16;
