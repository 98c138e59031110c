//! The API of Ollama: chats and prompts with pictures in base64, streamed as lines of JSON unless
//! asked otherwise.

mod chat;
mod error;
mod generate;
mod lines;
mod models;
mod options;

pub(crate) use chat::chat;
pub(crate) use error::render;
pub(crate) use generate::generate;
pub(crate) use models::{NO_EMBEDDINGS, embed, list, manage, running, show, version};
