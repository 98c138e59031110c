//! Finds the tokens that are cut out of text before it is tokenized, by the origin of their bytes.
//!
//! Control tokens are cut only where all their bytes are the template's, also across pieces;
//! user-defined tokens are cut everywhere. At each place the leftmost token wins, of those the
//! longest: the reference's order.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind};

use crate::Error;
use crate::vocabulary::{TokenKind, Vocabulary};

/// Bytes that a token which is cut out of text may have. Those of real models have fewer than 100.
const LONGEST: usize = 4096;
/// Bytes of a text up to which searching for it may be prepared in full.
const LONGEST_PREPARED: usize = 64;

/// Searches for texts. Preparing it takes a time that grows with their length, also where a text
/// repeats itself: in full it would grow with the square of it.
pub(crate) fn searcher<T: AsRef<[u8]>>(
    texts: &[T],
    kind: MatchKind,
) -> Result<AhoCorasick, BuildError> {
    let longest = texts.iter().map(|text| text.as_ref().len()).max();
    let plain = longest > Some(LONGEST_PREPARED);
    AhoCorasick::builder()
        .match_kind(kind)
        .kind(plain.then_some(AhoCorasickKind::ContiguousNFA))
        .build(texts)
}

/// One token that was found as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Its bytes in the text.
    pub(crate) range: Range<usize>,
    pub(crate) id: u32,
}

/// Searches for all cut tokens of a vocabulary.
pub(crate) struct Cutter {
    /// Tokens that are cut in trusted text.
    trusted: Searcher,
    /// Tokens that are cut in any text.
    anywhere: Searcher,
}

struct Searcher {
    automaton: Option<AhoCorasick>,
    ids: Vec<u32>,
}

impl Searcher {
    fn new(vocabulary: &Vocabulary, wanted: impl Fn(TokenKind) -> bool) -> Result<Self, Error> {
        let tokens = (0u32..).zip(vocabulary.tokens.iter());
        let (ids, texts): (Vec<u32>, Vec<&str>) = tokens
            .filter(|(id, text)| !text.is_empty() && wanted(vocabulary.kind(*id)))
            .unzip();
        if ids.is_empty() {
            return Ok(Self {
                automaton: None,
                ids,
            });
        }
        if let Some((id, text)) = ids
            .iter()
            .zip(&texts)
            .find(|(_, text)| text.len() > LONGEST)
        {
            return Err(Error::vocabulary(
                format!("tokenizer.ggml.tokens[{id}]"),
                format!("a control or user-defined token of {} bytes", text.len()),
                format!("at most {LONGEST}"),
            ));
        }
        let automaton = searcher(&texts, MatchKind::LeftmostLongest).map_err(|error| {
            let found = format!("{} control and user-defined tokens: {error}", texts.len());
            Error::vocabulary("tokenizer.ggml.tokens", found, "fewer or shorter ones")
        })?;
        Ok(Self {
            automaton: Some(automaton),
            ids,
        })
    }

    fn find(&self, text: &str, span: Range<usize>) -> Option<Cut> {
        let found = self.automaton.as_ref()?.find(Input::new(text).span(span))?;
        Some(Cut {
            range: found.range(),
            id: self.ids[found.pattern().as_usize()],
        })
    }
}

impl Cutter {
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, Error> {
        let anywhere = |kind| kind == TokenKind::UserDefined;
        let trusted = |kind| {
            matches!(
                kind,
                TokenKind::UserDefined | TokenKind::Control | TokenKind::Unknown
            )
        };
        Ok(Self {
            trusted: Searcher::new(vocabulary, trusted)?,
            anywhere: Searcher::new(vocabulary, anywhere)?,
        })
    }

    /// All cuts of `text`, in order. `trusted` are the stretches that the template wrote: in order,
    /// not adjacent.
    pub(crate) fn cuts(&self, text: &str, trusted: &[Range<usize>]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let mut at = 0;
        let mut stretches = Stretches {
            searcher: &self.trusted,
            text,
            remaining: trusted,
            found: None,
        };
        let mut anywhere = Anywhere {
            searcher: &self.anywhere,
            text,
            found: None,
            searched: false,
        };
        loop {
            let next = match (stretches.next(at), anywhere.next(at)) {
                (Some(a), Some(b)) => Some(
                    if (b.range.start, a.range.end) < (a.range.start, b.range.end) {
                        b
                    } else {
                        a
                    },
                ),
                (a, b) => a.or(b),
            };
            let Some(cut) = next else { return cuts };
            at = cut.range.end;
            cuts.push(cut);
        }
    }
}

/// The next cut in trusted stretches. A find is kept until the search has passed its start, so each
/// stretch of text is searched once, apart from what overlaps a cut.
struct Stretches<'a> {
    searcher: &'a Searcher,
    text: &'a str,
    remaining: &'a [Range<usize>],
    found: Option<Cut>,
}

impl Stretches<'_> {
    fn next(&mut self, at: usize) -> Option<Cut> {
        if self.found.as_ref().is_some_and(|cut| cut.range.start < at) {
            self.found = None;
        }
        while self.found.is_none() {
            let stretch = self.remaining.first()?;
            let start = stretch.start.max(at);
            if start < stretch.end {
                self.found = self.searcher.find(self.text, start..stretch.end);
            }
            if self.found.is_none() {
                self.remaining = &self.remaining[1..];
            }
        }
        self.found.clone()
    }
}

struct Anywhere<'a> {
    searcher: &'a Searcher,
    text: &'a str,
    found: Option<Cut>,
    searched: bool,
}

impl Anywhere<'_> {
    fn next(&mut self, at: usize) -> Option<Cut> {
        let passed = self.found.as_ref().is_some_and(|cut| cut.range.start < at);
        if passed || !self.searched {
            self.found = self.searcher.find(self.text, at..self.text.len());
            self.searched = true;
        }
        self.found.clone()
    }
}
