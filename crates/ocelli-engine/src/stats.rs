//! What an engine is doing, in numbers.

use crate::Engine;
use crate::features::lock;
use crate::vision::Encoder;

/// A look at an engine between two steps. Counts with `total` grow from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Requests that run.
    pub running: usize,
    /// Pages of the key/value cache that requests use in layers that look at every earlier token.
    pub pages_in_use: usize,
    /// All of those pages.
    pub pages: usize,
    /// Pages that requests use in layers that look back over a window.
    pub near_pages_in_use: usize,
    /// All of those pages; none where no layer has a window.
    pub near_pages: usize,
    /// Bytes of kept picture features.
    pub feature_bytes: usize,
    /// Pictures whose features were found.
    pub feature_hits_total: u64,
    /// Pictures that had to be encoded.
    pub feature_misses_total: u64,
    /// Pictures that were encoded a second time without rounding, since the first time gave what is
    /// not finite.
    pub encodings_repeated_total: u64,
    /// Requests that go on without rounding, since their logits were not finite.
    pub requests_repeated_total: u64,
    /// Tokens of admitted prompts.
    pub prompt_tokens_total: u64,
    /// Of those, tokens whose keys and values were found.
    pub cached_tokens_total: u64,
    /// Tokens of answers.
    pub generated_tokens_total: u64,
    /// Guesses at tokens of answers that were run.
    pub draft_tokens_total: u64,
    /// Of those, tokens that came.
    pub draft_tokens_accepted_total: u64,
    /// Forward passes.
    pub steps_total: u64,
    /// Requests that failed by our fault.
    pub panics_total: u64,
}

impl Engine {
    /// What the engine is doing now.
    pub fn stats(&self) -> Stats {
        Stats {
            waiting: self.scheduler.waiting(),
            running: self.scheduler.running(),
            pages_in_use: self.pools.wide.in_use(),
            pages: self.pools.wide.total(),
            near_pages_in_use: self.pools.near.in_use(),
            near_pages: self.pools.near.total(),
            feature_bytes: lock(&self.features).bytes(),
            encodings_repeated_total: self.encoders.iter().map(Encoder::repeats).sum(),
            ..self.counts
        }
    }
}
