//! The tokenizer: cuts, normalises, splits and merges text, and knows every token.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::Error;
use crate::bpe::{self, BytePair};
use crate::cache::PieceCache;
use crate::cut::{Cut, Cutter};
use crate::pieces::{Origin, Piece};
use crate::pretokenize::PreTokenizer;
use crate::spm::{SPACE_MARK, SentencePiece};
use crate::vocabulary::{Model, TokenKind, Vocabulary};

/// Token texts that end an answer in chat models; files often name only one of a model's end tokens.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|fim_pad|>",
];

/// Turns text into token ids and back.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    lookup: Lookup,
    algorithm: Algorithm,
    cutter: Cutter,
    end_ids: Vec<u32>,
    assumptions: Vec<String>,
}

enum Algorithm {
    BytePair {
        rule: PreTokenizer,
        merges: Box<BytePair>,
    },
    SentencePiece {
        merges: Box<SentencePiece>,
        space_prefix: bool,
    },
}

/// What is kept while one text is encoded.
#[derive(Default)]
struct Work {
    cache: PieceCache,
    merging: bpe::Work,
}

impl Tokenizer {
    /// Checks a vocabulary and builds its tables.
    ///
    /// # Errors
    /// The vocabulary contradicts itself, or names a rule that is not known.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, Error> {
        vocabulary.check()?;
        let lookup = Lookup::new(&vocabulary);
        let mut assumptions = Vec::new();
        let algorithm = match vocabulary.model {
            Model::BytePair => {
                let (rule, note) = PreTokenizer::of(&vocabulary)?;
                assumptions.extend(note);
                Algorithm::BytePair {
                    rule,
                    merges: Box::new(BytePair::new(&vocabulary, &lookup)?),
                }
            }
            Model::SentencePiece => Algorithm::SentencePiece {
                merges: Box::new(SentencePiece::new(&vocabulary, &lookup)),
                space_prefix: vocabulary.add_space_prefix.unwrap_or(true),
            },
        };
        let cutter = Cutter::new(&vocabulary)?;
        let end_ids = end_ids(&vocabulary, &lookup);
        Ok(Self {
            vocabulary,
            lookup,
            algorithm,
            cutter,
            end_ids,
            assumptions,
        })
    }

    /// Switches Unicode normalisation off: decomposed text is then read as llama.cpp reads it, not
    /// as the reference.
    #[must_use]
    pub fn without_normalization(mut self) -> Self {
        if let Algorithm::BytePair { rule, .. } = &mut self.algorithm {
            *rule = rule.without_normalization();
        }
        self
    }

    /// The tokens of a prompt's pieces, without a begin token.
    ///
    /// Control tokens are cut where all their bytes are the template's, user-defined tokens
    /// everywhere. What lies between two cuts is tokenized as one text, whatever pieces it comes
    /// from.
    pub fn encode(&self, pieces: &[Piece]) -> Vec<u32> {
        let mut text = String::with_capacity(pieces.iter().map(|piece| piece.text.len()).sum());
        let mut trusted: Vec<Range<usize>> = Vec::new();
        for piece in pieces {
            let start = text.len();
            text.push_str(&piece.text);
            if piece.origin != Origin::Template || piece.text.is_empty() {
                continue;
            }
            match trusted.last_mut() {
                Some(last) if last.end == start => last.end = text.len(),
                _ => trusted.push(start..text.len()),
            }
        }
        self.encode_text(&text, &trusted)
    }

    /// [`Tokenizer::encode`] for a whole prompt: with the begin token in front where the model
    /// wants one and the template has not written it.
    pub fn encode_prompt(&self, pieces: &[Piece]) -> Vec<u32> {
        let mut ids = self.encode(pieces);
        if let Some(bos) = self.bos_to_add().filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ids
    }

    fn encode_text(&self, text: &str, trusted: &[Range<usize>]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut work = Work::default();
        let mut at = 0;
        for Cut { range, id } in self.cutter.cuts(text, trusted) {
            self.encode_run(&text[at..range.start], &mut work, &mut ids);
            ids.push(id);
            at = range.end;
        }
        self.encode_run(&text[at..], &mut work, &mut ids);
        ids
    }

    /// Appends the tokens of a text that holds no cut.
    fn encode_run(&self, text: &str, work: &mut Work, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        match &self.algorithm {
            Algorithm::BytePair { rule, merges } => {
                let text = if rule.normalizes() {
                    composed(text)
                } else {
                    text.into()
                };
                let Work { cache, merging } = work;
                rule.split(&text, &mut |piece| {
                    cache.encode(piece, ids, |ids| {
                        let whole = || self.lookup.find_text(&self.vocabulary, &mapped(piece));
                        match rule.whole_pieces_first().then(whole).flatten() {
                            Some(id) => ids.push(id),
                            None => merges.encode(piece.as_bytes(), merging, ids),
                        }
                    });
                });
            }
            Algorithm::SentencePiece {
                merges,
                space_prefix,
            } => {
                let mut marked = String::with_capacity(text.len() + text.len() / 4);
                if *space_prefix {
                    marked.push(SPACE_MARK);
                }
                marked.extend(text.chars().map(|c| if c == ' ' { SPACE_MARK } else { c }));
                for word in merges.words(&marked) {
                    work.cache.encode(word, ids, |ids| {
                        merges.encode(&self.vocabulary, &self.lookup, word, ids);
                    });
                }
            }
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// Never: a vocabulary has at least one token.
    pub fn is_empty(&self) -> bool {
        self.vocabulary.tokens.is_empty()
    }

    /// Id of the token with exactly this text in the file.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.lookup.find(&self.vocabulary, text)
    }

    /// Text of a token as it stands in the file: byte-level tokens with stand-ins for bytes, see
    /// [`Tokenizer::token_bytes`].
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocabulary.tokens.get(id as usize)
    }

    /// Kind of a token.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        ((id as usize) < self.len()).then(|| self.vocabulary.kind(id))
    }

    /// The bytes that a token stands for in text; not always whole characters. Control tokens give
    /// their name.
    pub fn token_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let text = self.token_text(id)?;
        let literal = Cow::Borrowed(text.as_bytes());
        Some(match (self.vocabulary.kind(id), self.vocabulary.model) {
            (TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown, _) => literal,
            (TokenKind::Byte, _) => byte_token(text).map_or(literal, |byte| Cow::Owned(vec![byte])),
            (_, Model::BytePair) => Cow::Owned(bpe::bytes_of(text)),
            (_, Model::SentencePiece) if text.contains(SPACE_MARK) => {
                Cow::Owned(text.replace(SPACE_MARK, " ").into_bytes())
            }
            (_, Model::SentencePiece) => literal,
        })
    }

    /// Tokens that end an answer, in increasing order.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// Whether a token ends an answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.end_ids.binary_search(&id).is_ok()
    }

    /// The begin token, if prompts start with one.
    pub fn bos_to_add(&self) -> Option<u32> {
        let by_default = match &self.algorithm {
            Algorithm::BytePair { rule, .. } => rule.adds_bos(),
            Algorithm::SentencePiece { .. } => true,
        };
        self.vocabulary
            .bos
            .filter(|_| self.vocabulary.add_bos.unwrap_or(by_default))
    }

    /// Whether decoding drops the space in front of the first word, which encoding added.
    pub(crate) fn drops_first_space(&self) -> bool {
        matches!(
            self.algorithm,
            Algorithm::SentencePiece {
                space_prefix: true,
                ..
            }
        )
    }

    /// Name of the rule that splits text into words, if this model has one.
    pub fn pre_tokenizer(&self) -> Option<&'static str> {
        match &self.algorithm {
            Algorithm::BytePair { rule, .. } => Some(rule.name()),
            Algorithm::SentencePiece { .. } => None,
        }
    }

    /// The data this tokenizer was made from.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What was assumed because the file does not say it, for `inspect`.
    pub fn assumptions(&self) -> &[String] {
        &self.assumptions
    }

    /// Bytes that no token stands for; empty in every sound vocabulary.
    pub fn missing_bytes(&self) -> Vec<u8> {
        match &self.algorithm {
            Algorithm::BytePair { merges, .. } => merges.missing_bytes().collect(),
            Algorithm::SentencePiece { .. } => Vec::new(),
        }
    }
}

/// The tokens that end an answer: those the file names, and those whose text says so. Ordinary text
/// tokens never do: Qwen's vocabulary has a normal token `</s>` that must not stop an answer about
/// HTML.
fn end_ids(vocabulary: &Vocabulary, lookup: &Lookup) -> Vec<u32> {
    let by_text = |text: &&str| {
        lookup
            .find(vocabulary, text)
            .filter(|&id| vocabulary.kind(id) == TokenKind::Control)
    };
    let mut texts: Vec<u32> = END_TEXTS.iter().filter_map(by_text).collect();
    // Where answers end with `<|return|>` or `<|call|>`, `<|end|>` only ends a part of one.
    if lookup.find(vocabulary, "<|return|>").is_some()
        && lookup.find(vocabulary, "<|call|>").is_some()
    {
        let part = lookup.find(vocabulary, "<|end|>");
        texts.retain(|&id| Some(id) != part);
    }
    let named = [vocabulary.eos, vocabulary.eot, vocabulary.eom];
    let further = vocabulary
        .further_eos
        .iter()
        .copied()
        .filter(|&id| (id as usize) < vocabulary.tokens.len());
    let mut ids: Vec<u32> = named
        .into_iter()
        .flatten()
        .chain(further)
        .chain(texts)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// `text` in Unicode's composed form.
fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return text.into();
    }
    text.nfc().collect::<String>().into()
}

/// `piece` with the stand-ins of its bytes.
fn mapped(piece: &str) -> String {
    piece.bytes().map(bpe::char_of_byte).collect()
}

/// The byte of a token `<0x0A>`.
fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Finds tokens by text.
pub(crate) struct Lookup {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Lookup {
    /// Of equal texts the last one is found, as in the reference.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Self {
        // Seeded hashing: the file could otherwise be made so that all texts collide.
        let hasher = DefaultHashBuilder::default();
        let mut table = HashTable::with_capacity(vocabulary.tokens.len());
        let text_of = |id: u32| vocabulary.tokens.get(id as usize).unwrap_or_default();
        for (id, text) in (0u32..).zip(vocabulary.tokens.iter()) {
            let same = |&other: &u32| text_of(other) == text;
            match table.entry(hasher.hash_one(text), same, |&other| {
                hasher.hash_one(text_of(other))
            }) {
                Entry::Occupied(mut other) => *other.get_mut() = id,
                Entry::Vacant(free) => {
                    free.insert(id);
                }
            }
        }
        Self { table, hasher }
    }

    /// The token with this text.
    pub(crate) fn find(&self, vocabulary: &Vocabulary, text: &str) -> Option<u32> {
        let same = |id: &u32| vocabulary.tokens.get(*id as usize) == Some(text);
        self.table.find(self.hasher.hash_one(text), same).copied()
    }

    /// The token with this text, if text may become it by itself: never a control token.
    pub(crate) fn find_text(&self, vocabulary: &Vocabulary, text: &str) -> Option<u32> {
        self.find(vocabulary, text)
            .filter(|&id| vocabulary.kind(id).is_text())
    }
}
