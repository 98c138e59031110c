//! How likely tokens were.

use ocelli_text::Tokenizer;

use crate::{Alternative, PromptLogprobs, TokenLogprob};

/// How likely the tokens of a prompt were, as far as it has run.
pub(crate) struct Scores {
    alternatives: usize,
    rest: Vec<TokenLogprob>,
}

impl Scores {
    pub(crate) fn new(alternatives: usize) -> Self {
        Self {
            alternatives,
            rest: Vec::new(),
        }
    }

    /// Takes in the logits `[tokens, vocabulary]` (finite) of the next tokens of the prompt: each
    /// says how likely the one behind it was, whose ids are `next`. The last token of a prompt has
    /// none behind it.
    pub(crate) fn take(
        &mut self,
        tokenizer: &Tokenizer,
        next: &[u32],
        (logits, vocabulary): (&[f32], usize),
    ) {
        let known = vocabulary.min(tokenizer.len());
        for (row, token) in logits.chunks_exact(vocabulary).zip(next) {
            let row = Logprobs::new(&row[..known], self.alternatives);
            self.rest.push(row.report(tokenizer, *token));
        }
    }

    /// Forgets everything: the prompt begins again.
    pub(crate) fn clear(&mut self) {
        self.rest.clear();
    }

    /// What the whole prompt gave.
    pub(crate) fn finish(self, tokenizer: &Tokenizer, first: u32) -> PromptLogprobs {
        PromptLogprobs {
            first: bytes(tokenizer, first),
            rest: self.rest,
        }
    }
}

fn bytes(tokenizer: &Tokenizer, token: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(token);
    bytes.map(|bytes| bytes.into_owned()).unwrap_or_default()
}

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
            bytes: bytes(tokenizer, token),
            logprob: self.of(token),
        };
        TokenLogprob {
            token,
            bytes: bytes(tokenizer, token),
            logprob: self.of(token),
            alternatives: order.into_iter().map(alternative).collect(),
        }
    }
}
