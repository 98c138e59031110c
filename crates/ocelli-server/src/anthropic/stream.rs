//! A message as named events.

use std::sync::Arc;

use ocelli::Channel;
use ocelli::service::Update;
use serde_json::{Value, json};

use super::error;
use super::messages::{head, stop_reason, stop_sequence, tool_use, usage};
use crate::app::App;
use crate::failure::Failure;
use crate::flow::Begun;
use crate::stream::{Writer, event};

/// See the module.
pub(super) struct MessageWriter {
    id: String,
    model: String,
    /// Strings that end the answer.
    stops: Vec<String>,
    /// The kind of the open block.
    open: Option<Channel>,
    /// Blocks that are closed.
    blocks: usize,
    app: Arc<App>,
}

/// Writes an event under its own name.
fn named(out: &mut Vec<u8>, data: &Value) {
    event(out, data["type"].as_str(), data);
}

impl MessageWriter {
    pub(super) fn new(id: String, begun: &Begun, stops: Vec<String>) -> Self {
        Self {
            id,
            model: begun.model.clone(),
            stops,
            open: None,
            blocks: 0,
            app: begun.app.clone(),
        }
    }

    /// Makes sure that the open block is of this kind.
    fn block(&mut self, channel: Channel, out: &mut Vec<u8>) {
        if self.open == Some(channel) {
            return;
        }
        self.close(out);
        let block = match channel {
            Channel::Answer => json!({"type": "text", "text": ""}),
            Channel::Reasoning => json!({"type": "thinking", "thinking": "", "signature": ""}),
        };
        let start =
            json!({"type": "content_block_start", "index": self.blocks, "content_block": block});
        named(out, &start);
        self.open = Some(channel);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            named(
                out,
                &json!({"type": "content_block_stop", "index": self.blocks}),
            );
            self.blocks += 1;
        }
    }
}

impl Writer for MessageWriter {
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn update(&mut self, _: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Prepared { prompt_tokens, .. } => {
                let mut message = head(&self.id, &self.model);
                message["usage"]["input_tokens"] = json!(prompt_tokens);
                named(out, &json!({"type": "message_start", "message": message}));
                named(out, &json!({"type": "ping"}));
            }
            Update::Text { text, channel, .. } => {
                self.block(channel, out);
                let delta = match channel {
                    Channel::Answer => json!({"type": "text_delta", "text": text}),
                    Channel::Reasoning => json!({"type": "thinking_delta", "thinking": text}),
                };
                let index = self.blocks;
                let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
                named(out, &delta);
            }
            Update::ToolCall(call) => {
                self.close(out);
                let mut block = tool_use(&self.app, &call);
                let input = std::mem::replace(&mut block["input"], json!({})).to_string();
                let index = self.blocks;
                let start =
                    json!({"type": "content_block_start", "index": index, "content_block": block});
                named(out, &start);
                let delta = json!({"type": "input_json_delta", "partial_json": input});
                named(
                    out,
                    &json!({"type": "content_block_delta", "index": index, "delta": delta}),
                );
                named(out, &json!({"type": "content_block_stop", "index": index}));
                self.blocks += 1;
            }
            Update::Done(finished) => {
                if self.blocks == 0 && self.open.is_none() {
                    self.block(Channel::Answer, out);
                }
                self.close(out);
                let stop_sequence = stop_sequence(&finished, &self.stops);
                let delta =
                    json!({"stop_reason": stop_reason(&finished), "stop_sequence": stop_sequence});
                let usage = usage(&finished);
                named(
                    out,
                    &json!({"type": "message_delta", "delta": delta, "usage": usage}),
                );
            }
            Update::Encoding { .. }
            | Update::Prefill { .. }
            | Update::Scored(_)
            | Update::Failed(_) => {}
        }
    }

    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        named(out, &error::body(failure));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        named(out, &json!({"type": "message_stop"}));
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        named(out, &json!({"type": "ping"}));
    }
}
