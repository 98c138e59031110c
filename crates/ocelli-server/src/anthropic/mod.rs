//! The API of Anthropic: messages with pictures in base64, whole or as named events.

mod error;
mod messages;
mod read;
mod stream;

pub(crate) use error::render;
pub(crate) use messages::{count, create};
