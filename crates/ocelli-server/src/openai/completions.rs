//! `POST /v1/completions`: more of a text or of tokens, without a template.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::TokenLogprob;
use ocelli::service::{Ask, AskedFor, Finished, Update};
use serde_json::{Map, Value, json};

use super::chat::{cache_salt, usage};
use super::{error, form};
use crate::app::App;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::guard::Caller;
use crate::http::body;
use crate::job::{self, Begun, Flow, Job};
use crate::stream::{Writer, event};
use crate::{report, stream};

/// Tokens of an answer unless asked otherwise, as OpenAI has it.
const MAX_TOKENS: usize = 16;
/// Most answers to one request.
const ANSWERS: u64 = 8;

struct Read {
    job: Job,
    stream: bool,
    usage: bool,
    /// The prompt, if it is to be repeated.
    echo: Option<String>,
}

/// Goes on with a text.
pub(crate) async fn complete(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let (read, share) = body::parse(&app, request, move |object| read(&reader, object)).await?;
    let flow = Flow::begin(&app, caller, (read.job, share)).await?;
    let id = app.id("cmpl-");
    if read.stream {
        let writer = TextWriter {
            id,
            created: report::now(),
            model: flow.begun.model.clone(),
            usage: read.usage,
            echo: read.echo,
            before: BTreeMap::new(),
            finished: Vec::new(),
        };
        return Ok(stream::respond(flow, writer));
    }
    let (begun, answers) = flow.finish().await?;
    Ok(Json(whole(&id, &begun, &answers, read.echo.as_deref())).into_response())
}

fn read(app: &App, object: &Map<String, Value>) -> Result<Read, Failure> {
    let fields = Fields::new(object);
    let model = fields.string("model")?.map(str::to_owned);
    let asked = prompt(&fields)?;
    let echo = match (fields.bool("echo")?, &asked) {
        (Some(true), AskedFor::Text(text)) => Some(text.clone()),
        (Some(true), _) => return Err(fields.wrong("echo", "needs a prompt of text")),
        _ => None,
    };
    let mut ask = Ask::new(asked);
    ask.stop = fields.stop("stop")?;
    ask.max_tokens = Some(fields.max_tokens("max_tokens")?.unwrap_or(MAX_TOKENS));
    let alternatives = fields.integer("logprobs", 0..=form::ALTERNATIVES)?;
    ask.logprobs = alternatives.map(|count| count as usize);
    form::ends(&fields, &mut ask)?;
    if fields.get("suffix").is_some_and(|suffix| suffix != "") {
        return Err(fields.wrong("suffix", "is not supported"));
    }
    let mut job = Job::new(model, ask);
    job.asking = job::sampling(app, &fields, 2.0)?;
    job.answers = fields.integer("n", 1..=ANSWERS)?.unwrap_or(1) as usize;
    if fields.integer("best_of", 1..=ANSWERS)?.unwrap_or(1) > job.answers as u64 {
        return Err(fields.wrong("best_of", "is not supported above n"));
    }
    job.cache_salt = cache_salt(&fields)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    let usage = match fields.get("stream_options") {
        None => false,
        Some(_) if !stream => {
            return Err(fields.wrong("stream_options", "is only allowed with stream: true"));
        }
        Some(options) => {
            let options = Fields::at(options, "stream_options")?;
            options.bool("include_usage")?.unwrap_or(false)
        }
    };
    fields.ignore(&["user", "skip_special_tokens", "cache_prompt", "id_slot"]);
    job.warnings = fields.warnings(app.settings.unknown_fields)?;
    Ok(Read {
        job,
        stream,
        usage,
        echo,
    })
}

/// One text or one list of tokens, or a list with one of them.
fn prompt(fields: &Fields<'_>) -> Result<AskedFor, Failure> {
    let wrong = || fields.wrong("prompt", "must be one string or one list of token ids");
    let tokens = |list: &[Value]| {
        let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
        let tokens: Option<Vec<u32>> = list.iter().map(token).collect();
        tokens.map(AskedFor::Tokens).ok_or_else(wrong)
    };
    match fields.get("prompt") {
        Some(Value::String(text)) => Ok(AskedFor::Text(text.clone())),
        Some(Value::Array(list)) => match list.as_slice() {
            [] => Err(wrong()),
            [Value::String(text)] => Ok(AskedFor::Text(text.clone())),
            [Value::Array(inner)] => tokens(inner),
            list => tokens(list),
        },
        _ => Err(wrong()),
    }
}

/// Characters that begin in these bytes, which may be a part of one.
fn characters(bytes: &[u8]) -> usize {
    let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
    bytes.iter().filter(begins).count()
}

/// Probabilities as completions have them: lists side by side. `at` is how many characters of the text stand before.
fn logprobs_of(tokens: &[TokenLogprob], mut at: usize) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let offsets = tokens.iter().map(|token| {
        let offset = at;
        at += characters(&token.bytes);
        offset
    });
    let offsets: Vec<usize> = offsets.collect();
    let top = |token: &TokenLogprob| {
        let others = token.alternatives.iter();
        let others = others.map(|other| (text(&other.bytes), json!(other.logprob.max(-9999.0))));
        Value::Object(others.collect())
    };
    json!({
        "tokens": tokens.iter().map(|token| text(&token.bytes)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.logprob.max(-9999.0)).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

fn whole(id: &str, begun: &Begun, answers: &[Finished], echo: Option<&str>) -> Value {
    let before = echo.map_or(0, |echo| echo.chars().count());
    let choice = |(index, answer): (usize, &Finished)| {
        json!({
            "index": index,
            "text": format!("{}{}", echo.unwrap_or_default(), answer.text),
            "logprobs": logprobs_of(&answer.logprobs, before),
            "finish_reason": answer.finish_reason.name(),
        })
    };
    let mut body = json!({
        "id": id,
        "object": "text_completion",
        "created": report::now(),
        "model": begun.model,
        "system_fingerprint": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
        "choices": answers.iter().enumerate().map(choice).collect::<Vec<_>>(),
        "usage": usage(answers),
    });
    if let Some(answer) = answers.first() {
        body["timings"] = report::timings(answer);
    }
    if !begun.warnings.is_empty() {
        body["warnings"] = json!(begun.warnings);
    }
    body
}

struct TextWriter {
    id: String,
    created: u64,
    model: String,
    usage: bool,
    echo: Option<String>,
    /// Characters of each answer so far, of the tokens whose probabilities were told.
    before: BTreeMap<usize, usize>,
    finished: Vec<Finished>,
}

impl TextWriter {
    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("ocelli-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
            "usage": null,
        });
        if !self.usage
            && let Some(chunk) = chunk.as_object_mut()
        {
            chunk.remove("usage");
        }
        chunk
    }

    fn text(&self, index: usize, text: &str, logprobs: Value, out: &mut Vec<u8>) {
        let choice = json!([{
            "index": index, "text": text, "logprobs": logprobs, "finish_reason": null,
        }]);
        event(out, None, &self.chunk(choice));
    }
}

impl Writer for TextWriter {
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn update(&mut self, index: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Prepared { .. } => {
                if let Some(echo) = &self.echo {
                    self.text(index, echo, Value::Null, out);
                }
            }
            Update::Text { text, logprobs, .. } => {
                let echo = self.echo.as_ref().map_or(0, |echo| echo.chars().count());
                let before = self.before.entry(index).or_insert(echo);
                let logprobs_here = logprobs_of(&logprobs, *before);
                *before += logprobs
                    .iter()
                    .map(|token| characters(&token.bytes))
                    .sum::<usize>();
                self.text(index, &text, logprobs_here, out);
            }
            Update::Done(finished) => {
                let reason = finished.finish_reason.name();
                let choice = json!([{
                    "index": index, "text": "", "logprobs": null, "finish_reason": reason,
                }]);
                event(out, None, &self.chunk(choice));
                self.finished.push(*finished);
            }
            Update::Encoding { .. }
            | Update::Prefill { .. }
            | Update::ToolCall(_)
            | Update::Failed(_) => {}
        }
    }

    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        event(out, None, &error::body(failure));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.usage {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage(&self.finished);
            event(out, None, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": alive\n\n");
    }
}
