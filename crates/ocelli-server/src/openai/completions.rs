//! `POST /v1/completions`: more of texts or of lists of tokens, without a template.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::{Ask, AskedFor, Finished};
use ocelli::{PromptLogprobs, TokenLogprob};
use serde_json::{Map, Value, json};

use super::chat::{cache_salt, ignore_usual};
use super::completions_stream::TextWriter;
use super::form;
use crate::app::App;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::flow::{Begun, Flow};
use crate::guard::Caller;
use crate::http::body;
use crate::job::{self, Job};
use crate::{report, stream};

/// Tokens of an answer unless asked otherwise, as OpenAI has it.
const MAX_TOKENS: usize = 16;
/// Most answers to one prompt.
const ANSWERS: u64 = 8;
/// Most prompts of a request.
const PROMPTS: usize = 256;

struct Read {
    job: Job,
    stream: bool,
    usage: bool,
    /// The prompts, if they are to be repeated.
    echo: Option<Vec<AskedFor>>,
}

/// What answers repeat, and which of them belong to which prompt: those to the first come first.
pub(super) struct Layout {
    /// Answers to each prompt.
    pub(super) answers: usize,
    /// The text of each prompt, if it is to be repeated.
    echo: Option<Vec<String>>,
    /// Whether the prompts' tokens are told with their probabilities.
    pub(super) is_scored: bool,
}

impl Layout {
    /// What stands before the text of this answer.
    pub(super) fn echo(&self, index: usize) -> &str {
        let echo = self.echo.as_ref();
        echo.and_then(|texts| texts.get(index / self.answers))
            .map_or("", String::as_str)
    }
}

/// Goes on with texts.
pub(crate) async fn complete(
    app: Arc<App>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let reader = app.clone();
    let (read, share) = body::parse(&app, request, move |object| read(&reader, object)).await?;
    let answers = read.job.answers;
    let is_scored = read.job.ask.prompt_logprobs.is_some();
    let flow = Flow::begin(&app, caller, (read.job, share)).await?;
    let text = |prompt: AskedFor| match prompt {
        AskedFor::Text(text) => text,
        AskedFor::Tokens(tokens) => flow.begun.service.detokenize(&tokens),
        AskedFor::Chat(_) => String::new(),
    };
    let echo = read.echo;
    let layout = Layout {
        answers,
        echo: echo.map(|prompts| prompts.into_iter().map(text).collect()),
        is_scored,
    };
    let id = app.id("cmpl-");
    if read.stream {
        let writer = TextWriter::new(id, flow.begun.model.clone(), (layout, read.usage));
        return Ok(stream::respond(flow, writer));
    }
    let (begun, answers) = flow.finish().await?;
    Ok(Json(whole(&id, &begun, &answers, &layout)).into_response())
}

fn read(app: &App, object: &Map<String, Value>) -> Result<Read, Failure> {
    let fields = Fields::new(object);
    let model = fields.string("model")?.map(str::to_owned);
    let mut prompts = prompts(&fields)?;
    let is_echo = fields.bool("echo")?.unwrap_or(false);
    let echo = is_echo.then(|| prompts.clone());
    let mut ask = Ask::new(prompts.remove(0));
    ask.stop = fields.stop("stop")?;
    ask.max_tokens = Some(
        fields
            .max_tokens_or_none("max_tokens")?
            .unwrap_or(MAX_TOKENS),
    );
    let alternatives = fields.integer("logprobs", 0..=form::ALTERNATIVES)?;
    ask.logprobs = alternatives.map(|count| count as usize);
    // What is repeated is told as what is new.
    ask.prompt_logprobs = ask.logprobs.filter(|_| is_echo);
    form::ends(&fields, &mut ask)?;
    ask.grammar = form::grammar(&fields)?;
    if fields.get("suffix").is_some_and(|suffix| suffix != "") {
        return Err(fields.wrong("suffix", "is not supported"));
    }
    let mut job = Job::new(model, ask);
    job.more = prompts;
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
    ignore_usual(&fields)?;
    job.warnings = fields.warnings(app.settings.unknown_fields)?;
    Ok(Read {
        job,
        stream,
        usage,
        echo,
    })
}

/// A text, a list of token ids, or a list of either; at least one.
fn prompts(fields: &Fields<'_>) -> Result<Vec<AskedFor>, Failure> {
    let wrong = || {
        let need = "must be a string, a list of token ids, or a list of 1..";
        fields.wrong("prompt", format_args!("{need}{PROMPTS} of either"))
    };
    let ids = |list: &[Value]| -> Option<AskedFor> {
        let id = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
        list.iter()
            .map(id)
            .collect::<Option<_>>()
            .map(AskedFor::Tokens)
    };
    let list = match fields.get("prompt") {
        Some(Value::String(text)) => return Ok(vec![AskedFor::Text(text.clone())]),
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            return Ok(vec![ids(list).ok_or_else(wrong)?]);
        }
        Some(Value::Array(list)) if (1..=PROMPTS).contains(&list.len()) => list,
        _ => return Err(wrong()),
    };
    let is_text = list[0].is_string();
    let one = |value: &Value| match value {
        Value::String(text) if is_text => Some(AskedFor::Text(text.clone())),
        Value::Array(tokens) if !is_text => ids(tokens),
        _ => None,
    };
    list.iter()
        .map(|value| one(value).ok_or_else(wrong))
        .collect()
}

/// Probabilities as completions have them: lists side by side.
#[derive(Default)]
pub(super) struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
    /// Characters of the text before the next token.
    at: usize,
}

impl Logprobs {
    /// Nothing yet of a text before which so many characters stand.
    pub(super) fn behind(at: usize) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// Takes in the tokens of a prompt; nothing says how likely the first was.
    pub(super) fn prompt(&mut self, scored: &PromptLogprobs) {
        self.put(&scored.first, None);
        self.answer(&scored.rest);
    }

    /// Takes in tokens.
    pub(super) fn answer(&mut self, tokens: &[TokenLogprob]) {
        for token in tokens {
            self.put(&token.bytes, Some(token));
        }
    }

    fn put(&mut self, bytes: &[u8], told: Option<&TokenLogprob>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let top = told.map(|token| {
            let others = token.alternatives.iter();
            let others = others.map(|o| (text(&o.bytes), json!(o.logprob.max(-9999.0))));
            Value::Object(others.collect())
        });
        self.tokens.push(text(bytes));
        self.token_logprobs
            .push(told.map(|token| token.logprob.max(-9999.0)));
        self.top_logprobs.push(top.unwrap_or(Value::Null));
        self.text_offset.push(self.at);
        self.at += characters(bytes);
    }

    /// Characters of the text so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The lists, if there is something in them.
    pub(super) fn value(&self) -> Value {
        if self.tokens.is_empty() {
            return Value::Null;
        }
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

/// Characters that begin in these bytes, which may be a part of one.
fn characters(bytes: &[u8]) -> usize {
    let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
    bytes.iter().filter(begins).count()
}

/// Tokens of all prompts, and of all answers.
pub(super) fn usage(answers: &[&Finished], each: usize) -> Value {
    let firsts = answers.iter().step_by(each.max(1));
    let (prompt, cached) = firsts.fold((0, 0), |(prompt, cached), first| {
        let usage = &first.usage;
        (prompt + usage.prompt_tokens, cached + usage.cached_tokens)
    });
    let completion: usize = answers.iter().map(|a| a.usage.completion_tokens).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

fn whole(id: &str, begun: &Begun, answers: &[Finished], layout: &Layout) -> Value {
    let choice = |(index, answer): (usize, &Finished)| {
        let echo = layout.echo(index);
        let mut logprobs = Logprobs::default();
        if let Some(scored) = &answer.prompt_logprobs {
            logprobs.prompt(scored);
        }
        logprobs.at = echo.chars().count();
        logprobs.answer(&answer.logprobs);
        json!({
            "index": index,
            "text": format!("{echo}{}", answer.text),
            "logprobs": logprobs.value(),
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
        "usage": usage(&answers.iter().collect::<Vec<_>>(), layout.answers),
    });
    // Those of a list would be times of its first prompt.
    if answers.len() == layout.answers
        && let Some(answer) = answers.first()
    {
        body["timings"] = report::timings(answer);
    }
    if !begun.warnings.is_empty() {
        body["warnings"] = json!(begun.warnings);
    }
    body
}
