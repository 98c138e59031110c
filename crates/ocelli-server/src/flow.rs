//! The answers to a request on their way from its model.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ocelli::Error;
use ocelli::service::{Answering, Ask, AskedFor, Finished, Service, Update};
use tokio::time::{Instant, Sleep, sleep};

use crate::app::{Active, App, Expected};
use crate::failure::Failure;
use crate::guard::Caller;
use crate::http::body::Share;
use crate::job::{Job, prepare};

/// How often those who wait look whether the engine goes on, and whether there is a place for the
/// next of a list.
const PULSE: Duration = Duration::from_millis(500);

/// Most answers at once to a request that asks for several things: the rest of its list waits for them.
const LIST_ANSWERS: usize = 8;

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

/// What a request asks for, one thing after the other.
struct List {
    /// How all of them are answered; none where there is but one.
    ask: Option<Box<Ask>>,
    /// Those that are not handed in yet.
    rest: VecDeque<AskedFor>,
    /// Answers to each.
    answers: usize,
    /// Answers that may be on their way together.
    at_once: usize,
    /// All answers of the request.
    total: usize,
    /// The request's body, as long as something of it waits.
    share: Option<Share>,
}

impl List {
    /// How messages name the thing that an answer belongs to; not where there is only one.
    fn place(&self, index: usize) -> Option<String> {
        (self.total > self.answers).then(|| format!("prompt[{}]", index / self.answers))
    }
}

/// See the module.
pub(crate) struct Flow {
    pub(crate) begun: Begun,
    /// Answers in the order of the list, as far as it is handed in.
    answering: Vec<Option<Answering>>,
    list: List,
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
    /// Hands a request to its model and waits until it begins to run, so that what is wrong with it
    /// can still be said with a status. The share of its body is kept until its pictures are
    /// decoded, or all of its list is handed in.
    pub(crate) async fn begin(
        app: &Arc<App>,
        caller: Caller,
        (mut job, mut body): (Job, Share),
    ) -> Result<Self, Failure> {
        let active = app.enter();
        let (expected, at_once) = expect(app, caller, (job.answers, job.more.len()))?;
        let begun = prepare(app, caller, (&mut job, &mut body)).await?;
        // Only what has no pictures can be a list, so that none are copied.
        let ask = (!job.more.is_empty()).then(|| Box::new(job.ask.clone()));
        let answering = begun.service.submit_many(job.ask, job.answers)?;
        let list = List {
            ask,
            total: job.answers * (1 + job.more.len()),
            rest: job.more.into(),
            answers: job.answers,
            at_once,
            share: Some(body),
        };
        let mut flow = Self {
            begun,
            answering: answering.into_iter().map(Some).collect(),
            list,
            early: VecDeque::new(),
            turn: 0,
            pulse: Box::pin(sleep(PULSE)),
            _active: active,
            _expected: expected,
        };
        flow.wait_for_beginning().await?;
        // What was set aside comes first.
        flow.turn = 0;
        Ok(flow)
    }

    async fn wait_for_beginning(&mut self) -> Result<(), Failure> {
        while let Some((index, update)) = poll_fn(|context| self.poll_answering(context)).await {
            match update {
                Update::Failed(error) => return Err(self.failure(index, &error)),
                update @ Update::Prepared { .. } => {
                    if self.list.rest.is_empty() {
                        self.list.share = None;
                    }
                    if let Update::Prepared { dropped, .. } = &update
                        && index == 0
                        && !dropped.is_empty()
                    {
                        let what = dropped.join(", ");
                        let warning = format!("dropped to fit the context: {what}");
                        self.begun.warnings.push(warning);
                    }
                    self.early.push_back((index, update));
                }
                update => {
                    self.early.push_back((index, update));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hands in what comes next in the list, as far as answers may be on their way together.
    fn go_on(&mut self) -> Result<(), Error> {
        while let (Some(next), Some(ask)) = (self.list.rest.front(), &self.list.ask) {
            let running = self.answering.iter().flatten().count();
            if running > 0 && running + self.list.answers > self.list.at_once {
                return Ok(());
            }
            let ask = Ask {
                asked: next.clone(),
                ..ask.as_ref().clone()
            };
            match self.begun.service.submit_many(ask, self.list.answers) {
                Ok(answering) => self.answering.extend(answering.into_iter().map(Some)),
                // What was answered so far is not thrown away for that.
                Err(Error::Busy { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            self.list.rest.pop_front();
        }
        self.list.share = None;
        Ok(())
    }

    /// The next update and which answer it belongs to; none when all are complete.
    fn poll_answering(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Update)>> {
        loop {
            if !self.list.rest.is_empty()
                && let Err(error) = self.go_on()
            {
                let index = self.answering.len();
                return Poll::Ready(Some((index, Update::Failed(error))));
            }
            let before = self.answering.iter().flatten().count();
            if let Some(update) = self.poll_running(context) {
                return Poll::Ready(Some(update));
            }
            let running = self.answering.iter().flatten().count();
            let is_waiting = !self.list.rest.is_empty();
            if running == 0 && !is_waiting {
                return Poll::Ready(None);
            }
            let has_place = running < before;
            let mut is_time = false;
            while self.pulse.as_mut().poll(context).is_ready() {
                is_time = true;
                self.pulse.as_mut().reset(Instant::now() + PULSE);
                let lost_time = self.begun.app.settings.limits.lost_time;
                if self.begun.service.health().stuck_for > lost_time {
                    self.answering.clear();
                    self.list.rest.clear();
                    let stuck = Error::Internal("the engine is stuck".to_owned());
                    return Poll::Ready(Some((0, Update::Failed(stuck))));
                }
            }
            if !is_waiting || !(has_place || is_time) {
                return Poll::Pending;
            }
        }
    }

    /// The next update of what is on its way, each answer in turn.
    fn poll_running(&mut self, context: &mut Context<'_>) -> Option<(usize, Update)> {
        let count = self.answering.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(answering) = &mut self.answering[index] else {
                continue;
            };
            match answering.poll_next(context) {
                Poll::Ready(Some(update)) => {
                    self.turn = index + 1;
                    if let Update::Done(finished) = &update {
                        let begun = &self.begun;
                        begun.app.metrics.count_finished(&begun.model, finished);
                    }
                    return Some((index, update));
                }
                Poll::Ready(None) => self.answering[index] = None,
                Poll::Pending => {}
            }
        }
        None
    }

    /// As [`Flow::poll_answering`], with what was looked at early.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Update)>> {
        match self.early.pop_front() {
            Some(update) => Poll::Ready(Some(update)),
            None => self.poll_answering(context),
        }
    }

    /// Waits for all answers, in order.
    pub(crate) async fn finish(mut self) -> Result<(Begun, Vec<Finished>), Failure> {
        let limit = self.begun.app.settings.limits.request_time;
        let mut finished: Vec<Option<Finished>> = vec![None; self.list.total];
        let collect = async {
            while let Some((index, update)) = poll_fn(|context| self.poll_next(context)).await {
                match update {
                    Update::Done(answer) => finished[index] = Some(*answer),
                    Update::Failed(error) => return Err(self.failure(index, &error)),
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

    /// Why there is no such answer, with the place in the list where the client can mend something.
    pub(crate) fn failure(&self, index: usize, error: &Error) -> Failure {
        let mut failure = Failure::from(error);
        if let Some(place) = self.list.place(index)
            && failure.status.is_client_error()
        {
            failure.message = format!("{place}: {}", failure.message);
            failure.param = Some(place);
        }
        failure
    }
}

/// Counts the answers that a client will wait for at once, the first of which counts with the
/// request: as many as it may, of a list, and at least those to one thing.
fn expect(
    app: &App,
    caller: Caller,
    (answers, more): (usize, usize),
) -> Result<(Option<Expected>, usize), Failure> {
    let most = (LIST_ANSWERS / answers.max(1)).clamp(1, 1 + more);
    for things in (1..=most).rev() {
        let at_once = things * answers;
        let beside = at_once.saturating_sub(1);
        if beside == 0 {
            return Ok((None, at_once));
        }
        match app.expect(caller, beside) {
            Ok(expected) => return Ok((Some(expected), at_once)),
            Err(failure) if things == 1 => return Err(failure),
            Err(_) => {}
        }
    }
    Ok((None, answers))
}

/// A request that took longer than allowed.
pub(crate) fn too_long(limit: Duration) -> Failure {
    let message = format!("the request took longer than {} s", limit.as_secs());
    Failure::busy("request_timeout", message, 1)
}
