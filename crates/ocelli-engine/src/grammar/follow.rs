//! One answer's way through its grammar.

use llguidance::Matcher;
use llguidance::api::StopReason;

use super::numbers::Numbers;
use crate::Error;

/// Where an answer is in its grammar.
pub(crate) struct Follow {
    matcher: Matcher,
    /// In JSON, whose numbers must end.
    numbers: Option<Numbers>,
    /// Whether no control token is part of it.
    is_text: bool,
}

impl Follow {
    pub(super) fn new(matcher: Matcher, numbers: Option<Numbers>, is_text: bool) -> Self {
        Self {
            matcher,
            numbers,
            is_text,
        }
    }

    /// Takes every token away that must not come now (`-inf`), but not `also`. False when none is left.
    ///
    /// # Errors
    /// When finding out is too expensive.
    pub(crate) fn mask(&mut self, logits: &mut [f32], also: Option<u32>) -> Result<bool, Error> {
        let mask = match self.matcher.compute_mask() {
            Ok(mask) => mask,
            Err(_) if self.matcher.stop_reason().is_ok() => return Ok(false),
            Err(_) => return Err(self.error()),
        };
        for (token, logit) in (0..).zip(logits.iter_mut()) {
            let is_allowed = (token as usize) < mask.len() && mask.is_allowed(token);
            if !is_allowed && also != Some(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        if let Some(numbers) = &self.numbers {
            numbers.limit(logits);
        }
        Ok(logits.iter().any(|logit| *logit > f32::NEG_INFINITY))
    }

    /// Notes the token that was chosen. True when the answer is complete: nothing can follow.
    ///
    /// # Errors
    /// When the token should not have come, or following it is too expensive.
    pub(crate) fn push(&mut self, token: u32) -> Result<bool, Error> {
        if let Some(numbers) = &mut self.numbers {
            numbers.push(token);
        }
        match self.matcher.consume_token(token) {
            Ok(()) if !self.matcher.is_stopped() => Ok(false),
            Ok(()) if self.matcher.stop_reason().is_ok() => Ok(true),
            _ => Err(self.error()),
        }
    }

    /// What has to follow, whatever is chosen: bytes, not tokens. Nothing where control tokens may
    /// come: the matcher takes forced ones as if they had come, and then lets none follow.
    pub(crate) fn forced(&mut self) -> Vec<u8> {
        match self.is_text {
            true => self.matcher.compute_ff_bytes(),
            false => Vec::new(),
        }
    }

    /// True when the answer could end here.
    pub(crate) fn may_end(&mut self) -> bool {
        self.matcher.is_accepting().unwrap_or(false)
            || self.matcher.stop_reason() == StopReason::NoExtension
    }

    fn error(&self) -> Error {
        match self.matcher.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => {
                Error::GrammarTooExpensive
            }
            _ => Error::GrammarDeadEnd,
        }
    }
}
