//! Many requests on one model: for servers, and for programs with many threads.
//!
//! A [`Service`] runs a model on a thread of its own. [`Service::submit`] can be called from any
//! thread and returns at once. A small pool decodes pictures and tokenizes prompts, so that neither
//! holds up the engine. What happens comes as [`Update`]s of an [`Answering`], which a thread can
//! wait for and an asynchronous program can poll. Dropping an [`Answering`] ends its request.
//!
//! ```
//! use ocelli::service::{Ask, Service, ServiceOptions, Update};
//! use ocelli::{ImageSource, Message, Model, Options, Part, Role, Source};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! # std::env::set_current_dir("../..").expect("tests run in the crate's folder");
//! // Up to four requests are computed at the same time; more wait for their turn.
//! let options = Options { sequences: Some(4), ..Options::default() };
//! let model = Model::load(&Source::Demo, &options, &mut |_, _| {})?;
//! let service = Service::start(model, ServiceOptions::default())?;
//! let ask = |question: &str| {
//!     let picture = Part::Image(ImageSource::File("examples/scene.png".into()));
//!     let parts = vec![picture, Part::Text(question.to_owned())];
//!     service.submit(Ask::chat(vec![Message::new(Role::User, parts)]))
//! };
//! let answers = [ask("What is in this picture?")?, ask("How many rings are there?")?];
//! for mut answer in answers {
//!     while let Some(update) = answer.next() {
//!         match update {
//!             Update::Text { text, .. } => print!("{text}"),
//!             Update::Done(finished) => println!(" ({} tokens)", finished.tokens.len()),
//!             Update::Failed(error) => return Err(error),
//!             _ => {}
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A request that takes too long is ended by whoever waits for it; its place goes to the next one.
//! While all places are taken, [`Service::submit`] says [`Error::Busy`](crate::Error::Busy).
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use ocelli::service::{Ask, Service, ServiceOptions, TimedOut, Update};
//! use ocelli::{Message, Model, Role};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! let service = Service::start(Model::demo()?, ServiceOptions::default())?;
//! let mut answer = service.submit(Ask::chat(vec![Message::text(Role::User, "Who are you?")]))?;
//! let until = Instant::now() + Duration::from_secs(10);
//! let mut said = String::new();
//! loop {
//!     match answer.next_within(until.saturating_duration_since(Instant::now())) {
//!         Ok(Some(Update::Text { text, .. })) => said.push_str(&text),
//!         Ok(Some(Update::Failed(error))) => return Err(error),
//!         Ok(Some(_)) => {}
//!         Ok(None) => break,
//!         Err(TimedOut) => {
//!             // Ends the request within a step.
//!             drop(answer);
//!             break;
//!         }
//!     }
//! }
//! assert!(!said.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`Models`] holds several models: it loads each when it is first asked for, and unloads those
//! that nobody uses.

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
pub use updates::{Answering, Finished, TimedOut, Update};
