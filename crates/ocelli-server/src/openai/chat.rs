//! `POST /v1/chat/completions`, and the dry run that only counts.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::{Ask, Finished, Update};
use ocelli::{Drafts, FinishReason, PictureBudget, ToolCall};
use serde_json::{Map, Value, json};

use super::chat_stream::ChatWriter;
use super::form;
use super::messages::{self, Conversation};
use crate::app::App;
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::flow::{Begun, Flow};
use crate::guard::Caller;
use crate::http::body;
use crate::job::{self, Job, Looked};
use crate::{report, stream, tools};

/// Most answers to one request.
const ANSWERS: u64 = 8;

/// How an answer is to be written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    stream: bool,
    /// A last chunk with the usage.
    pub(super) usage: bool,
    /// The usage so far in every chunk.
    pub(super) usage_always: bool,
    /// Events about encoding and prefill.
    pub(super) progress: bool,
}

/// Answers a chat.
pub(crate) async fn complete(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let ((job, style), share) =
        body::parse(&app, request, move |object| read(&reader, object)).await?;
    let flow = Flow::begin(&app, caller, (job, share)).await?;
    let id = app.id("chatcmpl-");
    if style.stream {
        let writer = ChatWriter::new(id, &flow.begun, style);
        return Ok(stream::respond(flow, writer));
    }
    let (begun, answers) = flow.finish().await?;
    Ok(Json(whole(&id, &begun, &answers)).into_response())
}

/// `POST /v1/chat/completions/input_tokens`: what the request would take, without answering it.
pub(crate) async fn count(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let ((job, _), share) = body::parse(&app, request, move |object| read(&reader, object)).await?;
    Ok(Json(counted(&app, caller, (job, share)).await?).into_response())
}

/// What a request takes.
pub(super) async fn counted(
    app: &Arc<App>,
    caller: Caller,
    asked: (Job, body::Share),
) -> Result<Value, Failure> {
    let Looked {
        prompt_tokens,
        images,
        videos,
        context,
    } = job::look(app, caller, asked).await?;
    Ok(json!({
        "object": "response.input_tokens",
        "input_tokens": prompt_tokens,
        "images": report::images(&images),
        "videos": report::videos(&videos),
        "context": context,
        "fits": prompt_tokens < context,
        "max_completion_tokens": context.saturating_sub(prompt_tokens),
    }))
}

fn read(app: &App, object: &Map<String, Value>) -> Result<(Job, Style), Failure> {
    let fields = Fields::new(object);
    let model = fields.string("model")?.map(str::to_owned);
    let mut sizes = messages::image_budget(&fields, PictureBudget::default())?;
    if let Some(value) = fields.get("mm_processor_kwargs") {
        sizes = messages::image_budget(&Fields::at(value, "mm_processor_kwargs")?, sizes)?;
    }
    let list = fields.list("messages")?;
    let list = list.ok_or_else(|| Failure::field("messages", "missing, need a list"))?;
    let conversation = Conversation::read(list, sizes)?;
    let mut ask = Ask::chat(conversation.messages);
    ask.budgets = conversation.budgets;
    ask.tools = tools::read(&fields)?;
    ask.arguments = template_arguments(&fields)?;
    ask.stop = fields.stop("stop")?;
    let newer = fields.max_tokens("max_completion_tokens")?;
    ask.max_tokens = newer.or(fields.max_tokens("max_tokens")?);
    ask.prediction = prediction(&fields)?;
    form::read(&fields, &mut ask)?;
    form::choose_tools(&fields, &mut ask)?;
    for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if fields.get(old).is_some() {
            return Err(fields.wrong(old, format_args!("is not supported: send {new}")));
        }
    }
    let mut job = Job::new(model, ask);
    job.asking = job::sampling(app, &fields, 2.0)?;
    job.fetch = conversation.fetch;
    job.answers = fields.integer("n", 1..=ANSWERS)?.unwrap_or(1) as usize;
    job.cache_salt = cache_salt(&fields)?;
    let style = style(&fields)?;
    heed_others(&fields)?;
    job.warnings = fields.warnings(app.settings.unknown_fields)?;
    Ok((job, style))
}

/// A text that the answer may repeat: `{"type": "content", "content": ...}`.
fn prediction(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    let Some(predicted) = fields.object("prediction")? else {
        return Ok(None);
    };
    if predicted
        .string("type")?
        .is_none_or(|kind| kind != "content")
    {
        return Err(predicted.wrong("type", "must be \"content\""));
    }
    let wrong = || {
        predicted.wrong(
            "content",
            "must be a text or a list of parts of type \"text\"",
        )
    };
    match predicted.get("content").ok_or_else(wrong)? {
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(parts) => {
            let text = |part: &Value| {
                let is_text = part.get("type").and_then(Value::as_str) == Some("text");
                let text = part.get("text").and_then(Value::as_str);
                text.filter(|_| is_text).map(str::to_owned)
            };
            let texts: Option<String> = parts.iter().map(text).collect();
            texts.ok_or_else(wrong).map(Some)
        }
        _ => Err(wrong()),
    }
}

/// Fields that change nothing here, and those that would and are not there.
fn heed_others(fields: &Fields<'_>) -> Result<(), Failure> {
    fields.refuse(&["continue_final_message", "echo", "audio"])?;
    if fields.get("web_search_options").is_some() {
        return Err(fields.wrong("web_search_options", "is not supported"));
    }
    if fields.integer("best_of", 1..=ANSWERS)?.unwrap_or(1) > 1 {
        return Err(fields.wrong("best_of", "is not supported, send n"));
    }
    if fields.bool("add_generation_prompt")? == Some(false) {
        return Err(fields.wrong("add_generation_prompt", "must be true"));
    }
    if let Some(modalities) = fields.list("modalities")?
        && modalities.iter().any(|modality| modality != "text")
    {
        return Err(fields.wrong("modalities", "must be [\"text\"]: answers are text"));
    }
    ignore_usual(fields)?;
    fields.ignore(Kind::Text, &["verbosity"])?;
    fields.ignore(Kind::Flag, &["timings_per_token"])
}

/// Fields of all of OpenAI's routes, and those that say to llama-server and vLLM how to work.
pub(super) fn ignore_usual(fields: &Fields<'_>) -> Result<(), Failure> {
    let texts = [
        "user",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
    ];
    fields.ignore(Kind::Text, &texts)?;
    let flags = ["store", "skip_special_tokens", "cache_prompt"];
    fields.ignore(Kind::Flag, &flags)?;
    fields.ignore(Kind::Object, &["metadata"])?;
    fields.ignore(Kind::Number, &["id_slot"])
}

pub(super) fn cache_salt(fields: &Fields<'_>) -> Result<String, Failure> {
    let salt = fields.string("cache_salt")?.unwrap_or_default();
    match salt.len() <= 64 {
        true => Ok(salt.to_owned()),
        false => Err(fields.wrong("cache_salt", "must have at most 64 bytes")),
    }
}

fn template_arguments(fields: &Fields<'_>) -> Result<Map<String, Value>, Failure> {
    match fields.get("chat_template_kwargs") {
        None => Ok(Map::new()),
        Some(Value::Object(arguments)) => Ok(arguments.clone()),
        Some(_) => Err(fields.wrong("chat_template_kwargs", "must be an object")),
    }
}

fn style(fields: &Fields<'_>) -> Result<Style, Failure> {
    let mut style = Style {
        stream: fields.bool("stream")?.unwrap_or(false),
        progress: fields.bool("progress")?.unwrap_or(false),
        ..Style::default()
    };
    if let Some(options) = fields.get("stream_options") {
        if !style.stream {
            return Err(fields.wrong("stream_options", "is only allowed with stream: true"));
        }
        let options = Fields::at(options, "stream_options")?;
        style.usage = options.bool("include_usage")?.unwrap_or(false);
        style.usage_always = options.bool("continuous_usage_stats")?.unwrap_or(false);
    }
    Ok(style)
}

/// Tokens of prompt and answers, and what became of each picture.
pub(super) fn usage(answers: &[Finished]) -> Value {
    let first = answers.first();
    let prompt = first.map_or(0, |answer| answer.usage.prompt_tokens);
    let cached = first.map_or(0, |answer| answer.usage.cached_tokens);
    let completion: usize = answers.iter().map(|a| a.usage.completion_tokens).sum();
    let images = first.map_or(&[][..], |answer| &answer.images);
    let drafts = |count: fn(Drafts) -> usize| -> usize {
        answers.iter().map(|a| count(a.usage.drafts)).sum()
    };
    let mut usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "image_tokens": images.iter().map(|image| image.tokens).sum::<usize>(),
        },
        "completion_tokens_details": {
            "reasoning_tokens": answers.iter().map(|a| a.reasoning_tokens).sum::<usize>(),
            "accepted_prediction_tokens": drafts(|drafts| drafts.accepted),
            "rejected_prediction_tokens": drafts(|drafts| drafts.tokens - drafts.accepted),
        },
    });
    if let Some(answer) = first {
        report::put_media(&mut usage, answer);
    }
    usage
}

fn whole(id: &str, begun: &Begun, answers: &[Finished]) -> Value {
    let choice = |(index, answer): (usize, &Finished)| {
        let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null});
        if !answer.boxes.is_empty() {
            message["boxes"] = report::boxes(&answer.boxes);
        }
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = json!(answer.reasoning);
        }
        if !answer.tool_calls.is_empty() {
            let calls = answer.tool_calls.iter().enumerate();
            message["tool_calls"] = calls
                .map(|(i, call)| tool_call(&begun.app, i, call))
                .collect();
            if answer.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        let logprobs = (!answer.logprobs.is_empty()).then(|| form::logprobs_of(&answer.logprobs));
        json!({
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": finish_reason(answer),
        })
    };
    let mut body = json!({
        "id": id,
        "object": "chat.completion",
        "created": report::now(),
        "model": begun.model,
        "choices": answers.iter().enumerate().map(choice).collect::<Vec<_>>(),
        "usage": usage(answers),
        "system_fingerprint": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
    });
    if let Some(answer) = answers.first() {
        body["timings"] = report::timings(answer);
    }
    if !begun.warnings.is_empty() {
        body["warnings"] = json!(begun.warnings);
    }
    body
}

/// Why an answer ended, in this API's words.
pub(super) fn finish_reason(answer: &Finished) -> &'static str {
    match answer.finish_reason {
        FinishReason::Stop if !answer.tool_calls.is_empty() => "tool_calls",
        reason => reason.name(),
    }
}

/// A call of a tool; its arguments travel as text.
pub(super) fn tool_call(app: &App, index: usize, call: &ToolCall) -> Value {
    json!({"index": index, "id": app.id("call_"), "type": "function", "function": {
        "name": call.name,
        "arguments": call.arguments.to_string(),
    }})
}

/// What happened on the way to an answer, for clients that asked for it.
pub(super) fn progress(index: usize, update: &Update) -> Option<Value> {
    match update {
        Update::Encoding { image, done, total } => Some(json!({
            "index": index, "stage": "encoding", "image": image, "layer": done, "of": total,
        })),
        Update::Prefill { done, total } => Some(json!({
            "index": index, "stage": "prefill", "tokens": done, "of": total,
        })),
        _ => None,
    }
}
