//! The way back from the engine to whoever asked: a queue that one side fills and the other waits
//! for or polls.
//!
//! Text that nobody has fetched yet is joined, and only the latest progress is kept, so that a slow
//! reader costs no more than the text of its answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ocelli_engine::{Channel, FinishReason, PromptLogprobs, StopCause, TokenLogprob};
use ocelli_image::boxes::Located;
use ocelli_image::{ImageRecord, VideoRecord};
use ocelli_text::ToolCall;

use super::status::Place;
use crate::{Error, Timings, Usage};

/// Something that happened to a request.
#[derive(Debug)]
pub enum Update {
    /// The prompt is ready: pictures are decoded, everything is counted.
    Prepared {
        /// Tokens of the prompt, pictures included.
        prompt_tokens: usize,
        /// What the model will see of each picture, in order.
        images: Vec<ImageRecord>,
        /// What the model will see of each video, in order.
        videos: Vec<VideoRecord>,
        /// What went so that the rest fits, as in `message 2`.
        dropped: Vec<String>,
    },
    /// Layers done of the encoding of a picture or video.
    Encoding {
        /// Index among pictures and videos, in the order of the prompt.
        image: usize,
        /// Layers done; those of all frames of a video together.
        done: usize,
        /// All layers.
        total: usize,
    },
    /// Prompt tokens done.
    Prefill {
        /// Tokens done, cached ones included.
        done: usize,
        /// All tokens.
        total: usize,
    },
    /// How likely the prompt's tokens were, where that was asked for: once, before any text.
    Scored(Arc<PromptLogprobs>),
    /// New text of the answer: always whole characters.
    Text {
        /// The text.
        text: String,
        /// What it is part of.
        channel: Channel,
        /// The tokens of the answer since the last text, if they were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// The model calls a tool; only where tools were given.
    ToolCall(ToolCall),
    /// The answer is complete. Nothing comes after it.
    Done(Box<Finished>),
    /// There will be no answer. Nothing comes after it.
    Failed(Error),
}

/// A complete answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The whole text, without calls of tools.
    pub text: String,
    /// Tools that the model calls, where tools were given.
    pub tool_calls: Vec<ToolCall>,
    /// What the model thought before it, where that is told apart.
    pub reasoning: String,
    /// Its tokens: an end token and reasoning included.
    pub tokens: Vec<u32>,
    /// How many of them are reasoning.
    pub reasoning_tokens: usize,
    /// Each token of the text, if asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// How likely the prompt's tokens were, if asked for.
    pub prompt_logprobs: Option<Arc<PromptLogprobs>>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What ended it, if something in the answer did.
    pub stopped: Option<StopCause>,
    /// Tokens of prompt and answer.
    pub usage: Usage,
    /// What the model saw of each picture, in order.
    pub images: Vec<ImageRecord>,
    /// What it saw of each video, in order.
    pub videos: Vec<VideoRecord>,
    /// Places that the answer names, in pixels of the last picture.
    pub boxes: Vec<Located>,
    /// Where the time went.
    pub timings: Timings,
    /// From asking to the first token, or to the end if there was none.
    pub first_token: Duration,
    /// From asking to the end.
    pub total: Duration,
}

#[derive(Debug, Default)]
struct State {
    updates: VecDeque<Update>,
    waker: Option<Waker>,
    is_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    came: Condvar,
    is_dropped: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock, and a queue is never half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when nobody waits for updates any more.
    pub(super) fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::Acquire)
    }

    fn send(&self, update: Update, is_last: bool) {
        let waker = {
            let mut state = self.state();
            if state.is_over {
                return;
            }
            state.is_over = is_last;
            join(&mut state.updates, update);
            state.waker.take()
        };
        self.came.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Appends an update, joined to the one before it where that says the same with less.
fn join(updates: &mut VecDeque<Update>, update: Update) {
    match (updates.back_mut(), update) {
        (
            Some(Update::Text {
                text: before,
                channel: last,
                logprobs: known,
            }),
            Update::Text {
                text,
                channel,
                logprobs,
            },
        ) if *last == channel => {
            before.push_str(&text);
            known.extend(logprobs);
        }
        (Some(last @ Update::Encoding { .. }), update @ Update::Encoding { .. })
        | (Some(last @ Update::Prefill { .. }), update @ Update::Prefill { .. }) => *last = update,
        (_, update) => updates.push_back(update),
    }
}

/// The side that fills the queue. Dropped without an end, it says that something of ours broke.
pub(super) struct Outlet {
    shared: Arc<Shared>,
    /// Counts the request as live.
    _place: Place,
}

impl Outlet {
    pub(super) fn new(place: Place) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared::default());
        let outlet = Self {
            shared: shared.clone(),
            _place: place,
        };
        (outlet, shared)
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.shared.is_dropped()
    }

    pub(super) fn send(&self, update: Update) {
        self.shared.send(update, false);
    }

    pub(super) fn finish(self, finished: Finished) {
        self.shared.send(Update::Done(Box::new(finished)), true);
    }

    pub(super) fn fail(self, error: Error) {
        self.shared.send(Update::Failed(error), true);
    }

    /// Ends a request that only wanted to know what it would be.
    pub(super) fn end(self) {
        let mut state = self.shared.state();
        state.is_over = true;
        let waker = state.waker.take();
        drop(state);
        self.shared.came.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let error = Error::Internal("the work for this request ended without a result".to_owned());
        self.shared.send(Update::Failed(error), true);
    }
}

/// No update came in the time that [`Answering::next_within`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing new came of the answer in the time for it")]
pub struct TimedOut;

/// A request on its way. Dropping it ends the request.
pub struct Answering {
    shared: Arc<Shared>,
    /// Tells the engine to look who was dropped.
    cancel: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}

impl Answering {
    pub(super) fn new(shared: Arc<Shared>, cancel: Box<dyn FnOnce() + Send + Sync>) -> Self {
        Self {
            shared,
            cancel: Some(cancel),
        }
    }

    /// Waits for the next update; `None` after the last one.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would hide that this waits"
    )]
    pub fn next(&mut self) -> Option<Update> {
        let mut state = self.shared.state();
        loop {
            if let Some(update) = state.updates.pop_front() {
                return Some(update);
            }
            if state.is_over {
                return None;
            }
            let waited = self.shared.came.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next update, but no longer than this; `None` after the last one. A request goes on
    /// after a wait that was too long: to end it, drop this.
    ///
    /// # Errors
    /// [`TimedOut`] when none came.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Update>, TimedOut> {
        let nothing_new = |state: &mut State| state.updates.is_empty() && !state.is_over;
        let came = &self.shared.came;
        let waited = came.wait_timeout_while(self.shared.state(), time, nothing_new);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match waited.timed_out() {
            true => Err(TimedOut),
            false => Ok(state.updates.pop_front()),
        }
    }

    /// The next update, for asynchronous programs; `None` after the last one. With
    /// `std::future::poll_fn(|context| answering.poll_next(context)).await` a task waits for it.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Update>> {
        let mut state = self.shared.state();
        if let Some(update) = state.updates.pop_front() {
            return Poll::Ready(Some(update));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn finish(mut self) -> Result<Finished, Error> {
        while let Some(update) = self.next() {
            match update {
                Update::Done(finished) => return Ok(*finished),
                Update::Failed(error) => return Err(error),
                _ => {}
            }
        }
        Err(Error::Internal("the request had no answer".to_owned()))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Release);
        let is_over = self.shared.state().is_over;
        if let Some(cancel) = self.cancel.take()
            && !is_over
        {
            cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_finds_its_text_joined_and_only_the_latest_progress() {
        let mut updates = VecDeque::new();
        for done in 1..=3 {
            join(&mut updates, Update::Prefill { done, total: 3 });
        }
        let text = |text: &str, channel| Update::Text {
            text: text.to_owned(),
            channel,
            logprobs: Vec::new(),
        };
        join(&mut updates, text("hm", Channel::Reasoning));
        for part in ["a", "b", "c"] {
            join(&mut updates, text(part, Channel::Answer));
        }
        assert_eq!(updates.len(), 3, "{updates:?}");
        assert!(matches!(updates[0], Update::Prefill { done: 3, .. }));
        assert!(matches!(&updates[2], Update::Text { text, .. } if text == "abc"));
    }

    #[test]
    fn a_wait_ends_with_its_time_and_loses_nothing() {
        let shared = Arc::new(Shared::default());
        let mut answering = Answering::new(shared.clone(), Box::new(|| {}));
        let short = Duration::from_millis(5);
        assert!(matches!(answering.next_within(short), Err(TimedOut)));
        shared.send(Update::Prefill { done: 1, total: 2 }, false);
        let update = answering.next_within(Duration::ZERO);
        assert!(matches!(update, Ok(Some(Update::Prefill { .. }))));
        let teller = std::thread::spawn(move || {
            std::thread::sleep(short);
            shared.send(Update::Failed(Error::Ending), true);
        });
        let long = Duration::from_secs(60);
        let last = answering.next_within(long);
        assert!(matches!(last, Ok(Some(Update::Failed(Error::Ending)))));
        assert!(matches!(answering.next_within(long), Ok(None)));
        teller.join().unwrap();
    }
}
