//! Calls of tools in an answer as it is written.

use ocelli_engine::{Channel, TokenLogprob};
use ocelli_text::{ToolCall, ToolCallParser, ToolCallPart};
use serde_json::Value;

use super::{Calls, Update};

/// What is known of an answer that may call tools.
pub(super) struct Tools {
    pub(super) parser: ToolCallParser,
    most: Calls,
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
}

impl Tools {
    pub(super) fn new(tools: &[Value], most: Calls) -> Option<Self> {
        (!tools.is_empty()).then(|| Self {
            parser: ToolCallParser::new(tools),
            most,
            text: String::new(),
            calls: Vec::new(),
        })
    }

    /// True when the answer has called as many tools as it may.
    pub(super) fn is_over(&self) -> bool {
        self.most == Calls::One && !self.calls.is_empty()
    }

    /// Takes parts of the answer and says what came of them.
    pub(super) fn take(
        &mut self,
        parts: Vec<ToolCallPart>,
        mut logprobs: Vec<TokenLogprob>,
    ) -> Vec<Update> {
        let mut updates = Vec::new();
        for part in parts {
            updates.push(match part {
                // What follows the last call is not part of the answer.
                _ if self.is_over() => break,
                ToolCallPart::Text(text) => {
                    self.text.push_str(&text);
                    Update::Text {
                        text,
                        channel: Channel::Answer,
                        logprobs: std::mem::take(&mut logprobs),
                    }
                }
                ToolCallPart::Call(call) => {
                    self.calls.push(call.clone());
                    Update::ToolCall(call)
                }
            });
        }
        updates
    }
}
