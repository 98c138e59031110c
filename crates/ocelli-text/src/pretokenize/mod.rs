//! Named rules that split text into pieces before the merges of a byte-level tokenizer. Merges
//! never cross a piece.

mod class;
mod rules;
#[cfg(test)]
mod tests;

use class::{MARK, NUMBER, PUNCTUATION, run, run_not};
use rules::{Suffix, Words};

use crate::{Error, Vocabulary};

/// How to split, and what comes with the name of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreTokenizer {
    name: &'static str,
    rule: Rule,
    flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Words(Words),
    Cased {
        digits: usize,
        suffix: Suffix,
    },
    Gpt2,
    /// `\p{N}`, then GPT-2's.
    DigitsThenGpt2,
    /// `[\p{P}\$\+<=>\^~\|]+`, then GPT-2's, then `\p{N}+`, then `[0-9][0-9][0-9]`.
    Default,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flags {
    normalizes: bool,
    whole_pieces_first: bool,
    adds_bos: bool,
}

const PLAIN: Flags = Flags {
    normalizes: false,
    whole_pieces_first: false,
    adds_bos: false,
};
const NORMALIZED: Flags = Flags {
    normalizes: true,
    ..PLAIN
};
const WHOLE: Flags = Flags {
    whole_pieces_first: true,
    ..PLAIN
};
const WHOLE_WITH_BOS: Flags = Flags {
    adds_bos: true,
    ..WHOLE
};

const LLAMA3: Rule = Rule::Words(Words {
    digits: 3,
    marks: 0,
});
const QWEN2: Rule = Rule::Words(Words {
    digits: 1,
    marks: 0,
});
const QWEN35: Rule = Rule::Words(Words {
    digits: 1,
    marks: MARK,
});
const TEKKEN: Rule = Rule::Cased {
    digits: 1,
    suffix: Suffix::None,
};
const GPT_4O: Rule = Rule::Cased {
    digits: 3,
    suffix: Suffix::Contraction,
};

/// All names with their rule, first names first.
const NAMES: &[(&[&str], Rule, Flags)] = &[
    (&["qwen2"], QWEN2, NORMALIZED),
    (&["qwen35"], QWEN35, NORMALIZED),
    (&["deepseek-r1-qwen", "kormo", "f2llmv2"], QWEN2, PLAIN),
    (
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        LLAMA3,
        WHOLE_WITH_BOS,
    ),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], LLAMA3, PLAIN),
    (&["glm4"], LLAMA3, WHOLE),
    (&["tekken"], TEKKEN, WHOLE_WITH_BOS),
    (&["gpt-4o", "llama4"], GPT_4O, PLAIN),
    (
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "mellum",
            "modern-bert",
        ],
        Rule::Gpt2,
        PLAIN,
    ),
    (
        &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        Rule::DigitsThenGpt2,
        PLAIN,
    ),
    (&["default"], Rule::Default, PLAIN),
];

impl PreTokenizer {
    /// The rule with this name.
    ///
    /// # Errors
    /// The name is not known; a guess would split numbers and spaces in other ways than the model
    /// was trained with.
    pub fn named(name: &str) -> Result<Self, Error> {
        for (names, rule, flags) in NAMES {
            if let Some(&name) = names.iter().find(|known| **known == name) {
                return Ok(Self {
                    name,
                    rule: *rule,
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
        match self.rule {
            Rule::Words(rule) => each(text, |at| rules::words(text, at, rule), emit),
            Rule::Cased { digits, suffix } => each(
                text,
                |at| rules::cased_words(text, at, digits, suffix),
                emit,
            ),
            Rule::Gpt2 => split_gpt2(text, emit),
            Rule::DigitsThenGpt2 => digits_then_gpt2(text, emit),
            Rule::Default => default(text, emit),
        }
    }
}

fn each<'t>(text: &'t str, end_of: impl Fn(usize) -> usize, emit: &mut impl FnMut(&'t str)) {
    let mut at = 0;
    while at < text.len() {
        let end = end_of(at);
        emit(&text[at..end]);
        at = end;
    }
}

fn split_gpt2<'t>(text: &'t str, emit: &mut impl FnMut(&'t str)) {
    each(text, |at| rules::gpt2(text, at), emit);
}

fn digits_then_gpt2<'t>(text: &'t str, emit: &mut impl FnMut(&'t str)) {
    let digit_or_gap = |at| match class::next(text, at) {
        Some((NUMBER, after)) => after,
        _ => run_not(text, at, NUMBER),
    };
    each(
        text,
        digit_or_gap,
        &mut |part| match class::is(part, 0, NUMBER) {
            true => emit(part),
            false => split_gpt2(part, emit),
        },
    );
}

/// Each rule splits what the one before it left, matches and gaps alike.
fn default<'t>(text: &'t str, emit: &mut impl FnMut(&'t str)) {
    let mut threes = |part: &'t str| each(part, |at| three_digits(part, at), emit);
    let mut numbers = |part: &'t str| {
        let number_or_gap = |at| match class::is(part, at, NUMBER) {
            true => run(part, at, NUMBER),
            false => run_not(part, at, NUMBER),
        };
        each(part, number_or_gap, &mut threes);
    };
    let mut words = |part: &'t str| split_gpt2(part, &mut numbers);
    each(text, |at| punctuation_or_gap(text, at), &mut words);
}

/// End of a run of `[\p{P}\$\+<=>\^~\|]`, or of the gap before the next one.
fn punctuation_or_gap(text: &str, start: usize) -> usize {
    let joins = |at: usize| {
        let (class, after) = class::next(text, at)?;
        let listed = matches!(
            text.as_bytes()[at],
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'~' | b'|'
        );
        Some((class == PUNCTUATION || listed, after))
    };
    let Some((wanted, mut at)) = joins(start) else {
        return text.len();
    };
    while let Some((matches, after)) = joins(at) {
        if matches != wanted {
            break;
        }
        at = after;
    }
    at
}

/// End of three ASCII digits, or of the gap before the next three.
fn three_digits(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let three = |at: usize| {
        bytes
            .get(at..at + 3)
            .is_some_and(|three| three.iter().all(u8::is_ascii_digit))
    };
    if three(start) {
        return start + 3;
    }
    (start..bytes.len())
        .find(|&at| three(at))
        .unwrap_or(text.len())
}
