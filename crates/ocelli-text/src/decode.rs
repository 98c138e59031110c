//! Token ids back to text, as they come, without ever splitting a character.

use crate::encode::Tokenizer;
use crate::vocabulary::TokenKind;

/// What becomes of control tokens in decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlTokens {
    /// They are left out.
    #[default]
    Hidden,
    /// Their names are written.
    Shown,
}

/// Decodes one answer token by token.
///
/// Tokens may hold parts of characters; bytes wait here until their character is complete. Bytes
/// that can never become one are written as U+FFFD.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    control: ControlTokens,
    /// At most three bytes between calls: the start of a character.
    pending: Vec<u8>,
    drop_space: bool,
    /// Control tokens that are written although others are hidden.
    shown: Vec<u32>,
}

impl DecodeStream {
    /// Starts an answer of a model with this tokenizer.
    pub fn new(tokenizer: &Tokenizer, control: ControlTokens) -> Self {
        Self {
            control,
            pending: Vec::new(),
            drop_space: tokenizer.drops_first_space(),
            shown: Vec::new(),
        }
    }

    /// Writes these tokens even if they are control tokens.
    pub fn show(&mut self, tokens: Vec<u32>) {
        self.shown = tokens;
    }

    /// Takes the next token and gives the characters that are complete now; often none. An id outside of the
    /// vocabulary gives nothing. `tokenizer` is the one that the stream was made for.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let Some(kind) = tokenizer.kind(id) else {
            return String::new();
        };
        let hidden = matches!(
            kind,
            TokenKind::Control | TokenKind::Unknown | TokenKind::Unused
        ) && !self.shown.contains(&id);
        if hidden && self.control == ControlTokens::Hidden {
            return String::new();
        }
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        let bytes = match self.drop_space && !hidden {
            true => bytes.strip_prefix(b" ").unwrap_or(&bytes),
            false => &bytes,
        };
        self.drop_space &= hidden;
        self.pending.extend_from_slice(bytes);
        self.take_complete()
    }

    /// Ends the answer: what is left of an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        match std::mem::take(&mut self.pending).is_empty() {
            true => String::new(),
            false => char::REPLACEMENT_CHARACTER.to_string(),
        }
    }

    fn take_complete(&mut self) -> String {
        let mut text = String::new();
        let mut at = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            at += chunk.valid().len();
            let invalid = chunk.invalid();
            // The last chunk may be the start of a character whose other bytes are still to come.
            let waits = at + invalid.len() == self.pending.len()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if invalid.is_empty() || waits {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            at += invalid.len();
        }
        self.pending.drain(..at);
        text
    }
}

impl Tokenizer {
    /// The text of a whole list of tokens.
    pub fn decode(&self, ids: &[u32], control: ControlTokens) -> String {
        let mut stream = DecodeStream::new(self, control);
        let mut text: String = ids.iter().map(|&id| stream.push(self, id)).collect();
        text.push_str(&stream.finish());
        text
    }
}
