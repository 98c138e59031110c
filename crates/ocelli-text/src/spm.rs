//! SentencePiece byte-pair encoding: characters are merged by the score of what they make.
//!
//! ```text
//! symbols = the text's characters, spaces written as U+2581
//! while some adjacent pair makes a token:
//!     merge the pair whose token has the highest score (the leftmost of equal ones)
//! a character that is no token becomes its bytes' tokens
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::encode::Lookup;
use crate::vocabulary::{TokenKind, Vocabulary};

/// What stands for a space.
pub(crate) const SPACE_MARK: char = '\u{2581}';
/// Longer texts are cut here, so that places in them fit 32 bits.
const LONGEST: usize = 1 << 30;
const END: u32 = u32::MAX;

/// Tables of a vocabulary with scores.
pub(crate) struct SentencePiece {
    /// Token of each byte, for characters that are no token.
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Bytes of the longest token: no merge makes more.
    longest_token: usize,
    /// No token has a space mark behind another character, so no merge crosses the start of a word.
    words_apart: bool,
}

#[derive(Clone, Copy)]
struct Node {
    start: u32,
    end: u32,
    /// The merge with the next symbol: its place in the order of scores, and the token it makes.
    order: Option<u32>,
    token: Option<u32>,
    merged: u32,
    previous: u32,
    next: u32,
}

impl SentencePiece {
    pub(crate) fn new(vocabulary: &Vocabulary, lookup: &Lookup) -> Self {
        let mut bytes = [None; 256];
        for byte in 0..=255u8 {
            let of_kind_byte = lookup.find(vocabulary, &format!("<0x{byte:02X}>"));
            let raw =
                || lookup.find_text(vocabulary, std::str::from_utf8(&[byte]).unwrap_or_default());
            bytes[byte as usize] = of_kind_byte
                .filter(|&id| vocabulary.kind(id) == TokenKind::Byte)
                .or_else(raw);
        }
        let longest_token = vocabulary.tokens.iter().map(str::len).max().unwrap_or(0);
        Self {
            bytes,
            unknown: vocabulary.unknown.or(Some(0)),
            longest_token,
            words_apart: !vocabulary
                .tokens
                .iter()
                .any(|text| word_starts(text).next().is_some()),
        }
    }

    /// Parts of `text` that can be encoded one by one.
    pub(crate) fn words<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut starts = self
            .words_apart
            .then(|| word_starts(text))
            .into_iter()
            .flatten();
        let mut start = 0;
        std::iter::from_fn(move || {
            let end = starts.next().unwrap_or(text.len());
            let word = &text[start..end];
            start = end;
            (!word.is_empty()).then_some(word)
        })
    }

    /// Appends the tokens of `text`, in which spaces are already [`SPACE_MARK`]s.
    pub(crate) fn encode(
        &self,
        vocabulary: &Vocabulary,
        lookup: &Lookup,
        text: &str,
        ids: &mut Vec<u32>,
    ) {
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.floor_char_boundary(LONGEST);
            let pairs = Pairs {
                vocabulary,
                lookup,
                text: &rest[..end],
                longest_token: self.longest_token,
            };
            self.encode_part(&pairs, ids);
            rest = &rest[end..];
        }
    }

    fn encode_part(&self, pairs: &Pairs<'_>, ids: &mut Vec<u32>) {
        let mut nodes = pairs.characters();
        let mut heap = BinaryHeap::new();
        for at in 0..nodes.len() as u32 {
            pairs.renew(&mut nodes, at, &mut heap);
        }
        while let Some(Reverse((order, at))) = heap.pop() {
            let Node {
                order: current,
                next,
                previous,
                merged,
                ..
            } = nodes[at as usize];
            // Each node's own merge is kept up to date, so an entry of the heap that differs is an old one.
            if current != Some(order) {
                continue;
            }
            let Node {
                end, next: after, ..
            } = nodes[next as usize];
            nodes[next as usize].order = None;
            let node = &mut nodes[at as usize];
            (node.end, node.next, node.token) = (end, after, Some(merged));
            if after != END {
                nodes[after as usize].previous = at;
            }
            pairs.renew(&mut nodes, at, &mut heap);
            if previous != END {
                pairs.renew(&mut nodes, previous, &mut heap);
            }
        }
        let mut at = 0;
        while at != END {
            let node = nodes[at as usize];
            match node.token {
                Some(id) => ids.push(id),
                None => self.fall_back(&pairs.text[node.start as usize..node.end as usize], ids),
            }
            at = node.next;
        }
    }

    fn fall_back(&self, character: &str, ids: &mut Vec<u32>) {
        let tokens: Option<Vec<u32>> = character
            .bytes()
            .map(|byte| self.bytes[byte as usize])
            .collect();
        match tokens {
            Some(tokens) => ids.extend(tokens),
            None => ids.extend(self.unknown),
        }
    }
}

/// Looks up what adjacent symbols of one text make.
struct Pairs<'a> {
    vocabulary: &'a Vocabulary,
    lookup: &'a Lookup,
    text: &'a str,
    longest_token: usize,
}

impl Pairs<'_> {
    fn characters(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::with_capacity(self.text.len());
        for (start, character) in self.text.char_indices() {
            let at = nodes.len() as u32;
            let end = start + character.len_utf8();
            nodes.push(Node {
                start: start as u32,
                end: end as u32,
                order: None,
                token: self
                    .lookup
                    .find_text(self.vocabulary, &self.text[start..end]),
                merged: 0,
                previous: at.wrapping_sub(1),
                next: if end == self.text.len() { END } else { at + 1 },
            });
        }
        nodes
    }

    /// Looks up again what node `at` and the one after it make.
    fn renew(&self, nodes: &mut [Node], at: u32, heap: &mut BinaryHeap<Reverse<(u32, u32)>>) {
        let Node { start, next, .. } = nodes[at as usize];
        nodes[at as usize].order = None;
        if next == END {
            return;
        }
        let joined = start as usize..nodes[next as usize].end as usize;
        if joined.len() > self.longest_token {
            return;
        }
        let Some(id) = self.lookup.find_text(self.vocabulary, &self.text[joined]) else {
            return;
        };
        let order = descending(self.vocabulary.scores[id as usize]);
        let node = &mut nodes[at as usize];
        (node.order, node.merged) = (Some(order), id);
        heap.push(Reverse((order, at)));
    }
}

/// Where a space mark follows another character.
fn word_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    let marks = text.match_indices(SPACE_MARK).map(|(at, _)| at);
    marks.filter(|&at| at > 0 && !text[..at].ends_with(SPACE_MARK))
}

/// Maps scores to numbers so that the highest score comes first.
fn descending(score: f32) -> u32 {
    // Adding zero turns -0.0 into 0.0, which must be equal.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 3.0, 0.0, -0.5, -1000.0, f32::NEG_INFINITY];
        assert!(
            scores
                .windows(2)
                .all(|pair| descending(pair[0]) < descending(pair[1]))
        );
        assert_eq!(descending(0.0), descending(-0.0));
    }
}
