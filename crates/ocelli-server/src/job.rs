//! A request in neutral words, and its way into a model.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ocelli::service::{Answering, Ask, Finished, Service, Update};
use ocelli::{Error, ImageRecord, Sampling, VideoRecord};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, Sleep, sleep};

use crate::app::{Active, App, Expected};
use crate::failure::Failure;
use crate::fields::Fields;
use crate::guard::Caller;
use crate::http::body::Share;
use crate::images::{self, Fetch};

/// How often those who wait look whether the engine goes on.
const PULSE: Duration = Duration::from_millis(500);

/// What an API understood of a request.
pub(crate) struct Job {
    /// The model's name; `None` for the first.
    pub(crate) model: Option<String>,
    pub(crate) ask: Ask,
    /// What it says about sampling.
    pub(crate) asking: Asking,
    /// How many answers are wanted.
    pub(crate) answers: usize,
    /// Pictures that are still to be fetched.
    pub(crate) fetch: Vec<Fetch>,
    /// Keeps prompts apart that would otherwise share the cache.
    pub(crate) cache_salt: String,
    /// Fields that were not understood, and what else the client should know.
    pub(crate) warnings: Vec<String>,
    /// The field that limits the answer, for messages.
    pub(crate) max_tokens_field: &'static str,
}

impl Job {
    pub(crate) fn new(model: Option<String>, ask: Ask) -> Self {
        Self {
            model,
            ask,
            asking: Asking::default(),
            answers: 1,
            fetch: Vec::new(),
            cache_salt: String::new(),
            warnings: Vec::new(),
            max_tokens_field: "max_tokens",
        }
    }
}

/// What is fixed in a request's answers from the start.
#[derive(Clone)]
pub(crate) struct Begun {
    pub(crate) app: Arc<App>,
    pub(crate) service: Arc<Service>,
    /// The model's name.
    pub(crate) model: String,
    pub(crate) warnings: Vec<String>,
    /// How long this request waited for its model to be loaded.
    pub(crate) load_time: Duration,
}

/// The answers to a request on their way.
pub(crate) struct Flow {
    pub(crate) begun: Begun,
    answering: Vec<Option<Answering>>,
    /// Updates that were looked at before the answer began.
    early: VecDeque<(usize, Update)>,
    /// Which answer is asked first, so that none waits for the others.
    turn: usize,
    /// When to look next whether the engine goes on.
    pulse: Pin<Box<Sleep>>,
    _active: Active,
    /// Answers beside the first, which counts with the request.
    _expected: Option<Expected>,
}

impl Flow {
    /// Hands a request to its model and waits until it begins to run, so that what is wrong with it can still be said
    /// with a status. The share of its body is kept until its pictures are decoded.
    pub(crate) async fn begin(
        app: &Arc<App>,
        caller: Caller,
        (mut job, mut body): (Job, Share),
    ) -> Result<Self, Failure> {
        let active = app.enter();
        let more = job.answers.saturating_sub(1);
        let expected = (more > 0).then(|| app.expect(caller, more)).transpose()?;
        let begun = prepare(app, caller, (&mut job, &mut body)).await?;
        let mut share = Some(body);
        let answering = begun.service.submit_many(job.ask, job.answers)?;
        let mut flow = Self {
            begun,
            answering: answering.into_iter().map(Some).collect(),
            early: VecDeque::new(),
            turn: 0,
            pulse: Box::pin(sleep(PULSE)),
            _active: active,
            _expected: expected,
        };
        loop {
            let Some((index, update)) = flow.next().await else {
                break;
            };
            match update {
                Update::Failed(error) => return Err(error.into()),
                update @ Update::Prepared { .. } => {
                    share = None;
                    if let Update::Prepared { dropped, .. } = &update
                        && index == 0
                        && !dropped.is_empty()
                    {
                        let what = dropped.join(", ");
                        let warning = format!("dropped to fit the context: {what}");
                        flow.begun.warnings.push(warning);
                    }
                    flow.early.push_back((index, update));
                }
                update => {
                    flow.early.push_back((index, update));
                    break;
                }
            }
        }
        drop(share);
        // What was set aside comes first.
        flow.turn = 0;
        Ok(flow)
    }

    /// The next update and which answer it belongs to; `None` when all are complete.
    pub(crate) async fn next(&mut self) -> Option<(usize, Update)> {
        poll_fn(|context| self.poll_answering(context)).await
    }

    fn poll_answering(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Update)>> {
        let count = self.answering.len();
        let mut is_over = true;
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(answering) = &mut self.answering[index] else {
                continue;
            };
            match answering.poll_next(context) {
                Poll::Ready(Some(update)) => {
                    self.turn = index + 1;
                    if let Update::Done(finished) = &update {
                        self.begun
                            .app
                            .metrics
                            .count_finished(&self.begun.model, finished);
                    }
                    return Poll::Ready(Some((index, update)));
                }
                Poll::Ready(None) => self.answering[index] = None,
                Poll::Pending => is_over = false,
            }
        }
        if is_over {
            return Poll::Ready(None);
        }
        while self.pulse.as_mut().poll(context).is_ready() {
            self.pulse.as_mut().reset(Instant::now() + PULSE);
            let lost_time = self.begun.app.settings.limits.lost_time;
            if self.begun.service.health().stuck_for > lost_time {
                self.answering.clear();
                let stuck = Error::Internal("the engine is stuck".to_owned());
                return Poll::Ready(Some((0, Update::Failed(stuck))));
            }
        }
        Poll::Pending
    }

    /// As [`Flow::next`], with what was looked at early.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Update)>> {
        match self.early.pop_front() {
            Some(update) => Poll::Ready(Some(update)),
            None => self.poll_answering(context),
        }
    }

    /// Waits for all answers, in order.
    pub(crate) async fn finish(mut self) -> Result<(Begun, Vec<Finished>), Failure> {
        let limit = self.begun.app.settings.limits.request_time;
        let mut finished: Vec<Option<Finished>> = self.answering.iter().map(|_| None).collect();
        let collect = async {
            while let Some((index, update)) = poll_fn(|context| self.poll_next(context)).await {
                match update {
                    Update::Done(answer) => finished[index] = Some(*answer),
                    Update::Failed(error) => return Err(Failure::from(error)),
                    _ => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(limit, collect)
            .await
            .map_err(|_| too_long(limit))??;
        let finished: Option<Vec<Finished>> = finished.into_iter().collect();
        let finished = finished.ok_or_else(|| Failure::internal("an answer is missing"))?;
        Ok((self.begun.clone(), finished))
    }
}

/// A request that took longer than allowed.
pub(crate) fn too_long(limit: Duration) -> Failure {
    let message = format!("the request took longer than {} s", limit.as_secs());
    Failure::busy("request_timeout", message, 1)
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
        let what = format!("must be an integer in 1..{context}, the context");
        return Err(Failure::field(job.max_tokens_field, what));
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
}

/// What a request would take, without answering it.
pub(crate) async fn look(begun: &Begun, ask: Ask) -> Result<Looked, Failure> {
    let _active = begun.app.enter();
    let mut answering = begun.service.look(ask)?;
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
                });
            }
            Update::Failed(error) => return Err(error.into()),
            _ => {}
        }
    }
    Err(Failure::internal("the request was not counted"))
}

/// Sampling fields as OpenAI and its kin name them. Without any of them the model's own default is used.
pub(crate) fn sampling(
    app: &App,
    fields: &Fields<'_>,
    most_temperature: f64,
) -> Result<Asking, Failure> {
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
