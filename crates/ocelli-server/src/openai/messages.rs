//! Messages with text and pictures, in the order in which they were sent.

use ocelli::{ImageSource, Message, Part, PictureBudget, Role, ToolCall};
use serde_json::Value;

use super::videos;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::images::{Fetch, Found, from_url};
use crate::tools::CallIds;

/// Most messages of a request.
const MESSAGES: usize = 4096;
/// Most parts of a message.
const PARTS: usize = 64;

/// A conversation with what its pictures need.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    pub(super) budgets: Vec<PictureBudget>,
    pub(super) fetch: Vec<Fetch>,
    /// Calls so far.
    pub(super) calls: CallIds,
}

impl Conversation {
    /// Reads `messages`. `default` is the budget of pictures that have none of their own.
    pub(super) fn read(list: &[Value], default: PictureBudget) -> Result<Self, Failure> {
        if list.is_empty() || list.len() > MESSAGES {
            let what = format!("must have 1..{MESSAGES} messages");
            return Err(Failure::field("messages", what));
        }
        let mut conversation = Self::default();
        for (index, message) in list.iter().enumerate() {
            conversation.read_message(message, &format!("messages[{index}]"), default)?;
        }
        Ok(conversation)
    }

    pub(super) fn read_message(
        &mut self,
        value: &Value,
        place: &str,
        default: PictureBudget,
    ) -> Result<(), Failure> {
        let fields = Fields::at(value, place)?;
        let role = role(&fields)?;
        let content = fields.get("content");
        let parts = match content {
            Some(Value::String(text)) => vec![Part::Text(text.clone())],
            Some(Value::Array(parts)) => {
                self.read_parts(parts, &fields.place("content"), default)?
            }
            None if role == Role::Assistant => Vec::new(),
            _ => return Err(fields.wrong("content", "must be a string or a list of parts")),
        };
        let mut message = Message::new(role, parts);
        message.tool_calls = tool_calls(&fields)?;
        message.tool_call_id = self.calls.answered(&fields, "tool_call_id")?;
        let calls = message.tool_calls.iter();
        calls.for_each(|call| self.calls.made(call));
        let reasoning = fields.string("reasoning_content")?;
        message.reasoning = reasoning.or(fields.string("reasoning")?).map(str::to_owned);
        self.messages.push(message);
        Ok(())
    }

    pub(super) fn read_parts(
        &mut self,
        list: &[Value],
        place: &str,
        default: PictureBudget,
    ) -> Result<Vec<Part>, Failure> {
        if list.is_empty() || list.len() > PARTS {
            return Err(Failure::field(place, format!("must have 1..{PARTS} parts")));
        }
        let mut parts = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let place = format!("{place}[{index}]");
            let fields = Fields::at(value, &place)?;
            let part = match fields.string("type")? {
                Some("text" | "input_text" | "output_text") => {
                    let text = fields.string("text")?;
                    Part::Text(
                        text.ok_or_else(|| fields.wrong("text", "missing"))?
                            .to_owned(),
                    )
                }
                Some("refusal") => {
                    Part::Text(fields.string("refusal")?.unwrap_or_default().to_owned())
                }
                Some("image_url" | "input_image") => {
                    let part = parts.len();
                    Part::Image(self.read_image(&fields, part, default)?)
                }
                Some("video_url" | "video" | "input_video") => Part::Video(videos::read(&fields)?),
                Some(other) => {
                    let other: String = other.escape_default().take(64).collect();
                    let what = format!("'{other}' is unknown, need text, image_url or video_url");
                    return Err(fields.wrong("type", what));
                }
                None => {
                    return Err(fields.wrong("type", "missing, need text, image_url or video_url"));
                }
            };
            parts.push(part);
        }
        Ok(parts)
    }

    fn read_image(
        &mut self,
        fields: &Fields<'_>,
        part: usize,
        default: PictureBudget,
    ) -> Result<ImageSource, Failure> {
        if fields.get("file_id").is_some() {
            let what = "is not supported: send the picture as image_url, a data URI";
            return Err(fields.wrong("file_id", what));
        }
        let missing = || fields.wrong("image_url.url", "missing");
        let mut budget = image_budget(fields, default)?;
        let (url, place) = match fields.get("image_url") {
            Some(Value::String(url)) => (url.as_str(), fields.place("image_url")),
            Some(value @ Value::Object(_)) => {
                let inner = Fields::at(value, &fields.place("image_url"))?;
                budget = image_budget(&inner, budget)?;
                let url = inner.get("url").and_then(Value::as_str);
                (url.ok_or_else(missing)?, inner.place("url"))
            }
            _ => return Err(missing()),
        };
        if url.trim().is_empty() {
            return Err(missing());
        }
        self.budgets.push(budget);
        Ok(match from_url(url, &place)? {
            Found::Here(source) => source,
            Found::At(url) => {
                let message = self.messages.len();
                self.fetch.push(Fetch { message, part, url });
                ImageSource::Bytes(Vec::new())
            }
        })
    }
}

fn role(fields: &Fields<'_>) -> Result<Role, Failure> {
    let need = "need system, user, assistant or tool";
    let name = fields.string("role")?;
    let name = name.ok_or_else(|| fields.wrong("role", format_args!("missing, {need}")))?;
    let found = match name {
        "developer" => Some(Role::System),
        "function" => Some(Role::Tool),
        name => Role::from_name(name),
    };
    found.ok_or_else(|| {
        let name: String = name.escape_default().take(64).collect();
        fields.wrong("role", format_args!("'{name}' is unknown, {need}"))
    })
}

fn tool_calls(fields: &Fields<'_>) -> Result<Vec<ToolCall>, Failure> {
    let mut calls = Vec::new();
    for (index, call) in fields.list("tool_calls")?.into_iter().flatten().enumerate() {
        let place = fields.place(&format!("tool_calls[{index}]"));
        let call = Fields::at(call, &place)?;
        let function = call
            .get("function")
            .ok_or_else(|| call.wrong("function", "missing"))?;
        let function = Fields::at(function, &call.place("function"))?;
        let name = function
            .string("name")?
            .ok_or_else(|| function.wrong("name", "missing"))?;
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Some(other) => other.clone(),
            None => Value::Object(serde_json::Map::new()),
        };
        calls.push(ToolCall {
            id: call.string("id")?.map(str::to_owned),
            name: name.to_owned(),
            arguments,
        });
    }
    Ok(calls)
}

/// Reads how large pictures may be, over what is said elsewhere.
pub(super) fn image_budget(
    fields: &Fields<'_>,
    over: PictureBudget,
) -> Result<PictureBudget, Failure> {
    let coarse = match fields.string("detail")? {
        None => over.coarse,
        Some("low") => true,
        Some("auto" | "high" | "original") => false,
        Some(_) => return Err(fields.wrong("detail", "must be auto, low or high")),
    };
    let most = 1_u64 << 40;
    let max_tokens = fields.integer("max_image_tokens", 1..=u64::from(u32::MAX))?;
    Ok(PictureBudget {
        min_pixels: fields.integer("min_pixels", 1..=most)?.or(over.min_pixels),
        max_pixels: fields.integer("max_pixels", 1..=most)?.or(over.max_pixels),
        max_tokens: max_tokens.map(|tokens| tokens as u32).or(over.max_tokens),
        coarse,
    })
}
