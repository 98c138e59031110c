//! Ask questions about pictures with vision-language models from GGUF files.
//!
//! A text model file and a projector (`mmproj`) file are joined when they are opened; pictures and a
//! question go in, an answer comes out. Everything runs on this machine.
//!
//! ```
//! use ocelli::{Model, Request};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! # std::env::set_current_dir("../..").expect("tests run in the crate's folder");
//! // The built-in model; `Model::open("model.gguf")` finds the projector beside the file.
//! let mut model = Model::demo()?;
//! let answer = model.ask(Request::new("What is in this picture?").image("examples/scene.png"))?;
//! println!("{}", answer.text);
//! for image in &answer.images {
//!     println!("seen at {}x{}: {} tokens", image.resized_width, image.resized_height, image.tokens);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Request::from_messages`] takes a whole conversation. A second question about the same picture encodes
//! nothing again. [`Model::ask_with`] tells of the answer as it comes, and can end it:
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use ocelli::{Event, Model, Request};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! # std::env::set_current_dir("../..").expect("tests run in the crate's folder");
//! let mut model = Model::demo()?;
//! let request = Request::new("What is in this picture?").image("examples/scene.png").max_tokens(50);
//! let mut shown = String::new();
//! let answer = model.ask_with(request, &mut |event| {
//!     if let Event::Text(text) = event {
//!         shown.push_str(text);
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(shown, answer.text);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Model`] answers one request at a time; a [`service::Service`] answers many at once, from any thread.
#![forbid(unsafe_code)]

mod answer;
mod assumed;
pub mod bench;
mod chat;
mod check;
mod demo;
mod error;
pub mod errors;
pub mod inspect;
mod load;
mod memory;
pub mod messages;
mod model;
mod options;
mod pictures;
pub mod plan;
mod prepare;
pub mod quality;
mod recognised;
mod request;
pub mod service;
mod shorten;
pub mod trace;
mod video;

pub use answer::{Answer, Timings, Usage};
pub use error::{Error, ErrorKind};
pub use model::Model;
/// Writing models: converting, quantising, merging, splitting, repairing.
pub use ocelli_convert as convert;
pub use ocelli_cpu::{Isa, Precision};
pub use ocelli_engine::{
    Alternative, Channel, ClientId, ContextPolicy, Event, FinishReason, GrammarSource,
    PromptLogprobs, Sampling, StopCause, Thinking, TokenLogprob,
};
pub use ocelli_image::boxes::{Located, Region};
pub use ocelli_image::{Grid, ImageRecord, Orientation, VideoRecord, read_bytes, write_bytes};
pub use ocelli_store as store;
pub use ocelli_tensor::KvElement;
pub use ocelli_text::ToolCall;
pub use options::{Options, OwnBackend, Source, Witness, Work};
pub use pictures::{MOST_IMAGES, PictureBudget, draw};
pub use request::{ImageSource, Message, Part, Request, Role};
pub use video::{Ffmpeg, Fps, MOST_FRAMES, Video, VideoSource};
