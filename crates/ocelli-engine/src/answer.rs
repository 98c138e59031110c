//! An answer being written: tokens in, whole characters out, until it ends.

use std::ops::ControlFlow;

use ocelli_text::{ControlTokens, DecodeStream, StopStrings};

use crate::engine::Observer;
use crate::{Event, FinishReason, Model, Sampler};

/// An answer being written.
pub(crate) struct Answer<'a> {
    model: &'a Model,
    sampler: Sampler,
    stream: DecodeStream<'a>,
    stop: StopStrings,
    limit: usize,
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(model: &'a Model, sampler: Sampler, stop: StopStrings, limit: usize) -> Self {
        Self {
            model,
            sampler,
            stream: DecodeStream::new(&model.tokenizer, ControlTokens::Hidden),
            stop,
            limit,
            tokens: Vec::new(),
            text: String::new(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tokens.len() >= self.limit
    }

    /// Chooses a token and says its text; the reason if the answer ends with it.
    pub(crate) fn take(
        &mut self,
        logits: &mut [f32],
        observe: Observer<'_>,
    ) -> (u32, Option<FinishReason>) {
        let tokenizer = &self.model.tokenizer;
        let token = self.sampler.sample(logits, tokenizer.len());
        self.tokens.push(token);
        if tokenizer.is_end(token) {
            return (token, Some(self.finish(FinishReason::Stop, observe)));
        }
        let piece = self.stream.push(token);
        let (text, stopped) = self.stop.push(&piece);
        if self.say(&text, observe).is_break() {
            return (token, Some(FinishReason::Cancelled));
        }
        (token, stopped.map(|_| FinishReason::Stop))
    }

    /// Says what was held back.
    pub(crate) fn finish(&mut self, reason: FinishReason, observe: Observer<'_>) -> FinishReason {
        let rest = self.stream.finish();
        let (mut text, stopped) = self.stop.push(&rest);
        text.push_str(&self.stop.finish());
        match self.say(&text, observe) {
            ControlFlow::Break(()) => FinishReason::Cancelled,
            ControlFlow::Continue(()) if stopped.is_some() => FinishReason::Stop,
            ControlFlow::Continue(()) => reason,
        }
    }

    fn say(&mut self, text: &str, observe: Observer<'_>) -> ControlFlow<()> {
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(text);
        observe(Event::Text(text))
    }
}
