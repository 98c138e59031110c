//! `options`, `think`, `format` and `keep_alive` of a request.

use ocelli::service::{Ask, KeepAlive};
use ocelli::{GrammarSource, PictureBudget};
use serde_json::Value;

use crate::app::{App, keep_alive};
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::job::{Asking, Job, TooManyTokens};

/// How much a model may think; all mean that it may.
const LEVELS: [&str; 4] = ["low", "medium", "high", "max"];

/// Reads the fields that chats and prompts have in common into a job.
pub(super) fn read(app: &App, fields: &Fields<'_>, mut ask: Ask) -> Result<Common, Failure> {
    let model = fields.string("model")?;
    let model = model.ok_or_else(|| fields.wrong("model", "missing, need a name"))?;
    let none = Value::Object(serde_json::Map::new());
    let options = Fields::at(fields.get("options").unwrap_or(&none), "options")?;
    ask.stop = options.stop("stop")?;
    ask.max_tokens = match options.get("num_predict").and_then(Value::as_i64) {
        // As many as fit: Ollama's runners know a bound only above 0.
        Some(..=0) => None,
        _ => options.max_tokens("num_predict")?,
    };
    let budget = budget(&options)?;
    ask.budgets.iter_mut().for_each(|own| *own = budget);
    if let Some(think) = fields.get("think") {
        let think = match think {
            Value::Bool(think) => *think,
            Value::String(level) if LEVELS.contains(&level.as_str()) => true,
            _ => {
                let what = "must be true, false, low, medium, high or max";
                return Err(fields.wrong("think", what));
            }
        };
        ask.thinking.separate = think;
        ask.arguments
            .insert("enable_thinking".to_owned(), Value::Bool(think));
    }
    ask.grammar = format(fields)?;
    let top = fields.integer("top_logprobs", 0..=20)?;
    if fields.bool("logprobs")?.unwrap_or(false) {
        ask.logprobs = Some(top.unwrap_or(0) as usize);
    }
    let keep = keep(fields)?;
    ignore_usual(&options)?;
    let mut job = Job::new(Some(model.to_owned()), ask);
    job.asking = sampling(app, &options)?;
    job.too_many_tokens = TooManyTokens::Cut;
    job.warnings = options.warnings(app.settings.unknown_fields)?;
    Ok(Common {
        job,
        keep,
        stream: fields.bool("stream")?.unwrap_or(true),
    })
}

/// Options that say how to work, and ways to choose tokens that change nothing as long as they are off.
fn ignore_usual(options: &Fields<'_>) -> Result<(), Failure> {
    let numbers = [
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "num_keep",
        "mirostat_tau",
        "mirostat_eta",
    ];
    options.ignore(Kind::Number, &numbers)?;
    let flags = [
        "use_mmap",
        "use_mlock",
        "numa",
        "low_vram",
        "f16_kv",
        "logits_all",
        "penalize_newline",
    ];
    options.ignore(Kind::Flag, &flags)?;
    options.expect("mirostat", 0.0);
    options.expect("tfs_z", 1.0);
    options.expect("typical_p", 1.0);
    Ok(())
}

/// Reads `keep_alive`.
fn keep(fields: &Fields<'_>) -> Result<Option<KeepAlive>, Failure> {
    let Some(value) = fields.get("keep_alive") else {
        return Ok(None);
    };
    let what = "must be seconds, or a time as \"5m\" or \"1h30m\"";
    let keep = keep_alive(value).ok_or_else(|| fields.wrong("keep_alive", what))?;
    Ok(Some(keep))
}

/// Reads `format`.
fn format(fields: &Fields<'_>) -> Result<Option<GrammarSource>, Failure> {
    match fields.get("format") {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text == "json" => Ok(Some(GrammarSource::JsonObject)),
        Some(schema @ Value::Object(_)) => Ok(Some(GrammarSource::JsonSchema(schema.clone()))),
        Some(_) => Err(fields.wrong("format", "must be \"json\" or a schema, an object")),
    }
}

/// What chats and prompts have in common.
pub(super) struct Common {
    pub(super) job: Job,
    pub(super) keep: Option<KeepAlive>,
    pub(super) stream: bool,
}

fn sampling(app: &App, options: &Fields<'_>) -> Result<Asking, Failure> {
    let repeat_last = match options.get("repeat_last_n").and_then(Value::as_i64) {
        // -1 is the whole context.
        Some(-1) => None,
        _ => options
            .integer("repeat_last_n", 0..=1 << 31)?
            .map(|n| n as usize),
    };
    Ok(Asking {
        temperature: options.number("temperature", 0.0..=100.0)?,
        top_p: options.number("top_p", 0.0..=1.0)?,
        min_p: options.number("min_p", 0.0..=1.0)?,
        top_k: crate::job::top_k(options)?,
        repeat_penalty: options.number("repeat_penalty", 0.01..=10.0)?,
        repeat_last,
        logit_bias: Vec::new(),
        presence_penalty: options.number("presence_penalty", -2.0..=2.0)?,
        frequency_penalty: options.number("frequency_penalty", -2.0..=2.0)?,
        seed: Some(options.seed("seed")?.unwrap_or_else(|| app.random())),
    })
}

fn budget(options: &Fields<'_>) -> Result<PictureBudget, Failure> {
    let most = 1_u64 << 40;
    let max_tokens = options.integer("image_max_tokens", 1..=u64::from(u32::MAX))?;
    Ok(PictureBudget {
        min_pixels: options.integer("min_pixels", 1..=most)?,
        max_pixels: options.integer("max_pixels", 1..=most)?,
        max_tokens: max_tokens.map(|tokens| tokens as u32),
        coarse: false,
    })
}
