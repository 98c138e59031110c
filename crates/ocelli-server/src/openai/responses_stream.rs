//! A response as the events that clients of this API know.

use ocelli::service::{Finished, Update};
use ocelli::{Channel, FinishReason};
use serde_json::{Value, json};

use super::error;
use super::responses::{Names, text_part};
use crate::failure::Failure;
use crate::stream::{Writer, event};

/// See the module.
pub(super) struct ResponseWriter {
    names: Names,
    /// Every event has its number.
    next: u64,
    has_item: bool,
}

impl ResponseWriter {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            next: 0,
            has_item: false,
        }
    }

    fn send(&mut self, name: &str, mut data: Value, out: &mut Vec<u8>) {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.next);
        self.next += 1;
        event(out, Some(name), &data);
    }

    fn begin_item(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_item, true) {
            return;
        }
        let item = self.names.message("in_progress", json!([]));
        let added = json!({"output_index": 0, "item": item});
        self.send("response.output_item.added", added, out);
        let part = self.place(json!({"part": text_part("")}));
        self.send("response.content_part.added", part, out);
    }

    fn calls(&mut self, finished: &Finished, out: &mut Vec<u8>) {
        for (index, call) in finished.tool_calls.iter().enumerate() {
            let item = self.names.call(index, call);
            let at = index + usize::from(self.has_item);
            let (id, arguments) = (item["id"].clone(), item["arguments"].clone());
            let mut begun = item.clone();
            begun["status"] = json!("in_progress");
            begun["arguments"] = json!("");
            let added = json!({"output_index": at, "item": begun});
            self.send("response.output_item.added", added, out);
            // Clients that show calls as they come put deltas together and take nothing else.
            let delta = json!({"output_index": at, "item_id": id, "delta": arguments});
            self.send("response.function_call_arguments.delta", delta, out);
            let name = &item["name"];
            let done =
                json!({"output_index": at, "item_id": id, "name": name, "arguments": arguments});
            self.send("response.function_call_arguments.done", done, out);
            let done = json!({"output_index": at, "item": item});
            self.send("response.output_item.done", done, out);
        }
    }

    /// Says which part of the answer an event is about.
    fn place(&self, mut data: Value) -> Value {
        data["item_id"] = json!(self.names.message);
        data["output_index"] = json!(0);
        data["content_index"] = json!(0);
        data
    }
}

impl Writer for ResponseWriter {
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn update(&mut self, _: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Prepared { .. } => {
                for name in ["response.created", "response.in_progress"] {
                    let response = self.names.response("in_progress", json!([]));
                    self.send(name, json!({"response": response}), out);
                }
            }
            // Reasoning is counted, not shown, as this API has it.
            Update::Text {
                channel: Channel::Reasoning,
                ..
            } => {}
            Update::Text { text, .. } => {
                self.begin_item(out);
                let delta = self.place(json!({"delta": text, "logprobs": []}));
                self.send("response.output_text.delta", delta, out);
            }
            // Calls are told at the end, each as an item of its own.
            Update::ToolCall(_) => {}
            Update::Done(finished) => {
                if finished.tool_calls.is_empty() {
                    self.begin_item(out);
                }
                let response = self.names.complete(&finished);
                if self.has_item {
                    let text = self.place(json!({"text": finished.text, "logprobs": []}));
                    self.send("response.output_text.done", text, out);
                    let part = self.place(json!({"part": text_part(&finished.text)}));
                    self.send("response.content_part.done", part, out);
                    let item = json!({"output_index": 0, "item": response["output"][0]});
                    self.send("response.output_item.done", item, out);
                }
                self.calls(&finished, out);
                let name = match finished.finish_reason {
                    FinishReason::Length => "response.incomplete",
                    _ => "response.completed",
                };
                self.send(name, json!({"response": response}), out);
            }
            Update::Encoding { .. }
            | Update::Prefill { .. }
            | Update::Scored(_)
            | Update::Failed(_) => {}
        }
    }

    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        let mut response = self.names.response("failed", json!([]));
        response["error"] = json!({"code": failure.code, "message": failure.message});
        self.send("response.failed", json!({"response": response}), out);
        let body = error::body(failure);
        let error = json!({"code": failure.code, "message": body["error"]["message"], "param": failure.param});
        self.send("error", error, out);
    }

    fn end(&mut self, _: &mut Vec<u8>) {}

    fn alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": alive\n\n");
    }
}
