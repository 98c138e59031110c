//! OpenAI, Ollama and Anthropic APIs over the models of one process.
//!
//! [`serve`] listens until it is told to stop. A request's way: `http/` accepts the connection and
//! reads within limits, `guard.rs` turns away what must not come in, `routes.rs` finds the API.
//! Each API has a folder that knows nothing of the others: it makes a neutral `Job` of its wire
//! format (`job.rs`) and writes `ocelli`'s updates in its own words (`stream.rs`). Nothing here
//! computes.
#![forbid(unsafe_code)]

mod anthropic;
mod app;
mod clients;
mod error;
mod extras;
mod failure;
mod fields;
mod flow;
mod guard;
mod health;
mod http;
mod images;
mod job;
mod json;
mod media;
mod metrics;
mod ollama;
mod openai;
mod openapi;
mod percent;
mod report;
mod routes;
mod settings;
mod stream;
mod tools;

pub use app::serve;
pub use error::Error;
pub use routes::ROUTES;
pub use settings::{ImageUrls, Limits, Settings, UnknownFields};
