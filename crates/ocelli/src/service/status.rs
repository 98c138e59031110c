//! What a service is doing, readable from any thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ocelli_engine::Stats;

use crate::Error;

/// Numbers that only grow, and how many requests there are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that run: their first step was made.
    pub running: usize,
    /// Requests that are prepared or wait for their turn.
    pub waiting: usize,
    /// Requests that ended with an answer.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests whose caller did not want the answer any more.
    pub cancelled: u64,
    /// Prompt tokens of ended requests.
    pub prompt_tokens: u64,
    /// Those of them that were in the cache.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
    /// Guesses at tokens of answers that were run.
    pub draft_tokens: u64,
    /// Of those, tokens that came.
    pub draft_tokens_accepted: u64,
    /// Pictures of prepared requests.
    pub images: u64,
    /// Microseconds of decoding pictures.
    pub image_decode_us: u64,
    /// Microseconds of resizing pictures and cutting them into patches.
    pub image_preprocess_us: u64,
    /// Microseconds of encoding pictures.
    pub image_encode_us: u64,
    /// Pages of the cache of keys and values that requests use.
    pub pages_in_use: usize,
    /// All pages.
    pub pages: usize,
    /// Bytes of kept picture features.
    pub feature_bytes: usize,
    /// Pictures whose features were found.
    pub feature_hits: u64,
    /// Pictures that had to be encoded.
    pub feature_misses: u64,
    /// Pictures that were encoded a second time, without rounding.
    pub encodings_repeated: u64,
    /// Requests that went on without rounding.
    pub requests_repeated: u64,
    /// Steps of the engine.
    pub steps: u64,
    /// Panics that were caught.
    pub panics: u64,
}

/// How the engine's thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// False when the thread has ended.
    pub is_alive: bool,
    /// How long the present piece of work has taken; zero when there is none.
    pub stuck_for: Duration,
}

#[derive(Debug)]
pub(super) struct Status {
    born: Instant,
    /// Milliseconds from `born` to the beginning of the present step.
    beat_ms: AtomicU64,
    is_busy: AtomicBool,
    is_dead: AtomicBool,
    live: AtomicUsize,
    pub(super) running: AtomicUsize,
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) cached_tokens: AtomicU64,
    pub(super) generated_tokens: AtomicU64,
    pub(super) images: AtomicU64,
    pub(super) image_decode_us: AtomicU64,
    pub(super) image_preprocess_us: AtomicU64,
    pub(super) image_encode_us: AtomicU64,
    pub(super) panics: AtomicU64,
    stats: Mutex<Stats>,
}

impl Status {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            beat_ms: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            generated_tokens: AtomicU64::new(0),
            images: AtomicU64::new(0),
            image_decode_us: AtomicU64::new(0),
            image_preprocess_us: AtomicU64::new(0),
            image_encode_us: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            stats: Mutex::default(),
        }
    }

    /// The engine begins a piece of work.
    pub(super) fn work(&self) {
        let now = self.born.elapsed().as_millis() as u64;
        self.beat_ms.store(now, Relaxed);
        self.is_busy.store(true, Relaxed);
    }

    /// The engine waits for work.
    pub(super) fn rest(&self) {
        self.is_busy.store(false, Relaxed);
    }

    /// Does something for one request. A panic fails that request and is counted.
    pub(super) fn guarded<T>(
        &self,
        what: &str,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        // What it works on is read only, or its own.
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            self.panics.fetch_add(1, Relaxed);
            Err(Error::Internal(format!("{what} panicked")))
        })
    }

    pub(super) fn die(&self) {
        self.is_dead.store(true, Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        let stuck_for = match self.is_busy.load(Relaxed) {
            true => {
                let beat = Duration::from_millis(self.beat_ms.load(Relaxed));
                self.born.elapsed().saturating_sub(beat)
            }
            false => Duration::ZERO,
        };
        Health {
            is_alive: !self.is_dead.load(Relaxed),
            stuck_for,
        }
    }

    /// Requests that are prepared, wait or run.
    pub(super) fn live(&self) -> usize {
        self.live.load(Relaxed)
    }

    /// Takes places for `count` more requests, unless that were more than `limit` together.
    pub(super) fn take(self: &Arc<Self>, count: usize, limit: usize) -> Result<Vec<Place>, usize> {
        let fits = |live: usize| (live + count <= limit).then_some(live + count);
        self.live.fetch_update(Relaxed, Relaxed, fits)?;
        Ok((0..count).map(|_| Place(self.clone())).collect())
    }

    /// Notes what the engine counts.
    pub(super) fn note(&self, stats: &Stats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = *stats;
    }

    pub(super) fn counters(&self) -> Counters {
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.running.load(Relaxed);
        Counters {
            running,
            waiting: self.live().saturating_sub(running),
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            cached_tokens: self.cached_tokens.load(Relaxed),
            generated_tokens: self.generated_tokens.load(Relaxed),
            draft_tokens: stats.draft_tokens_total,
            draft_tokens_accepted: stats.draft_tokens_accepted_total,
            images: self.images.load(Relaxed),
            image_decode_us: self.image_decode_us.load(Relaxed),
            image_preprocess_us: self.image_preprocess_us.load(Relaxed),
            image_encode_us: self.image_encode_us.load(Relaxed),
            pages_in_use: stats.pages_in_use,
            pages: stats.pages,
            feature_bytes: stats.feature_bytes,
            feature_hits: stats.feature_hits_total,
            feature_misses: stats.feature_misses_total,
            encodings_repeated: stats.encodings_repeated_total,
            requests_repeated: stats.requests_repeated_total,
            steps: stats.steps_total,
            panics: self.panics.load(Relaxed) + stats.panics_total,
        }
    }
}

/// One live request; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Status>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Relaxed);
    }
}
