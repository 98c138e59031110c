//! Ends numbers of JSON in time: a schema sets no limit to their digits, and a model that goes on with
//! them would use up its tokens. What a program reads as a number of 64 bits stays possible.

use std::sync::Arc;

use llguidance::toktrie::TokEnv;

/// Most digits before the point, and behind it: the longest number of 64 bits has 20.
const DIGITS: usize = 20;
/// Most digits of an exponent: together with the others it stays far from infinity.
const EXPONENT_DIGITS: usize = 2;

/// The tokens of a vocabulary that begin with digits.
pub(super) struct DigitTokens {
    vocabulary: TokEnv,
    /// Tokens with how many digits they begin with.
    leading: Vec<(u32, usize)>,
}

impl DigitTokens {
    pub(super) fn new(vocabulary: &TokEnv) -> Self {
        let trie = vocabulary.tok_trie();
        let count = |token: u32| {
            let bytes = trie.token(token).iter();
            bytes.take_while(|byte| byte.is_ascii_digit()).count()
        };
        let tokens = (0..trie.vocab_size() as u32).map(|token| (token, count(token)));
        Self {
            leading: tokens.filter(|(_, digits)| *digits > 0).collect(),
            vocabulary: Arc::clone(vocabulary),
        }
    }
}

/// Where an answer is in a number, if it is in one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Text,
    /// Behind a backslash of a text.
    Escape,
    /// Digits so far.
    Whole(usize),
    Fraction(usize),
    Exponent(usize),
}

/// Follows one answer in JSON.
pub(super) struct Numbers {
    tokens: Arc<DigitTokens>,
    place: Place,
}

impl Numbers {
    pub(super) fn new(tokens: Arc<DigitTokens>) -> Self {
        Self {
            tokens,
            place: Place::Outside,
        }
    }

    /// Notes the token that was chosen.
    pub(super) fn push(&mut self, token: u32) {
        for &byte in self.tokens.vocabulary.tok_trie().token(token) {
            self.place = self.place.after(byte);
        }
    }

    /// Takes away the tokens that make a number too long, unless nothing else may come: a schema can
    /// ask for more digits.
    pub(super) fn limit(&self, logits: &mut [f32]) {
        let left = match self.place {
            Place::Whole(digits) | Place::Fraction(digits) => DIGITS.saturating_sub(digits),
            Place::Exponent(digits) => EXPONENT_DIGITS.saturating_sub(digits),
            Place::Outside | Place::Text | Place::Escape => return,
        };
        let too_long = |&&(_, digits): &&(u32, usize)| digits > left;
        let taken: Vec<(usize, f32)> = (self.tokens.leading.iter().filter(too_long))
            .filter_map(|&(token, _)| Some((token as usize, *logits.get(token as usize)?)))
            .filter(|(_, logit)| *logit > f32::NEG_INFINITY)
            .collect();
        for &(token, _) in &taken {
            logits[token] = f32::NEG_INFINITY;
        }
        if !taken.is_empty() && logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            for (token, logit) in taken {
                logits[token] = logit;
            }
        }
    }
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Text, b'"') => Self::Outside,
            (Self::Text, b'\\') => Self::Escape,
            (Self::Text | Self::Escape, _) => Self::Text,
            (_, b'"') => Self::Text,
            (Self::Outside, b'0'..=b'9') => Self::Whole(1),
            (Self::Whole(digits), b'0'..=b'9') => Self::Whole(digits + 1),
            (Self::Fraction(digits), b'0'..=b'9') => Self::Fraction(digits + 1),
            (Self::Exponent(digits), b'0'..=b'9') => Self::Exponent(digits + 1),
            (Self::Whole(_), b'.') => Self::Fraction(0),
            (Self::Whole(_) | Self::Fraction(_), b'e' | b'E') => Self::Exponent(0),
            (Self::Exponent(0), b'+' | b'-') => Self::Exponent(0),
            _ => Self::Outside,
        }
    }
}
