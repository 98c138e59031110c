//! Many requests on one model: for servers, and for programs with many threads.
//!
//! A [`Service`] owns a model on a thread of its own. [`Service::submit`] may be called from any thread and returns at
//! once; pictures are decoded and prompts tokenized on a small pool, so that neither holds up the engine. What happens
//! comes as [`Update`]s of an [`Answering`], which can be waited for on a thread or polled by an asynchronous program.
//! Dropping an [`Answering`] ends its request.
//!
//! ```
//! use ocelli::service::{Ask, Service, ServiceOptions, Update};
//! use ocelli::{Message, Model, Role};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! let service = Service::start(Model::demo()?, ServiceOptions::default())?;
//! let ask = Ask::chat(vec![Message::text(Role::User, "What can you see?")]);
//! let mut answering = service.submit(ask)?;
//! while let Some(update) = answering.next() {
//!     match update {
//!         Update::Text { text, .. } => print!("{text}"),
//!         Update::Failed(error) => return Err(error),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Models`] keeps several of them, loads each when it is first asked for, and unloads those that nobody uses.

mod ask;
mod calling;
mod desk;
mod entry;
mod jobs;
mod models;
mod pool;
mod preparing;
mod runner;
mod status;
mod updates;

pub use ask::{Ask, AskedFor, Calls};
pub use desk::{OtherVideos, RenderedWith, Service, ServiceOptions};
pub use entry::ModelEntry;
pub use models::{KeepAlive, Loaded, ModelState, Models};
pub use status::{Counters, Health};
pub use updates::{Answering, Finished, Update};
