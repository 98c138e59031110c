//! Generation: prompts with pictures, sequences, key/value pages, caches, sampling.
//!
//! One [`Engine`] owns a model's mutable state. A [`Prompt`] goes in, [`Event`]s come out, an
//! [`Outcome`] ends it. What is not here: files, templates, HTTP, devices.
#![forbid(unsafe_code)]

mod answer;
mod choose;
mod context;
mod disk;
mod draft;
mod encode;
mod engine;
mod error;
mod event;
mod features;
mod grammar;
mod isolate;
mod join;
mod keys;
mod logprobs;
mod lookup;
mod model;
mod paced;
mod pages;
mod picture;
mod plan;
mod prompt;
mod ranked;
mod repetition;
mod request;
mod sampler;
mod sampling;
mod scheduler;
mod sequence;
mod stats;
mod step;
mod table;
mod tempo;
mod thinking;
mod trace;
mod vision;

pub use context::{ContextPolicy, Dropped, Turn, drop_oldest};
pub use disk::ImageCache;
pub use engine::{Engine, Settings};
pub use error::Error;
pub use event::{
    Alternative, Channel, Drafts, Event, FinishReason, Outcome, Output, PromptLogprobs, StopCause,
    Timings, TokenLogprob,
};
pub use features::{FeatureCache, KnownPictures};
pub use grammar::{COMPILE_TIME, GRAMMAR_BYTES, Grammar, GrammarSource, Grammars};
pub use keys::cache_salt;
pub use model::Model;
pub use pages::{PageKey, PagePool};
pub use picture::Picture;
pub use plan::{SCORED_ROWS, STEP_ROWS, text_memory, text_work, vision_memory, vision_work};
pub use prompt::{ImageKey, ImageSlot, ImageSpan, Layout, Medium, Owner, Prompt, RowKey};
pub use repetition::Repetition;
pub use request::{Generate, MOST_ALTERNATIVES, MOST_BIASES, Thinking};
pub use sampler::{Sampler, most_likely};
pub use sampling::Sampling;
pub use scheduler::{ClientId, Plan, Scheduler, SchedulerLimits, SequenceId, Submission};
pub use stats::Stats;
pub use trace::Traced;
pub use vision::Slices;

pub(crate) use sequence::Sequence;

/// Tokens in a page of the cache of keys and values.
pub const PAGE_TOKENS: usize = 16;
