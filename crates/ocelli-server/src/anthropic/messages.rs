//! `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::Finished;
use ocelli::{FinishReason, StopCause, ToolCall};
use serde_json::{Value, json};

use super::read::{MaxTokens, read};
use super::stream::MessageWriter;
use crate::app::App;
use crate::failure::Failure;
use crate::flow::Flow;
use crate::guard::Caller;
use crate::http::body;
use crate::job;
use crate::{report, stream};

/// Answers a conversation.
pub(crate) async fn create(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let parse = move |object: &_| read(&reader, object, MaxTokens::Needed);
    let ((job, is_stream), share) = body::parse(&app, request, parse).await?;
    let stops = job.ask.stop.clone();
    let flow = Flow::begin(&app, caller, (job, share)).await?;
    let id = app.id("msg_");
    if is_stream {
        let writer = MessageWriter::new(id, &flow.begun, stops);
        return Ok(stream::respond(flow, writer));
    }
    let (begun, answers) = flow.finish().await?;
    let finished = answers
        .first()
        .ok_or_else(|| Failure::internal("no answer"))?;
    let mut content = Vec::new();
    if !finished.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": finished.reasoning, "signature": ""}));
    }
    if !finished.text.is_empty() {
        content.push(json!({"type": "text", "text": finished.text}));
    }
    content.extend(finished.tool_calls.iter().map(|call| tool_use(&app, call)));
    let mut message = head(&id, &begun.model);
    message["content"] = json!(content);
    message["stop_reason"] = json!(stop_reason(finished));
    message["stop_sequence"] = json!(stop_sequence(finished, &stops));
    message["usage"] = usage(finished);
    if !finished.boxes.is_empty() {
        message["boxes"] = report::boxes(&finished.boxes);
    }
    if !begun.warnings.is_empty() {
        message["warnings"] = json!(begun.warnings);
    }
    Ok(Json(message).into_response())
}

/// Counts the tokens of a conversation.
pub(crate) async fn count(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let parse = move |object: &_| read(&reader, object, MaxTokens::Absent);
    let ((job, _), share) = body::parse(&app, request, parse).await?;
    let looked = job::look(&app, caller, (job, share)).await?;
    let images = report::images(&looked.images);
    let counted = json!({"input_tokens": looked.prompt_tokens, "images": images});
    Ok(Json(counted).into_response())
}

/// A message without content.
pub(super) fn head(id: &str, model: &str) -> Value {
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    })
}

pub(super) fn stop_reason(finished: &Finished) -> &'static str {
    match (finished.finish_reason, finished.stopped) {
        (FinishReason::Length, _) => "max_tokens",
        _ if !finished.tool_calls.is_empty() => "tool_use",
        (_, Some(StopCause::Text(_))) => "stop_sequence",
        _ => "end_turn",
    }
}

/// A call of a tool.
pub(super) fn tool_use(app: &App, call: &ToolCall) -> Value {
    json!({"type": "tool_use", "id": app.id("toolu_"), "name": call.name, "input": call.arguments})
}

/// The string that ended the answer, if one did.
pub(super) fn stop_sequence<'a>(finished: &Finished, stops: &'a [String]) -> Option<&'a str> {
    match finished.stopped {
        Some(StopCause::Text(index)) => stops.get(index).map(String::as_str),
        _ => None,
    }
}

/// Tokens; those from the cache are counted beside the others.
pub(super) fn usage(finished: &Finished) -> Value {
    let usage = &finished.usage;
    let mut counted = json!({
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
    });
    report::put_media(&mut counted, finished);
    counted
}
