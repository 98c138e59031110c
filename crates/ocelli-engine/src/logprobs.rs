//! How likely tokens were.

use ocelli_text::Tokenizer;

use crate::{Alternative, TokenLogprob};

/// The logits of one choice as the model gave them, for reporting the choice's probability.
pub(crate) struct Logprobs {
    /// Logarithm of the sum of all exponentials.
    total: f64,
    logits: Vec<f32>,
    alternatives: usize,
}

impl Logprobs {
    /// Keeps `logits` (finite, at least one).
    pub(crate) fn new(logits: &[f32], alternatives: usize) -> Self {
        let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|l| (f64::from(*l) - most).exp()).sum();
        Self {
            total: most + sum.ln(),
            logits: logits.to_vec(),
            alternatives,
        }
    }

    fn of(&self, token: u32) -> f32 {
        (f64::from(self.logits[token as usize]) - self.total) as f32
    }

    /// What to report of `token`.
    pub(crate) fn report(&self, tokenizer: &Tokenizer, token: u32) -> TokenLogprob {
        let bytes = |token| {
            tokenizer
                .token_bytes(token)
                .map(|bytes| bytes.into_owned())
                .unwrap_or_default()
        };
        let mut order: Vec<u32> = (0..self.logits.len() as u32).collect();
        let likelier = |a: &u32, b: &u32| {
            let of = |t: &u32| self.logits[*t as usize];
            of(b).total_cmp(&of(a)).then(a.cmp(b))
        };
        let count = self.alternatives.min(order.len());
        if count > 0 && count < order.len() {
            order.select_nth_unstable_by(count - 1, likelier);
        }
        order.truncate(count);
        order.sort_unstable_by(likelier);
        let alternative = |token| Alternative {
            token,
            bytes: bytes(token),
            logprob: self.of(token),
        };
        TokenLogprob {
            token,
            bytes: bytes(token),
            logprob: self.of(token),
            alternatives: order.into_iter().map(alternative).collect(),
        }
    }
}
