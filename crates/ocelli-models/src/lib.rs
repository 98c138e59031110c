//! Model architectures: text decoders, vision encoders, and how a pair of them joins.
//!
//! An architecture is one file under [`text`] or [`vision`] that reads like its paper. What it is
//! made of stands in [`parts`]; which file makes which model stands in [`registry`].
//!
//! What is not here: devices and threads (models speak to `ocelli_tensor::Backend`), sampling,
//! tokenizers, files beyond tensors and metadata.
#![forbid(unsafe_code)]

mod config;
mod error;
mod features;
mod load;
mod names;
pub mod parts;
mod positions;
pub mod registry;
mod rope_config;
mod step;
pub mod text;
mod video;
pub mod vision;
mod window_config;

pub use error::Error;
pub use features::{Encoding, ImageFeatures, Progress, VisionModel, VisionShape};
pub use load::{Loader, Scope};
pub use names::{NameTable, Part, is_vision, normalise};
pub use positions::{Positions, Segment, one_axis_positions, three_axis_positions};
pub use registry::{Join, LaidOut, join, load_text, load_vision};
pub use step::{ImageRows, Step, TextModel, TextShape, run_step};
pub use video::{TimeRule, VideoRules, timestamp};
