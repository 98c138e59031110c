//! An answer being written: tokens in, whole characters out, until it ends.

use ocelli_text::{ControlTokens, DecodeStream, StopStrings, Tokenizer};

use crate::{FinishReason, Sampler};

/// See the module.
pub(crate) struct Answer {
    sampler: Sampler,
    stream: DecodeStream,
    stop: StopStrings,
    limit: usize,
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
}

/// What a token brought.
pub(crate) struct Taken {
    pub(crate) token: u32,
    /// New text, of whole characters.
    pub(crate) text: String,
    /// Why the answer ends here, if it does.
    pub(crate) end: Option<FinishReason>,
}

impl Answer {
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        sampler: Sampler,
        stop: StopStrings,
        limit: usize,
    ) -> Self {
        Self {
            sampler,
            stream: DecodeStream::new(tokenizer, ControlTokens::Hidden),
            stop,
            limit,
            tokens: Vec::new(),
            text: String::new(),
        }
    }

    /// True when no token is wanted.
    pub(crate) fn is_full(&self) -> bool {
        self.tokens.len() >= self.limit
    }

    /// Chooses a token by its logits.
    pub(crate) fn take(&mut self, tokenizer: &Tokenizer, logits: &mut [f32]) -> Taken {
        let token = self.sampler.sample(logits, tokenizer.len());
        self.tokens.push(token);
        let is_end = tokenizer.is_end(token);
        let new = match is_end {
            true => self.stream.finish(),
            false => self.stream.push(tokenizer, token),
        };
        let (mut text, stopped) = self.stop.push(&new);
        let mut end = (is_end || stopped.is_some()).then_some(FinishReason::Stop);
        if end.is_none() && self.is_full() {
            let (rest, stopped) = self.stop.push(&self.stream.finish());
            text.push_str(&rest);
            end = Some(match stopped {
                Some(_) => FinishReason::Stop,
                None => FinishReason::Length,
            });
        }
        if end.is_some() {
            // After a stop string nothing is held back.
            text.push_str(&self.stop.finish());
        }
        self.text.push_str(&text);
        Taken { token, text, end }
    }
}
