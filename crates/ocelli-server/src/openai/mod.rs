//! The API of OpenAI: chat completions and its kin.

pub(crate) mod chat;
mod chat_stream;
pub(crate) mod completions;
mod completions_stream;
mod error;
mod form;
mod messages;
pub(crate) mod models;
pub(crate) mod responses;
mod responses_stream;
mod videos;

use ocelli::{Message, PictureBudget};
use serde_json::Value;

pub(crate) use error::render;

use crate::failure::Failure;
use crate::fields::Fields;
use crate::tools;

/// The messages and tools of a request in this API's form.
///
/// # Errors
/// When they are not in that form.
pub(crate) fn conversation(fields: &Fields<'_>) -> Result<(Vec<Message>, Vec<Value>), Failure> {
    let list = fields.list("messages")?;
    let list = list.ok_or_else(|| Failure::field("messages", "missing, need a list"))?;
    let conversation = messages::Conversation::read(list, PictureBudget::default())?;
    Ok((conversation.messages, tools::read(fields)?))
}
