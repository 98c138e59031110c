//! Ask questions about pictures with vision-language models from GGUF files, on this machine's CPU.
//!
//! A model is a pair of files, the text model and its projector (`mmproj`), which are joined when
//! they are opened.
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
//! [`Request::from_messages`] takes a whole conversation. A second question about the same picture
//! does not encode it again.
//!
//! # Streaming
//!
//! [`Model::ask_with`] reports progress and hands over the text as it comes; `ControlFlow::Break`
//! ends the answer.
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
//! # Boxes
//!
//! Places that an answer names come in pixels of your picture, whatever coordinates the model writes.
//!
//! ```
//! use ocelli::{Model, Region, Request};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! # std::env::set_current_dir("../..").expect("tests run in the crate's folder");
//! let question = Request::new("Give the bounding box of the orange ring in JSON.").image("examples/scene.png");
//! let answer = Model::demo()?.ask(question)?;
//! for found in &answer.boxes {
//!     if let Region::Box { left, top, right, bottom } = found.region {
//!         println!("{:?}: ({left}, {top}) to ({right}, {bottom})", found.label);
//!     }
//! }
//! # assert_eq!(answer.boxes[0].label.as_deref(), Some("orange ring"));
//! # Ok(())
//! # }
//! ```
//!
//! # JSON by a schema
//!
//! With a grammar, no token is chosen that it forbids: the answer is always what the schema says.
//! One that cannot be enforced is an error before anything runs.
//!
//! ```
//! use ocelli::{GrammarSource, Model, Request};
//! use serde_json::{Value, json};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! # std::env::set_current_dir("../..").expect("tests run in the crate's folder");
//! let schema = json!({
//!     "type": "object",
//!     "properties": {"rings": {"type": "integer", "minimum": 0, "maximum": 9}},
//!     "required": ["rings"]
//! });
//! let question = Request::new("How many rings are there?")
//!     .image("examples/scene.png")
//!     .grammar(GrammarSource::JsonSchema(schema));
//! let answer = Model::demo()?.ask(question)?;
//! let value: Value = serde_json::from_str(&answer.text).expect("the grammar allows nothing but JSON");
//! assert!(value["rings"].as_u64().is_some_and(|rings| rings <= 9));
//! # Ok(())
//! # }
//! ```
//!
//! # Many requests at once
//!
//! A [`Model`] answers one request at a time. A [`service::Service`] answers many, from any thread,
//! and computes their tokens together.
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

pub use answer::{Answer, Preview, Timings, Usage};
pub use error::{Error, ErrorKind};
pub use model::Model;
/// Writing models: converting, quantising, merging, splitting, repairing.
pub use ocelli_convert as convert;
pub use ocelli_cpu::{Isa, Precision};
pub use ocelli_engine::{
    Alternative, Channel, ClientId, ContextPolicy, Drafts, Event, FinishReason, GrammarSource,
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
