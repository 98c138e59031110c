//! Answers as lines of JSON, and the numbers at their end.

use std::time::Duration;

use ocelli::service::{Finished, Update};
use ocelli::{Channel, FinishReason, TokenLogprob, ToolCall};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flow::Begun;
use crate::report;
use crate::stream::Writer;

/// What an answer's text is called, and how it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"message": {"role", "content"}}`.
    Chat,
    /// `{"response"}`.
    Generate,
}

/// One object of an answer.
pub(super) fn object(form: Form, model: &str, text: &str) -> Value {
    let created = report::rfc3339(report::now());
    let mut object = json!({"model": model, "created_at": created});
    match form {
        Form::Chat => object["message"] = json!({"role": "assistant", "content": text}),
        Form::Generate => object["response"] = json!(text),
    }
    object["done"] = json!(false);
    object
}

/// Puts what the model thinks beside what it says.
pub(super) fn think(object: &mut Value, form: Form, thinking: &str) {
    match form {
        Form::Chat => object["message"]["thinking"] = json!(thinking),
        Form::Generate => object["thinking"] = json!(thinking),
    }
}

/// Puts in the probabilities of tokens, where they were asked for.
pub(super) fn put_logprobs(object: &mut Value, tokens: &[TokenLogprob]) {
    if !tokens.is_empty() {
        object["logprobs"] = tokens.iter().map(report::token_logprob).collect();
    }
}

/// A call of a tool.
pub(super) fn tool_call(call: &ToolCall) -> Value {
    json!({"function": {"name": call.name, "arguments": call.arguments}})
}

/// Writes the end of an answer into its last object.
pub(super) fn finish(object: &mut Value, begun: &Begun, finished: &Finished) {
    let ns = |time: Duration| time.as_nanos() as u64;
    object["done"] = json!(true);
    object["done_reason"] = json!(match finished.finish_reason {
        FinishReason::Length => "length",
        _ => "stop",
    });
    let times = &finished.timings;
    object["total_duration"] = json!(ns(finished.total));
    object["load_duration"] = json!(ns(begun.load_time));
    object["prompt_eval_count"] = json!(finished.usage.prompt_tokens);
    object["prompt_eval_duration"] = json!(ns(times.encode + times.prefill));
    object["eval_count"] = json!(finished.usage.completion_tokens);
    object["eval_duration"] = json!(ns(times.decode));
    if !finished.images.is_empty() {
        object["images"] = report::images(&finished.images);
    }
    if !finished.boxes.is_empty() {
        object["boxes"] = report::boxes(&finished.boxes);
    }
}

/// Writes an answer line by line.
pub(super) struct Lines {
    pub(super) form: Form,
    pub(super) begun: Begun,
}

impl Lines {
    fn line(value: &Value, out: &mut Vec<u8>) {
        out.extend_from_slice(value.to_string().as_bytes());
        out.push(b'\n');
    }
}

impl Writer for Lines {
    const MEDIA_TYPE: &'static str = "application/x-ndjson";

    fn update(&mut self, _: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Text {
                text,
                channel: Channel::Answer,
                logprobs,
            } => {
                let mut line = object(self.form, &self.begun.model, &text);
                put_logprobs(&mut line, &logprobs);
                Self::line(&line, out);
            }
            Update::Text { text, .. } => {
                let mut line = object(self.form, &self.begun.model, "");
                think(&mut line, self.form, &text);
                Self::line(&line, out);
            }
            Update::ToolCall(call) => {
                let mut line = object(self.form, &self.begun.model, "");
                line["message"]["tool_calls"] = json!([tool_call(&call)]);
                Self::line(&line, out);
            }
            Update::Done(finished) => {
                let mut last = object(self.form, &self.begun.model, "");
                finish(&mut last, &self.begun, &finished);
                Self::line(&last, out);
            }
            _ => {}
        }
    }

    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        Self::line(&json!({"error": failure.message}), out);
    }

    fn end(&mut self, _: &mut Vec<u8>) {}

    fn alive(&mut self, out: &mut Vec<u8>) {
        // An empty piece of text; an empty line is no JSON.
        Self::line(&object(self.form, &self.begun.model, ""), out);
    }
}
