//! From Anthropic's words to a job: a system prompt beside the messages, blocks of content, tools
//! with input schemas.

use ocelli::service::{Ask, Calls};
use ocelli::{GrammarSource, ImageSource, Message, Part, PictureBudget, Role, ToolCall};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::images::{Fetch, Found, from_base64, from_url};
use crate::job::{self, Job};
use crate::tools::{CallIds, Choice, TOOLS};

/// Most messages of a request.
const MESSAGES: usize = 4096;
/// Most blocks of a message.
const BLOCKS: usize = 64;

/// Whether a request must say how long the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaxTokens {
    Needed,
    Absent,
}

/// Reads a request; true when it wants a stream.
pub(super) fn read(
    app: &App,
    object: &Map<String, Value>,
    max_tokens: MaxTokens,
) -> Result<(Job, bool), Failure> {
    let fields = Fields::new(object);
    let model = fields.string("model")?;
    let model = model.ok_or_else(|| Failure::field("model", "missing, need a name"))?;
    let mut reader = Reader::default();
    reader.system(&fields)?;
    let list = fields.list("messages")?;
    let list = list.ok_or_else(|| Failure::field("messages", "missing, need a list"))?;
    if list.is_empty() || list.len() > MESSAGES {
        return Err(fields.wrong("messages", format_args!("must have 1..{MESSAGES} messages")));
    }
    for (index, message) in list.iter().enumerate() {
        reader.message(message, &format!("messages[{index}]"))?;
    }
    let last = reader.messages.last().map(|message| message.role);
    if max_tokens == MaxTokens::Needed && last == Some(Role::Assistant) {
        // The API goes on with it: an answer that begins anew would be another one.
        let what = "must end with a message of the user: a begun answer is not gone on with";
        return Err(fields.wrong("messages", what));
    }
    let mut ask = Ask::chat(reader.messages);
    ask.budgets = reader.budgets;
    ask.tools = tools(&fields)?;
    ask.stop = fields.stop("stop_sequences")?;
    ask.max_tokens = fields.max_tokens("max_tokens")?;
    if max_tokens == MaxTokens::Needed && ask.max_tokens.is_none() {
        return Err(Failure::field(
            "max_tokens",
            "missing, need an integer in 1..context",
        ));
    }
    ask.grammar = form(&fields)?;
    choose_tools(&fields, &mut ask)?;
    ask.thinking.separate = true;
    if let Some(thinking) = fields.get("thinking") {
        let thinking = Fields::at(thinking, "thinking")?;
        let is_on = match thinking.string("type")? {
            Some("enabled" | "adaptive") => true,
            Some("disabled") => false,
            _ => return Err(thinking.wrong("type", "must be enabled, adaptive or disabled")),
        };
        let budget = thinking.integer("budget_tokens", 1..=1 << 31)?;
        ask.thinking.budget = budget.filter(|_| is_on).map(|tokens| tokens as usize);
        ask.arguments
            .insert("enable_thinking".to_owned(), Value::Bool(is_on));
    }
    let mut job = Job::new(Some(model.to_owned()), ask);
    job.asking = job::sampling(app, &fields, 1.0)?;
    job.fetch = reader.fetch;
    let stream = fields.bool("stream")?.unwrap_or(false);
    fields.refuse(&["mcp_servers"])?;
    fields.ignore(Kind::Object, &["metadata", "context_management"])?;
    fields.ignore(Kind::Text, &["service_tier"])?;
    job.warnings = fields.warnings(app.settings.unknown_fields)?;
    Ok((job, stream))
}

/// Reads `output_config`, and `output_format`, which its clients sent before. Effort is the model's own.
fn form(fields: &Fields<'_>) -> Result<Option<GrammarSource>, Failure> {
    let config = fields.object("output_config")?;
    let format = match &config {
        Some(config) => {
            config.string("effort")?;
            config.object("format")?
        }
        None => None,
    };
    let older = fields.object("output_format")?;
    let Some(format) = format.or(older) else {
        return Ok(None);
    };
    match (format.string("type")?, format.get("schema")) {
        (Some("json_schema"), Some(schema @ Value::Object(_))) => {
            Ok(Some(GrammarSource::JsonSchema(schema.clone())))
        }
        (Some("json_schema"), _) => Err(format.wrong("schema", "missing, need an object")),
        _ => Err(format.wrong("type", "must be json_schema")),
    }
}

/// Tools in the form that templates know.
fn tools(fields: &Fields<'_>) -> Result<Vec<Value>, Failure> {
    let list = fields.list("tools")?.map(Vec::as_slice).unwrap_or_default();
    if list.len() > TOOLS {
        return Err(fields.wrong("tools", format_args!("must have at most {TOOLS} tools")));
    }
    let tool = |(index, tool): (usize, &Value)| {
        let tool = Fields::at(tool, &format!("tools[{index}]"))?;
        // Tools that Anthropic runs itself are dated: `web_search_20250305`.
        if tool.string("type")?.is_some_and(|kind| kind != "custom") {
            return Err(tool.wrong(
                "type",
                "must be custom: there are no tools of the server's own",
            ));
        }
        let name = tool
            .string("name")?
            .ok_or_else(|| tool.wrong("name", "missing"))?;
        Ok(json!({"type": "function", "function": {
            "name": name,
            "description": tool.string("description")?.unwrap_or_default(),
            "parameters": tool.get("input_schema").cloned().unwrap_or_else(|| json!({})),
        }}))
    };
    list.iter().enumerate().map(tool).collect()
}

/// Reads `tool_choice`, once the tools are known.
fn choose_tools(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Failure> {
    let Some(value) = fields.get("tool_choice") else {
        return Ok(());
    };
    let inner = Fields::at(value, "tool_choice")?;
    if inner.bool("disable_parallel_tool_use")? == Some(true) {
        ask.calls = Calls::One;
    }
    let choice = match inner.string("type")? {
        Some("auto") => Choice::Auto,
        Some("any") => Choice::Any,
        Some("none") => Choice::None,
        Some("tool") => {
            let name = inner.string("name")?;
            Choice::One(
                name.ok_or_else(|| inner.wrong("name", "missing"))?
                    .to_owned(),
            )
        }
        _ => return Err(inner.wrong("type", "must be auto, any, tool or none")),
    };
    choice
        .put(ask)
        .map_err(|what| fields.wrong("tool_choice", what))
}

#[derive(Default)]
struct Reader {
    messages: Vec<Message>,
    budgets: Vec<PictureBudget>,
    fetch: Vec<Fetch>,
    /// Calls so far.
    calls: CallIds,
}

impl Reader {
    fn system(&mut self, fields: &Fields<'_>) -> Result<(), Failure> {
        let text = match fields.get("system") {
            None => return Ok(()),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(blocks)) => {
                let is_text = |block: &Value| block["type"] == "text";
                let text = |block: &Value| {
                    let text = block["text"].as_str().filter(|_| is_text(block));
                    text.map(str::to_owned)
                };
                let texts: Option<Vec<String>> = blocks.iter().map(text).collect();
                let need = || fields.wrong("system", "must be a string or a list of text blocks");
                texts.ok_or_else(need)?.join("\n")
            }
            Some(_) => {
                return Err(fields.wrong("system", "must be a string or a list of text blocks"));
            }
        };
        self.messages.push(Message::text(Role::System, text));
        Ok(())
    }

    fn message(&mut self, value: &Value, place: &str) -> Result<(), Failure> {
        let fields = Fields::at(value, place)?;
        let need = "need user or assistant";
        let role = match fields.string("role")? {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(other) => {
                let other: String = other.escape_default().take(64).collect();
                return Err(fields.wrong("role", format_args!("'{other}' is unknown, {need}")));
            }
            None => return Err(fields.wrong("role", format_args!("missing, {need}"))),
        };
        let mut message = Message::new(role, Vec::new());
        match fields.get("content") {
            Some(Value::String(text)) => message.parts.push(Part::Text(text.clone())),
            Some(Value::Array(blocks)) if (1..=BLOCKS).contains(&blocks.len()) => {
                for (index, block) in blocks.iter().enumerate() {
                    self.block(block, &format!("{place}.content[{index}]"), &mut message)?;
                }
            }
            _ => {
                let need = format!("must be a string or a list of 1..{BLOCKS} blocks");
                return Err(fields.wrong("content", need));
            }
        }
        // A message of tool results alone has nothing left to say itself.
        let is_empty = message.parts.is_empty() && message.tool_calls.is_empty();
        if !is_empty || message.reasoning.is_some() {
            self.messages.push(message);
        }
        Ok(())
    }

    fn block(&mut self, value: &Value, place: &str, message: &mut Message) -> Result<(), Failure> {
        let fields = Fields::at(value, place)?;
        match fields.string("type")? {
            Some("text") => {
                let text = fields.string("text")?;
                let text = text.ok_or_else(|| fields.wrong("text", "missing"))?;
                message.parts.push(Part::Text(text.to_owned()));
            }
            Some("image") => {
                let part = message.parts.len();
                let image = self.image(&fields, part)?;
                message.parts.push(Part::Image(image));
            }
            Some("thinking") => {
                message.reasoning = fields.string("thinking")?.map(str::to_owned);
            }
            Some("redacted_thinking") => {}
            Some("tool_use") => {
                let name = fields.string("name")?;
                let name = name.ok_or_else(|| fields.wrong("name", "missing"))?;
                fields.ignore(Kind::Object, &["input"])?;
                let call = ToolCall {
                    id: fields.string("id")?.map(str::to_owned),
                    name: name.to_owned(),
                    arguments: fields.get("input").cloned().unwrap_or_else(|| json!({})),
                };
                self.calls.made(&call);
                message.tool_calls.push(call);
            }
            Some("tool_result") => self.tool_result(&fields)?,
            Some(other) => {
                let other: String = other.escape_default().take(64).collect();
                return Err(fields.wrong(
                    "type",
                    format_args!("'{other}' is unknown, need text or image"),
                ));
            }
            None => return Err(fields.wrong("type", "missing, need text or image")),
        }
        Ok(())
    }

    /// A tool's result is a message of its own; it may hold pictures.
    fn tool_result(&mut self, fields: &Fields<'_>) -> Result<(), Failure> {
        let mut message = Message::new(Role::Tool, Vec::new());
        message.tool_call_id = self.calls.answered(fields, "tool_use_id")?;
        match fields.get("content") {
            None => message.parts.push(Part::Text(String::new())),
            Some(Value::String(text)) => message.parts.push(Part::Text(text.clone())),
            Some(Value::Array(blocks)) if blocks.len() <= BLOCKS => {
                for (index, block) in blocks.iter().enumerate() {
                    let place = fields.place(&format!("content[{index}]"));
                    let inner = Fields::at(block, &place)?;
                    match inner.string("type")? {
                        Some("text") => {
                            let text = inner.string("text")?.unwrap_or_default();
                            message.parts.push(Part::Text(text.to_owned()));
                        }
                        Some("image") => {
                            let image = self.image(&inner, message.parts.len())?;
                            message.parts.push(Part::Image(image));
                        }
                        _ => return Err(inner.wrong("type", "must be text or image")),
                    }
                }
            }
            Some(_) => return Err(fields.wrong("content", "must be a string or a list of blocks")),
        }
        self.messages.push(message);
        Ok(())
    }

    fn image(&mut self, fields: &Fields<'_>, part: usize) -> Result<ImageSource, Failure> {
        let source = fields
            .get("source")
            .ok_or_else(|| fields.wrong("source", "missing"))?;
        let source = Fields::at(source, &fields.place("source"))?;
        self.budgets.push(PictureBudget::default());
        source.ignore(Kind::Text, &["media_type"])?;
        match source.string("type")? {
            Some("base64") => {
                let data = source.string("data")?;
                let data = data.ok_or_else(|| source.wrong("data", "missing"))?;
                from_base64(data, &source.place("data"))
            }
            Some("url") => {
                let url = source.string("url")?;
                let url = url.ok_or_else(|| source.wrong("url", "missing"))?;
                Ok(match from_url(url, &source.place("url"))? {
                    Found::Here(image) => image,
                    Found::At(url) => {
                        let message = self.messages.len();
                        self.fetch.push(Fetch { message, part, url });
                        ImageSource::Bytes(Vec::new())
                    }
                })
            }
            _ => Err(source.wrong("type", "must be base64 or url")),
        }
    }
}
