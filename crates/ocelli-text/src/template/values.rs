//! Messages, tools and arguments as the interpreter's values, marked on the way in.

use minijinja::Value;
use serde_json::Value as Json;

use super::origin::{Level, Marks};
use crate::message::{Content, Message};
use crate::pieces::Source;

/// How a template wants the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A string.
    Text,
    /// A list of `{"type": .., ..}`.
    Parts,
}

/// Puts values into the interpreter's form.
pub(super) struct Values<'a> {
    /// Stand-ins and how far to use them; `None` leaves values as they are.
    pub(super) marks: Option<(&'a Marks<'a>, Level)>,
    /// What is written for a picture where content is a string. Trusted.
    pub(super) image_text: &'a str,
    /// The same for a video.
    pub(super) video_text: &'a str,
}

impl Values<'_> {
    fn text(&self, text: &str, source: Source) -> String {
        match self.marks {
            Some((marks, level)) => marks.mark(text, source, level),
            None => text.to_owned(),
        }
    }

    fn content(&self, message: &Message, form: Form) -> Value {
        let source = message.role.source();
        if form == Form::Text {
            let text_of = |part: &Content| match part {
                Content::Text(text) => self.text(text, source),
                Content::Image => self.image_text.to_owned(),
                Content::Video => self.video_text.to_owned(),
            };
            return Value::from(message.content.iter().map(text_of).collect::<String>());
        }
        let part_of = |part: &Content| match part {
            Content::Text(text) => Value::from_pairs([
                ("type", Value::from("text")),
                ("text", Value::from(self.text(text, source))),
            ]),
            Content::Image => Value::from_pairs([("type", "image")]),
            Content::Video => Value::from_pairs([("type", "video")]),
        };
        message.content.iter().map(part_of).collect()
    }

    /// A message as a dictionary.
    pub(super) fn message(&self, message: &Message, form: Form) -> Value {
        let source = message.role.source();
        let mut fields = vec![
            ("role", Value::from(message.role.name())),
            ("content", self.content(message, form)),
        ];
        let optional = [
            ("reasoning_content", &message.reasoning),
            ("tool_call_id", &message.tool_call_id),
            ("name", &message.name),
        ];
        for (key, text) in optional {
            if let Some(text) = text {
                fields.push((key, Value::from(self.text(text, source))));
            }
        }
        if !message.tool_calls.is_empty() {
            let calls = message.tool_calls.iter().map(|call| {
                let function = [
                    ("name", Value::from(self.text(&call.name, source))),
                    ("arguments", self.json(&call.arguments, source)),
                ];
                let mut fields = vec![("type", Value::from("function"))];
                fields.extend(
                    call.id
                        .as_ref()
                        .map(|id| ("id", Value::from(self.text(id, source)))),
                );
                fields.push(("function", Value::from_pairs(function)));
                Value::from_pairs(fields)
            });
            fields.push(("tool_calls", calls.collect()));
        }
        Value::from_pairs(fields)
    }

    /// JSON of a tool or an argument. Keys and words of tools are names that templates look for;
    /// they stay as they are.
    pub(super) fn json(&self, json: &Json, source: Source) -> Value {
        match json {
            Json::Null => Value::from(()),
            Json::Bool(value) => Value::from(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => Value::from(number),
                (_, Some(number), _) => Value::from(number),
                (.., Some(number)) => Value::from(number),
                _ => Value::from(number.to_string()),
            },
            Json::String(text) if source == Source::Tool && is_word(text) => {
                Value::from(text.as_str())
            }
            Json::String(text) => Value::from(self.text(text, source)),
            Json::Array(items) => items.iter().map(|item| self.json(item, source)).collect(),
            Json::Object(fields) => Value::from_pairs(fields.iter().map(|(key, value)| {
                let key = if is_word(key) {
                    key.clone()
                } else {
                    self.text(key, source)
                };
                (key, self.json(value, source))
            })),
        }
    }
}

/// Whether a text is a plain name.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'))
}
