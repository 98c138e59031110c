//! Named rules that split text into pieces before the merges of a byte-level tokenizer. Merges
//! never cross a piece.

mod class;
mod names;
mod ranges;
mod rules;
mod steps;
#[cfg(test)]
mod tests;

use names::{Flags, NAMES};
use steps::Step;

use crate::{Error, Vocabulary};

/// How to split, and what comes with the name of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreTokenizer {
    name: &'static str,
    steps: &'static [Step],
    flags: Flags,
}

impl PreTokenizer {
    /// The rule with this name.
    ///
    /// # Errors
    /// The name is not known; a guess would split numbers and spaces in other ways than the model
    /// was trained with.
    pub fn named(name: &str) -> Result<Self, Error> {
        for (names, steps, flags) in NAMES {
            if let Some(&name) = names.iter().find(|known| **known == name) {
                return Ok(Self {
                    name,
                    steps,
                    flags: *flags,
                });
            }
        }
        let known: Vec<&str> = NAMES
            .iter()
            .flat_map(|(names, ..)| names.iter().copied())
            .collect();
        Err(Error::UnknownPreTokenizer {
            found: name.chars().take(64).collect(),
            known: known.join(", "),
        })
    }

    /// The rule of a vocabulary, and what was assumed if it names none or is known to name the wrong one.
    ///
    /// # Errors
    /// The vocabulary names a rule that is not known.
    pub fn of(vocabulary: &Vocabulary) -> Result<(Self, Option<String>), Error> {
        let named = vocabulary.pre.as_deref();
        let mistral = vocabulary.architecture.as_deref() == Some("mistral3");
        let guess = match (named, vocabulary.tokens.len()) {
            // One converter writes `default` for every rule that it does not know.
            (None | Some("default"), _) if mistral => "tekken",
            (Some(name), _) => return Ok((Self::named(name)?, None)),
            (None, 128_256) => "llama-bpe",
            (None, 151_000..=152_999) => "qwen2",
            (None, _) => "default",
        };
        let found = named.map_or("missing".to_owned(), |name| format!("`{name}`"));
        let tokens = vocabulary.tokens.len();
        let note = format!(
            "tokenizer.ggml.pre is {found}: took `{guess}` for a vocabulary of {tokens} tokens"
        );
        Ok((Self::named(guess)?, Some(note)))
    }

    /// The name that it was asked for by.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether text is brought into Unicode's composed form (NFC) before it is split.
    pub fn normalizes(&self) -> bool {
        self.flags.normalizes
    }

    /// The same rule without normalisation: how llama.cpp reads decomposed text.
    #[must_use]
    pub fn without_normalization(self) -> Self {
        Self {
            flags: Flags {
                normalizes: false,
                ..self.flags
            },
            ..self
        }
    }

    /// Whether a piece that is a token is taken whole, whatever the merges would make of it.
    pub(crate) fn whole_pieces_first(&self) -> bool {
        self.flags.whole_pieces_first
    }

    /// Whether prompts start with a begin token when the file does not say.
    pub(crate) fn adds_bos(&self) -> bool {
        self.flags.adds_bos
    }

    /// Calls `emit` with each piece of `text`, in order and without gaps. Time is linear in the text.
    pub fn split<'t>(&self, text: &'t str, emit: &mut impl FnMut(&'t str)) {
        match self.steps {
            [only] => only.split(text, emit),
            steps => steps::through(text, steps, emit),
        }
    }
}
