//! Tokenizers and chat templates with the origin of every byte.
//!
//! The way of a prompt: [`ChatTemplate::render`] turns messages into [`Piece`]s (text with its
//! [`Origin`]), [`Tokenizer::encode`] turns pieces into token ids. A control token is cut only
//! where the template itself wrote it, so nothing that a user, a tool or an earlier answer says can
//! become one. [`encode_chat`] does both and hands back the places of the images. The way back is a
//! [`DecodeStream`], which emits whole characters only, and [`StopStrings`].
//!
//! Nothing here reads files: a [`Vocabulary`] is plain data, taken from GGUF metadata by
//! [`Vocabulary::from_metadata`].

#![forbid(unsafe_code)]

mod bpe;
mod cache;
mod chat;
mod cut;
mod decode;
mod encode;
mod error;
mod message;
mod pieces;
mod pretokenize;
mod spm;
mod stop;
mod template;
mod tools;
mod vocabulary;

pub use bpe::char_of_byte;
pub use chat::{
    ChatPart, EncodedChat, Media, encode_chat, encode_chat_with_times, encode_pieces, render_chat,
};
pub use decode::{ControlTokens, DecodeStream};
pub use encode::Tokenizer;
pub use error::Error;
pub use message::{Content, Message, Role, ToolCall};
pub use pieces::{Origin, Piece, Source};
pub use pretokenize::PreTokenizer;
pub use stop::{StopStrings, Stopped};
pub use template::{
    Builtin, ChatTemplate, MediaMarkers, RenderOptions, Specials, TEMPLATE_BYTES, template_hash,
};
pub use tools::{ToolCallParser, ToolCallPart};
pub use vocabulary::{Model, TokenKind, Vocabulary};
