//! A chat's answer as it comes: chunks, then the usage if it was asked for, then `[DONE]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli::service::{Finished, Update};
use ocelli::{Channel, TokenLogprob};
use serde_json::{Value, json};

use super::chat::{Style, finish_reason, progress, tool_call, usage};
use super::error;
use super::form::logprobs_of;
use crate::app::App;
use crate::failure::Failure;
use crate::flow::Begun;
use crate::report;
use crate::stream::{Writer, event};

/// See the module.
pub(super) struct ChatWriter {
    id: String,
    created: u64,
    model: String,
    style: Style,
    warnings: Vec<String>,
    /// Whether each answer's role was said.
    has_begun: Vec<bool>,
    prompt_tokens: usize,
    /// Calls of tools so far in each answer.
    calls: BTreeMap<usize, usize>,
    finished: Vec<Finished>,
    app: Arc<App>,
}

impl ChatWriter {
    pub(super) fn new(id: String, begun: &Begun, style: Style) -> Self {
        Self {
            id,
            created: report::now(),
            model: begun.model.clone(),
            style,
            warnings: begun.warnings.clone(),
            has_begun: Vec::new(),
            prompt_tokens: 0,
            calls: BTreeMap::new(),
            finished: Vec::new(),
            app: begun.app.clone(),
        }
    }

    fn chunk(&mut self, choices: Value, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        });
        if self.style.usage_always {
            chunk["usage"] = json!({"prompt_tokens": self.prompt_tokens});
        } else if self.style.usage {
            // The last chunk has it; the field is there in all of them.
            chunk["usage"] = Value::Null;
        }
        if !self.warnings.is_empty() {
            chunk["warnings"] = json!(std::mem::take(&mut self.warnings));
        }
        event(out, None, &chunk);
    }

    /// The role goes out with the first text: clients take the first chunk for the first token.
    fn delta(&mut self, index: usize, piece: Piece<'_>, out: &mut Vec<u8>) {
        if self.has_begun.len() <= index {
            self.has_begun.resize(index + 1, false);
        }
        let is_first = !std::mem::replace(&mut self.has_begun[index], true);
        let mut delta = serde_json::Map::new();
        if is_first {
            delta.insert("role".to_owned(), json!("assistant"));
        }
        if let Some(call) = piece.call {
            delta.insert("tool_calls".to_owned(), json!([call]));
        } else if is_first || piece.reason.is_none() {
            let key = match piece.channel {
                Channel::Answer => "content",
                Channel::Reasoning => "reasoning_content",
            };
            delta.insert(key.to_owned(), json!(piece.text));
        }
        let logprobs = (!piece.logprobs.is_empty()).then(|| logprobs_of(piece.logprobs));
        let choice = json!([{
            "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": piece.reason,
        }]);
        self.chunk(choice, out);
    }
}

/// What a chunk brings.
#[derive(Clone, Copy, Default)]
struct Piece<'a> {
    text: &'a str,
    channel: Channel,
    logprobs: &'a [TokenLogprob],
    /// A call of a tool in place of text.
    call: Option<&'a Value>,
    /// Why the answer ends, if it does.
    reason: Option<&'static str>,
}

impl Writer for ChatWriter {
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn update(&mut self, index: usize, update: Update, out: &mut Vec<u8>) {
        if self.style.progress
            && let Some(progress) = progress(index, &update)
        {
            event(out, Some("progress"), &progress);
        }
        match update {
            Update::Prepared { prompt_tokens, .. } => self.prompt_tokens = prompt_tokens,
            Update::Text {
                text,
                channel,
                logprobs,
            } => {
                let piece = Piece {
                    text: &text,
                    channel,
                    logprobs: &logprobs,
                    ..Piece::default()
                };
                self.delta(index, piece, out);
            }
            Update::ToolCall(call) => {
                let number = self.calls.get(&index).copied().unwrap_or(0);
                self.calls.insert(index, number + 1);
                let call = tool_call(&self.app, number, &call);
                let piece = Piece {
                    call: Some(&call),
                    ..Piece::default()
                };
                self.delta(index, piece, out);
            }
            Update::Done(finished) => {
                let reason = Some(finish_reason(&finished));
                let piece = Piece {
                    reason,
                    ..Piece::default()
                };
                self.delta(index, piece, out);
                self.finished.push(*finished);
            }
            Update::Encoding { .. }
            | Update::Prefill { .. }
            | Update::Scored(_)
            | Update::Failed(_) => {}
        }
    }

    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        event(out, None, &error::body(failure));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.style.usage || self.style.usage_always {
            let mut chunk = json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
                "system_fingerprint": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
                "choices": [],
                "usage": usage(&self.finished),
            });
            if let Some(finished) = self.finished.first() {
                chunk["timings"] = report::timings(finished);
            }
            event(out, None, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": alive\n\n");
    }
}
