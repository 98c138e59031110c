//! What an engine is doing, in numbers.

use crate::Engine;

/// A look at an engine between two steps. Counts with `total` grow from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Requests that run.
    pub running: usize,
    /// Pages of the key/value cache that requests use.
    pub pages_in_use: usize,
    /// All pages.
    pub pages: usize,
    /// Bytes of kept picture features.
    pub feature_bytes: usize,
    /// Pictures whose features were found.
    pub feature_hits_total: u64,
    /// Pictures that had to be encoded.
    pub feature_misses_total: u64,
    /// Tokens of admitted prompts.
    pub prompt_tokens_total: u64,
    /// Of those, tokens whose keys and values were found.
    pub cached_tokens_total: u64,
    /// Tokens of answers.
    pub generated_tokens_total: u64,
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
            pages_in_use: self.pool.in_use(),
            pages: self.pool.total(),
            feature_bytes: self.features.bytes(),
            ..self.counts
        }
    }
}
