//! The engine's thread: takes requests in, steps, and hands out what came of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use ocelli_engine::{
    Channel, Engine, FinishReason, Generate, Outcome, Output, Owner, PromptLogprobs, SequenceId,
    TokenLogprob,
};
use ocelli_image::{ImageRecord, VideoRecord};
use serde_json::Value;

use super::Calls;
use super::calling::Tools;
use super::pool::Held;
use super::status::Status;
use super::updates::{Finished, Outlet, Update};
use crate::model::{by_medium, view};
use crate::prepare::Preparer;
use crate::{Error, Timings, Usage};

/// Steps that may panic one after the other before the thread gives up.
const MOST_PANICS: usize = 3;

/// What the thread is told.
pub(super) enum Command {
    /// A request, prepared.
    Submit(Box<Request>),
    /// Someone dropped an answer: look who.
    Look,
    /// End everything.
    End,
}

/// A prepared request.
pub(super) struct Request {
    pub(super) generate: Generate,
    /// What went so that the rest fits, in words.
    pub(super) dropped: Vec<String>,
    /// Tools that the answer may call.
    pub(super) tools: Vec<Value>,
    /// How many of them.
    pub(super) calls: Calls,
    /// One for each answer.
    pub(super) outlets: Vec<Outlet>,
    pub(super) images: Arc<Vec<ImageRecord>>,
    pub(super) videos: Arc<Vec<VideoRecord>>,
    /// Decoding and preprocessing of its pictures.
    pub(super) times: (Duration, Duration),
    /// When it was handed in.
    pub(super) since: Instant,
    /// Memory of its pictures, until they are encoded.
    pub(super) held: Held,
}

/// A request that the engine has.
struct Running {
    outlet: Outlet,
    /// What each picture of the engine belongs to.
    owners: Arc<[Owner]>,
    images: Arc<Vec<ImageRecord>>,
    videos: Arc<Vec<VideoRecord>>,
    times: (Duration, Duration),
    since: Instant,
    has_begun: bool,
    first_token: Option<Duration>,
    /// How likely the prompt's tokens were, if that was asked for.
    scored: Option<Arc<PromptLogprobs>>,
    /// Takes calls out of the answer, if it may have some.
    tools: Option<Tools>,
    /// Memory of the request's pictures, until they are encoded; one of its answers has it.
    held: Option<Held>,
}

/// See the module.
pub(super) struct Runner {
    engine: Engine,
    preparer: Arc<Preparer>,
    status: Arc<Status>,
    most_waiting: Duration,
    running: BTreeMap<SequenceId, Running>,
    panics: usize,
}

impl Runner {
    pub(super) fn new(
        engine: Engine,
        preparer: Arc<Preparer>,
        status: Arc<Status>,
        most_waiting: Duration,
    ) -> Self {
        Self {
            engine,
            preparer,
            status,
            most_waiting,
            running: BTreeMap::new(),
            panics: 0,
        }
    }

    /// Works until [`Command::End`], or until nobody can send commands any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            if self.engine.is_idle() {
                self.status.rest();
                match commands.recv() {
                    Ok(Command::End) | Err(_) => break,
                    Ok(command) => self.obey(command),
                }
            }
            let mut is_ending = false;
            while let Ok(command) = commands.try_recv() {
                is_ending |= matches!(command, Command::End);
                self.obey(command);
            }
            if is_ending || self.panics >= MOST_PANICS {
                break;
            }
            self.status.work();
            self.step();
            self.expire();
        }
        self.status.rest();
        self.status.die();
        for (_, running) in std::mem::take(&mut self.running) {
            running.outlet.fail(Error::Ending);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(request) => self.submit(*request),
            Command::Look => self.drop_unwanted(),
            Command::End => {}
        }
    }

    fn submit(&mut self, request: Request) {
        let Request {
            generate,
            tools,
            calls,
            dropped,
            outlets,
            images,
            videos,
            times,
            since,
            held,
        } = request;
        let mut held = Some(held);
        let unwanted = outlets.iter().filter(|outlet| outlet.is_dropped()).count();
        if unwanted == outlets.len() {
            self.status.cancelled.fetch_add(unwanted as u64, Relaxed);
            return;
        }
        let prompt_tokens = generate.prompt.tokens.len();
        let owners: Arc<[Owner]> = generate.prompt.owners.as_slice().into();
        let answers = outlets.len();
        let engine = &mut self.engine;
        let submit = || engine.submit_answers(generate, answers);
        let mut error = match catch_unwind(AssertUnwindSafe(submit)) {
            Ok(Ok(ids)) => {
                for (id, outlet) in ids.into_iter().zip(outlets) {
                    outlet.send(Update::Prepared {
                        prompt_tokens,
                        images: images.to_vec(),
                        videos: videos.to_vec(),
                        dropped: dropped.clone(),
                    });
                    let running = Running {
                        outlet,
                        owners: owners.clone(),
                        images: images.clone(),
                        videos: videos.clone(),
                        times,
                        since,
                        has_begun: false,
                        first_token: None,
                        scored: None,
                        tools: Tools::new(&tools, calls),
                        held: held.take(),
                    };
                    self.running.insert(id, running);
                }
                return self.drop_unwanted();
            }
            Ok(Err(error)) => Some(Error::from(error)),
            Err(_) => {
                self.status.panics.fetch_add(1, Relaxed);
                Some(Error::Internal("the request could not be begun".to_owned()))
            }
        };
        for outlet in outlets {
            self.status.failed.fetch_add(1, Relaxed);
            outlet.fail(error.take().unwrap_or(Error::Ending));
        }
    }

    fn step(&mut self) {
        match catch_unwind(AssertUnwindSafe(|| self.engine.step())) {
            Ok(outputs) => {
                self.panics = 0;
                let stats = self.engine.stats();
                self.status.note(&stats);
                for (id, output) in outputs {
                    self.tell(id, output);
                }
            }
            // The engine keeps a panic to the request that caused it; what comes here is a fault of
            // the engine itself.
            Err(_) => {
                self.panics += 1;
                self.status.panics.fetch_add(1, Relaxed);
                for id in self.running.keys().copied().collect::<Vec<_>>() {
                    self.fail(
                        id,
                        Error::Internal("a step of the engine failed".to_owned()),
                    );
                    let engine = &mut self.engine;
                    let _ = catch_unwind(AssertUnwindSafe(|| engine.cancel(id)));
                }
            }
        }
    }

    fn tell(&mut self, id: SequenceId, output: Output) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut running.has_begun, true) {
            self.status.running.fetch_add(1, Relaxed);
        }
        let update = match output {
            Output::Text {
                text,
                channel: Channel::Answer,
                logprobs,
                ..
            } if running.tools.is_some() => return self.tell_beside_tools(id, &text, logprobs),
            Output::Encoding { image, done, total } => {
                let (image, done, total) = by_medium(&running.owners, image, done, total);
                Update::Encoding { image, done, total }
            }
            Output::Prefill { done, total } => {
                if done == total {
                    running.first_token = Some(running.since.elapsed());
                    running.held = None;
                }
                Update::Prefill { done, total }
            }
            Output::Scored(scores) => {
                let scores = Arc::new(scores);
                running.scored = Some(scores.clone());
                Update::Scored(scores)
            }
            Output::Text {
                text,
                channel,
                logprobs,
                ..
            } => Update::Text {
                text,
                channel,
                logprobs,
            },
            Output::Done(outcome) => return self.finish(id, *outcome),
            Output::Failed(error) => return self.fail(id, error.into()),
        };
        running.outlet.send(update);
    }

    /// Tells new text of an answer that may call tools.
    fn tell_beside_tools(&mut self, id: SequenceId, text: &str, logprobs: Vec<TokenLogprob>) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let Some(tools) = &mut running.tools else {
            return;
        };
        let parts = tools.parser.push(text);
        for update in tools.take(parts, logprobs) {
            running.outlet.send(update);
        }
        if tools.is_over()
            && let Some(mut outcome) = self.engine.cancel(id)
        {
            outcome.finish_reason = FinishReason::Stop;
            self.finish(id, outcome);
        }
    }

    /// Takes a request out of the books.
    fn close(&mut self, id: SequenceId) -> Option<Running> {
        let running = self.running.remove(&id)?;
        if running.has_begun {
            self.status.running.fetch_sub(1, Relaxed);
        }
        Some(running)
    }

    fn fail(&mut self, id: SequenceId, error: Error) {
        if let Some(running) = self.close(id) {
            self.status.failed.fetch_add(1, Relaxed);
            running.outlet.fail(error);
        }
    }

    fn finish(&mut self, id: SequenceId, outcome: Outcome) {
        let Some(mut running) = self.close(id) else {
            return;
        };
        let (mut text, mut tool_calls) = (None, Vec::new());
        if let Some(mut tools) = running.tools.take() {
            let parts = tools.parser.finish();
            for update in tools.take(parts, Vec::new()) {
                running.outlet.send(update);
            }
            (text, tool_calls) = (Some(tools.text), tools.calls);
        }
        let status = &self.status;
        let add = |counter: &std::sync::atomic::AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Relaxed);
        };
        add(&status.answered, 1);
        add(&status.prompt_tokens, outcome.prompt_tokens);
        add(&status.cached_tokens, outcome.cached_tokens);
        add(&status.generated_tokens, outcome.tokens.len());
        add(
            &status.image_encode_us,
            outcome.timings.encode.as_micros() as usize,
        );
        let total = running.since.elapsed();
        let finished = Finished {
            boxes: self
                .preparer
                .boxes(&outcome, view(&running.images, &running.videos)),
            text: text.unwrap_or(outcome.text),
            tool_calls,
            finish_reason: outcome.finish_reason,
            usage: Usage {
                prompt_tokens: outcome.prompt_tokens,
                completion_tokens: outcome.tokens.len(),
                cached_tokens: outcome.cached_tokens,
                drafts: outcome.drafts,
            },
            tokens: outcome.tokens,
            reasoning: outcome.reasoning,
            reasoning_tokens: outcome.reasoning_tokens,
            logprobs: outcome.logprobs,
            prompt_logprobs: running.scored,
            stopped: outcome.stopped,
            images: running.images.to_vec(),
            videos: running.videos.to_vec(),
            timings: Timings {
                load: Duration::ZERO,
                image_decode: running.times.0,
                preprocess: running.times.1,
                encode: outcome.timings.encode,
                prefill: outcome.timings.prefill,
                decode: outcome.timings.decode,
            },
            first_token: running.first_token.unwrap_or(total),
            total,
        };
        running.outlet.finish(finished);
    }

    /// Ends the requests whose callers went away.
    fn drop_unwanted(&mut self) {
        let unwanted = self.running.iter().filter(|(_, r)| r.outlet.is_dropped());
        for id in unwanted.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.engine.cancel(id);
            if self.close(id).is_some() {
                self.status.cancelled.fetch_add(1, Relaxed);
            }
        }
    }

    /// Ends requests that waited too long for their turn.
    fn expire(&mut self) {
        let limit = self.most_waiting;
        let late = |r: &Running| !r.has_begun && r.since.elapsed() > limit;
        let late = self.running.iter().filter(|(_, r)| late(r));
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.engine.cancel(id);
            let seconds = self.running[&id].since.elapsed().as_secs();
            let limit = limit.as_secs();
            self.fail(id, Error::Waited { seconds, limit });
        }
    }
}
