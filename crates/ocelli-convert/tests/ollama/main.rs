//! Files in which Ollama keeps text model and projector together become pairs under current names.

#[path = "../common/mod.rs"]
mod common;
mod gemma3;
mod mistral3;
mod qwen3vl;

use ocelli_convert::{Existing, RewriteOptions};

/// A name with all of these parts replaced, in their order.
fn renamed(name: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(name.to_owned(), |name, (own, other)| {
        name.replace(own, other)
    })
}

/// For splitting in place: the text model gets the name of the file that both were in.
fn replacing() -> RewriteOptions {
    RewriteOptions {
        existing: Existing::Replace,
        ..common::plain()
    }
}
