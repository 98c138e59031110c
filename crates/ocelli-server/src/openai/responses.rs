//! `POST /v1/responses`, without memory: every request brings its whole conversation.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::{Ask, Calls, Finished};
use ocelli::{FinishReason, Message, Part, PictureBudget, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::chat::ignore_usual;
use super::form;
use super::messages::{self, Conversation};
use super::responses_stream::ResponseWriter;
use crate::app::App;
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::flow::Flow;
use crate::guard::Caller;
use crate::http::body;
use crate::job::{self, Job, TooManyTokens};
use crate::{report, stream};

/// Answers a conversation.
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let ((job, is_stream, said), share) =
        body::parse(&app, request, move |object| read(&reader, object)).await?;
    let flow = Flow::begin(&app, caller, (job, share)).await?;
    let names = Names {
        response: app.id("resp_"),
        message: app.id("msg_"),
        model: flow.begun.model.clone(),
        created: report::now(),
        said,
    };
    if is_stream {
        return Ok(stream::respond(flow, ResponseWriter::new(names)));
    }
    let (begun, answers) = flow.finish().await?;
    let finished = answers
        .first()
        .ok_or_else(|| Failure::internal("no answer"))?;
    let mut response = names.complete(finished);
    if !begun.warnings.is_empty() {
        response["warnings"] = json!(begun.warnings);
    }
    Ok(Json(response).into_response())
}

/// `POST /v1/responses/input_tokens`: what the request would take, without answering it.
pub(crate) async fn count(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let ((job, _, _), share) =
        body::parse(&app, request, move |object| read(&reader, object)).await?;
    Ok(Json(super::chat::counted(&app, caller, (job, share)).await?).into_response())
}

fn read(
    app: &App,
    object: &Map<String, Value>,
) -> Result<(Job, bool, Map<String, Value>), Failure> {
    let fields = Fields::new(object);
    let model = fields.string("model")?.map(str::to_owned);
    refuse_unsupported(&fields)?;
    let conversation = conversation(&fields)?;
    let mut ask = Ask::chat(conversation.messages);
    ask.budgets = conversation.budgets;
    ask.tools = tools(&fields)?;
    ask.max_tokens = fields.max_tokens("max_output_tokens")?;
    if let Some(text) = fields.object("text")? {
        text.ignore(Kind::Text, &["verbosity"])?;
        if let Some(format) = text.object("format")? {
            ask.grammar = form::response_format(&format)?;
        }
    }
    form::choose_tools(&fields, &mut ask)?;
    ask.thinking.separate = true;
    if let Some(reasoning) = fields.object("reasoning")? {
        form::effort(&reasoning, "effort", &mut ask)?;
    }
    let mut job = Job::new(model, ask);
    job.asking = job::sampling(app, &fields, 2.0)?;
    job.fetch = conversation.fetch;
    job.too_many_tokens = TooManyTokens::Refused("max_output_tokens");
    let stream = fields.bool("stream")?.unwrap_or(false);
    fields.object("stream_options")?;
    ignore_usual(&fields)?;
    fields.ignore(Kind::Number, &["max_tool_calls"])?;
    job.warnings = fields.warnings(app.settings.unknown_fields)?;
    let said = said(object, &job);
    Ok((job, stream, said))
}

/// What a response repeats of its request, with what is meant where nothing is said.
fn said(object: &Map<String, Value>, job: &Job) -> Map<String, Value> {
    let given = |key: &str, absent: Value| match object.get(key) {
        None | Some(Value::Null) => absent,
        Some(value) => value.clone(),
    };
    let mut said = Map::new();
    for (key, absent) in [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("temperature", Value::Null),
        ("top_p", Value::Null),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
    ] {
        said.insert(key.to_owned(), given(key, absent));
    }
    let metadata = given("metadata", json!({}));
    let metadata = if metadata.is_object() {
        metadata
    } else {
        json!({})
    };
    said.insert("metadata".to_owned(), metadata);
    let many = job.ask.calls == Calls::Many;
    said.insert("parallel_tool_calls".to_owned(), json!(many));
    // What there is no choice of.
    said.insert("previous_response_id".to_owned(), Value::Null);
    said.insert("store".to_owned(), json!(false));
    said.insert("truncation".to_owned(), json!("disabled"));
    said
}

/// Refuses what would change the answer and is not there.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), Failure> {
    if fields.string("previous_response_id")?.is_some() {
        let what = "is not supported: send the whole conversation as input";
        return Err(fields.wrong("previous_response_id", what));
    }
    if fields.bool("background")? == Some(true) {
        return Err(fields.wrong("background", "is not supported"));
    }
    for (key, instead) in [
        ("conversation", "send the whole conversation as input"),
        ("prompt", "send its text as instructions and input"),
    ] {
        if fields.get(key).is_some() {
            return Err(fields.wrong(key, format_args!("is not supported: {instead}")));
        }
    }
    let elsewhere = "is not supported here, but in chat completions";
    let top = fields.integer("top_logprobs", 0..=form::ALTERNATIVES)?;
    if top.is_some_and(|top| top > 0) {
        return Err(fields.wrong("top_logprobs", elsewhere));
    }
    // What else could be included is not there, and so never in an answer.
    let include = fields.list("include")?.map(Vec::as_slice);
    for value in include.unwrap_or_default() {
        match value.as_str() {
            None => return Err(fields.wrong("include", "must be a list of strings")),
            Some(name @ "message.output_text.logprobs") => {
                return Err(fields.wrong("include", format_args!("{name} {elsewhere}")));
            }
            Some(_) => {}
        }
    }
    match fields.string("truncation")? {
        None | Some("auto" | "disabled") => Ok(()),
        Some(_) => Err(fields.wrong("truncation", "must be auto or disabled")),
    }
}

/// Reads `instructions` and `input`.
fn conversation(fields: &Fields<'_>) -> Result<Conversation, Failure> {
    let sizes = messages::image_budget(fields, PictureBudget::default())?;
    let mut conversation = Conversation::default();
    if let Some(text) = fields.string("instructions")? {
        conversation
            .messages
            .push(Message::text(Role::System, text));
    }
    match fields.get("input") {
        Some(Value::String(text)) => conversation.messages.push(Message::text(Role::User, text)),
        Some(Value::Array(items)) if !items.is_empty() && items.len() <= 4096 => {
            for (index, item) in items.iter().enumerate() {
                read_item(&mut conversation, item, &format!("input[{index}]"), sizes)?;
            }
        }
        _ => return Err(fields.wrong("input", "must be a string or a list of items")),
    }
    Ok(conversation)
}

/// Tools stand flat here, and nested in templates.
fn tools(fields: &Fields<'_>) -> Result<Vec<Value>, Failure> {
    let list = fields.list("tools")?.map(Vec::as_slice).unwrap_or_default();
    if list.len() > crate::tools::TOOLS {
        let what = format!("must have at most {} tools", crate::tools::TOOLS);
        return Err(fields.wrong("tools", what));
    }
    let tool = |(index, tool): (usize, &Value)| {
        let place = format!("tools[{index}]");
        if tool["type"] != "function" || !tool["name"].is_string() {
            return Err(Failure::field(place, "must be a function with a name"));
        }
        let tool = Fields::at(tool, &place)?;
        tool.ignore(Kind::Flag, &["strict"])?;
        Ok(json!({"type": "function", "function": {
            "name": tool.string("name")?,
            "description": tool.string("description")?.unwrap_or_default(),
            "parameters": tool.get("parameters"),
        }}))
    };
    list.iter().enumerate().map(tool).collect()
}

fn read_item(
    conversation: &mut Conversation,
    item: &Value,
    place: &str,
    sizes: PictureBudget,
) -> Result<(), Failure> {
    let fields = Fields::at(item, place)?;
    match fields.string("type")?.unwrap_or("message") {
        "message" => conversation.read_message(item, place, sizes),
        "reasoning" => Ok(()),
        "function_call" => {
            let mut message = Message::new(Role::Assistant, Vec::new());
            let arguments = fields.string("arguments")?.unwrap_or("{}");
            let name = fields.string("name")?;
            let name = name.ok_or_else(|| fields.wrong("name", "missing"))?;
            let call = ToolCall {
                id: fields.string("call_id")?.map(str::to_owned),
                name: name.to_owned(),
                arguments: serde_json::from_str(arguments)
                    .unwrap_or_else(|_| Value::String(arguments.to_owned())),
            };
            conversation.calls.made(&call);
            message.tool_calls.push(call);
            conversation.messages.push(message);
            Ok(())
        }
        "function_call_output" => {
            let parts = match fields.get("output") {
                Some(Value::String(text)) => vec![Part::Text(text.clone())],
                Some(Value::Array(parts)) => {
                    conversation.read_parts(parts, &fields.place("output"), sizes)?
                }
                _ => return Err(fields.wrong("output", "must be a string or a list of parts")),
            };
            let mut message = Message::new(Role::Tool, parts);
            message.tool_call_id = conversation.calls.answered(&fields, "call_id")?;
            conversation.messages.push(message);
            Ok(())
        }
        other => {
            let other: String = other.escape_default().take(64).collect();
            Err(fields.wrong("type", format_args!("'{other}' is unknown, need message")))
        }
    }
}

/// What a response and its message are called.
pub(super) struct Names {
    response: String,
    pub(super) message: String,
    model: String,
    created: u64,
    /// What is repeated of the request.
    said: Map<String, Value>,
}

impl Names {
    /// The response with its status and what it has brought so far.
    pub(super) fn response(&self, status: &str, output: Value) -> Value {
        let mut response = json!({
            "id": self.response,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "model": self.model,
            "output": output,
            "usage": null,
        });
        for (key, value) in &self.said {
            response[key] = value.clone();
        }
        response
    }

    /// The message of the answer.
    pub(super) fn message(&self, status: &str, content: Value) -> Value {
        json!({
            "id": self.message,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        })
    }

    /// A call of a tool.
    pub(super) fn call(&self, index: usize, call: &ToolCall) -> Value {
        json!({
            "id": format!("fc_{index}_{}", self.message),
            "type": "function_call",
            "status": "completed",
            "call_id": format!("call_{index}_{}", self.message),
            "name": call.name,
            "arguments": call.arguments.to_string(),
        })
    }

    /// The response when all is said.
    pub(super) fn complete(&self, finished: &Finished) -> Value {
        let status = match finished.finish_reason {
            FinishReason::Length => "incomplete",
            _ => "completed",
        };
        let mut output = Vec::new();
        if !finished.text.is_empty() || finished.tool_calls.is_empty() {
            output.push(self.message(status, json!([text_part(&finished.text)])));
        }
        for (index, call) in finished.tool_calls.iter().enumerate() {
            output.push(self.call(index, call));
        }
        let mut response = self.response(status, json!(output));
        if status == "incomplete" {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let usage = &finished.usage;
        response["usage"] = json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": finished.reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        });
        report::put_media(&mut response["usage"], finished);
        response
    }
}

/// A part of text.
pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
