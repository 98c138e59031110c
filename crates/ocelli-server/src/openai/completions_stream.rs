//! Completions as they are written: one event for each piece of a text.

use std::collections::BTreeMap;

use ocelli::service::{Finished, Update};
use serde_json::{Value, json};

use super::completions::{Layout, Logprobs, usage};
use super::error;
use crate::failure::Failure;
use crate::report;
use crate::stream::{Writer, event};

/// See the module.
pub(super) struct TextWriter {
    id: String,
    created: u64,
    model: String,
    layout: Layout,
    /// Whether a last chunk has the usage.
    usage: bool,
    /// Characters of each answer so far, of the tokens whose probabilities were told.
    before: BTreeMap<usize, usize>,
    finished: BTreeMap<usize, Finished>,
}

impl TextWriter {
    pub(super) fn new(id: String, model: String, (layout, usage): (Layout, bool)) -> Self {
        Self {
            id,
            created: report::now(),
            model,
            layout,
            usage,
            before: BTreeMap::new(),
            finished: BTreeMap::new(),
        }
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
            "usage": null,
        });
        if !self.usage
            && let Some(chunk) = chunk.as_object_mut()
        {
            chunk.remove("usage");
        }
        chunk
    }

    fn text(&self, index: usize, text: &str, logprobs: &Logprobs, out: &mut Vec<u8>) {
        let choice = json!([{
            "index": index, "text": text, "logprobs": logprobs.value(), "finish_reason": null,
        }]);
        event(out, None, &self.chunk(choice));
    }
}

impl Writer for TextWriter {
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn update(&mut self, index: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            // Where it is scored it comes with its probabilities.
            Update::Prepared { .. } if !self.layout.is_scored => {
                let echo = self.layout.echo(index);
                if !echo.is_empty() {
                    self.text(index, echo, &Logprobs::default(), out);
                }
            }
            Update::Scored(scored) => {
                let mut logprobs = Logprobs::default();
                logprobs.prompt(&scored);
                self.text(index, self.layout.echo(index), &logprobs, out);
            }
            Update::Text { text, logprobs, .. } => {
                let echo = self.layout.echo(index).chars().count();
                let before = self.before.entry(index).or_insert(echo);
                let mut lists = Logprobs::behind(*before);
                lists.answer(&logprobs);
                *before = lists.at();
                self.text(index, &text, &lists, out);
            }
            Update::Done(finished) => {
                let reason = finished.finish_reason.name();
                let choice = json!([{
                    "index": index, "text": "", "logprobs": null, "finish_reason": reason,
                }]);
                event(out, None, &self.chunk(choice));
                self.finished.insert(index, *finished);
            }
            Update::Prepared { .. }
            | Update::Encoding { .. }
            | Update::Prefill { .. }
            | Update::ToolCall(_)
            | Update::Failed(_) => {}
        }
    }

    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        event(out, None, &error::body(failure));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.usage {
            let mut chunk = self.chunk(json!([]));
            let finished: Vec<&Finished> = self.finished.values().collect();
            chunk["usage"] = usage(&finished, self.layout.answers);
            event(out, None, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": alive\n\n");
    }
}
