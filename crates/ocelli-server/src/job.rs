//! A request in neutral words, ready for its model.

use std::future::poll_fn;
use std::sync::Arc;

use ocelli::service::{Ask, AskedFor, Update};
use ocelli::{ImageRecord, Sampling, VideoRecord};
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::flow::Begun;
use crate::guard::Caller;
use crate::http::body::Share;
use crate::images::{self, Fetch};

/// What happens where an answer may have more tokens than the context.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TooManyTokens {
    /// It is an error that names this field.
    Refused(&'static str),
    /// The answer ends with the context.
    Cut,
}

/// What an API understood of a request.
pub(crate) struct Job {
    /// The model's name; `None` for the first.
    pub(crate) model: Option<String>,
    pub(crate) ask: Ask,
    /// What else is asked in the same words, each with answers of its own.
    pub(crate) more: Vec<AskedFor>,
    /// What it says about sampling.
    pub(crate) asking: Asking,
    /// How many answers to each are wanted.
    pub(crate) answers: usize,
    /// Pictures that are still to be fetched.
    pub(crate) fetch: Vec<Fetch>,
    /// Keeps prompts apart that would otherwise share the cache.
    pub(crate) cache_salt: String,
    /// Fields that were not understood, and what else the client should know.
    pub(crate) warnings: Vec<String>,
    /// What happens where an answer may have more tokens than the context.
    pub(crate) too_many_tokens: TooManyTokens,
}

impl Job {
    pub(crate) fn new(model: Option<String>, ask: Ask) -> Self {
        Self {
            model,
            ask,
            more: Vec::new(),
            asking: Asking::default(),
            answers: 1,
            fetch: Vec::new(),
            cache_salt: String::new(),
            warnings: Vec::new(),
            too_many_tokens: TooManyTokens::Refused("max_tokens"),
        }
    }
}

/// Finds the model, fetches pictures, which count as part of the body, and puts in whose request it is.
pub(crate) async fn prepare(
    app: &Arc<App>,
    caller: Caller,
    (job, body): (&mut Job, &mut Share),
) -> Result<Begun, Failure> {
    let model = match &job.model {
        Some(name) => name.clone(),
        None => app.first_model().to_owned(),
    };
    // An unknown model or a forbidden address is told before anything is loaded or fetched.
    app.models.state(&model)?;
    let wanted = std::mem::take(&mut job.fetch);
    images::fetch(app, (&mut job.ask, body), wanted).await?;
    let since = std::time::Instant::now();
    let service = app.service(&model).await?;
    let load_time = since.elapsed();
    let context = service.context();
    if job.ask.max_tokens.is_some_and(|tokens| tokens > context) {
        match job.too_many_tokens {
            TooManyTokens::Cut => job.ask.max_tokens = None,
            TooManyTokens::Refused(field) => {
                let what = format!("must be an integer in 1..{context}, the context");
                return Err(Failure::field(field, what));
            }
        }
    }
    if job.ask.is_forced_to_call() && !service.shows_tools() {
        let warning = "the model does not see the tools, since its chat template shows none: calls have their form, \
            but descriptions are not read";
        job.warnings.push(warning.to_owned());
    }
    job.ask.sampling = Some(job.asking.over(service.default_sampling()));
    job.ask.client = caller.client;
    let mut salt = Sha256::new();
    salt.update(caller.tenant);
    salt.update((job.cache_salt.len() as u64).to_le_bytes());
    salt.update(job.cache_salt.as_bytes());
    job.ask.salt = salt.finalize().into();
    Ok(Begun {
        app: app.clone(),
        service,
        model,
        warnings: std::mem::take(&mut job.warnings),
        load_time,
    })
}

/// What a request would take.
pub(crate) struct Looked {
    /// Tokens of its prompt, pictures and videos included.
    pub(crate) prompt_tokens: usize,
    /// What the model would see of its pictures.
    pub(crate) images: Vec<ImageRecord>,
    /// What the model would see of its videos.
    pub(crate) videos: Vec<VideoRecord>,
    /// Tokens that the model's prompt and answer may have together.
    pub(crate) context: usize,
}

/// What a request would take, without answering it.
pub(crate) async fn look(
    app: &Arc<App>,
    caller: Caller,
    (mut job, mut body): (Job, Share),
) -> Result<Looked, Failure> {
    let begun = prepare(app, caller, (&mut job, &mut body)).await?;
    let _active = app.enter();
    let mut answering = begun.service.look(job.ask)?;
    while let Some(update) = poll_fn(|context| answering.poll_next(context)).await {
        match update {
            Update::Prepared {
                prompt_tokens,
                images,
                videos,
                ..
            } => {
                return Ok(Looked {
                    prompt_tokens,
                    images,
                    videos,
                    context: begun.service.context(),
                });
            }
            Update::Failed(error) => return Err(error.into()),
            _ => {}
        }
    }
    Err(Failure::internal("the request was not counted"))
}

/// Ways of other servers to choose tokens, and to change what is said of them.
const OTHER_SAMPLING: [&str; 12] = [
    "use_beam_search",
    "logits_processors",
    "bad_words",
    "allowed_token_ids",
    "mirostat",
    "dry_multiplier",
    "xtc_probability",
    "dynatemp_range",
    "include_stop_str_in_output",
    "truncate_prompt_tokens",
    "return_tokens_as_token_ids",
    "prompt_logprobs",
];

/// Sampling fields as OpenAI and its kin name them. Without any of them the model's own default is used.
pub(crate) fn sampling(
    app: &App,
    fields: &Fields<'_>,
    most_temperature: f64,
) -> Result<Asking, Failure> {
    fields.refuse(&OTHER_SAMPLING)?;
    let logit_bias = logit_bias(fields)?;
    let repeat_penalty = fields.number("repeat_penalty", 0.01..=10.0)?;
    let repetition_penalty = fields.number("repetition_penalty", 0.01..=10.0)?;
    Ok(Asking {
        temperature: fields.number("temperature", 0.0..=most_temperature)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        min_p: fields.number("min_p", 0.0..=1.0)?,
        top_k: top_k(fields)?,
        repeat_penalty: repeat_penalty.or(repetition_penalty),
        repeat_last: None,
        logit_bias,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
        seed: Some(fields.seed("seed")?.unwrap_or_else(|| app.random())),
    })
}

/// Reads `top_k`.
pub(crate) fn top_k(fields: &Fields<'_>) -> Result<Option<u32>, Failure> {
    let top_k = fields.get("top_k");
    match top_k.and_then(serde_json::Value::as_i64) {
        // -1 is "all" in the words of vLLM and of Ollama's clients.
        Some(-1) => Ok(Some(0)),
        _ => {
            let top_k = fields.integer("top_k", 0..=u64::from(u32::MAX))?;
            Ok(top_k.map(|k| k as u32))
        }
    }
}

/// Reads `logit_bias`: token ids as keys.
fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, Failure> {
    const MOST: usize = 1024;
    let wrong = || {
        let what = format!("must be an object of at most {MOST} token ids, each with -100..100");
        fields.wrong("logit_bias", what)
    };
    let Some(value) = fields.get("logit_bias") else {
        return Ok(Vec::new());
    };
    let biases = value
        .as_object()
        .filter(|biases| biases.len() <= MOST)
        .ok_or_else(wrong)?;
    let bias = |(token, bias): (&String, &serde_json::Value)| {
        let bias = bias
            .as_f64()
            .filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((token.parse().ok()?, bias as f32))
    };
    biases
        .iter()
        .map(|entry| bias(entry).ok_or_else(wrong))
        .collect()
}

/// What a request says about sampling.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) top_k: Option<u32>,
    pub(crate) repeat_penalty: Option<f32>,
    pub(crate) repeat_last: Option<usize>,
    pub(crate) logit_bias: Vec<(u32, f32)>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) seed: Option<u64>,
}

impl Asking {
    /// The model's default with what the request says.
    fn over(&self, mut sampling: Sampling) -> Sampling {
        fn put<T: Copy>(to: &mut T, from: Option<T>) {
            *to = from.unwrap_or(*to);
        }
        put(&mut sampling.temperature, self.temperature);
        put(&mut sampling.top_p, self.top_p);
        put(&mut sampling.min_p, self.min_p);
        put(&mut sampling.top_k, self.top_k);
        put(&mut sampling.repeat_penalty, self.repeat_penalty);
        put(&mut sampling.presence_penalty, self.presence_penalty);
        put(&mut sampling.frequency_penalty, self.frequency_penalty);
        put(&mut sampling.seed, self.seed);
        sampling.logit_bias.clone_from(&self.logit_bias);
        sampling.repeat_last = self.repeat_last.or(sampling.repeat_last);
        sampling
    }
}
