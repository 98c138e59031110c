//! Writing models: Hugging Face checkpoints to GGUF, quantising, merging, splitting, repairing.
//!
//! - [`convert`]: a folder with safetensors to a text model and a projector under llama.cpp's names.
//! - [`quantize`]: a GGUF to one with fewer bits, by the standard mixes.
//! - [`merge`] and [`split`]: text model and projector as one file and back, and models in numbered parts.
//! - [`repair`]: files of old converters under current names and keys.
//!
//! Files are written tensor by tensor on all cores: memory is some megabytes for each core,
//! whatever the model's size. A file gets its name when it is complete and flushed to disk; after
//! an error nothing is left under any name. Nothing is printed: progress goes to a callback, which
//! can also stop the work, and what was assumed comes back as notes.

#![forbid(unsafe_code)]

mod convert;
mod encode;
mod error;
mod experts;
mod file_type;
mod gemma3;
mod hub;
mod merge;
mod mix;
mod parts;
mod projector;
mod quantize;
mod recipe;
mod repair;
mod source;
mod still;
mod still_repair;
mod text;

pub use convert::{ConvertOptions, Converted, Existing, convert};
pub use encode::{OnProgress, Progress};
pub use error::{Error, ErrorKind};
pub use file_type::FileType;
pub use merge::{Layout, RewriteOptions, Rewritten, merge, repair, split};
pub use mix::Mix;
pub use quantize::{QuantizeOptions, Quantized, VisionTensors, quantize};
