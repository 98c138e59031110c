//! Byte-level byte-pair encoding: the merges of one piece.
//!
//! ```text
//! symbols = the piece's bytes
//! while some adjacent pair is in the merge list:
//!     merge the pair that is first in the list (the leftmost of equal ones)
//! ```
//!
//! Short pieces scan for the first pair at each turn; long ones keep the pairs in a heap, so that
//! the time is n log n on any text. Every symbol that a merge can make has a number, so a merge is
//! one look into a table of pairs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use crate::Error;
use crate::encode::Lookup;
use crate::vocabulary::Vocabulary;

/// Pieces up to this many bytes are merged by scanning.
const SHORT: usize = 48;
/// Longer pieces are cut here, so that places in them fit 32 bits.
const LONGEST: usize = 1 << 30;
/// No merge.
const NEVER: u32 = u32::MAX;
/// No symbol follows.
const END: u32 = u32::MAX;

/// Merge tables of a vocabulary.
pub(crate) struct BytePair {
    /// Symbol of each byte. Symbols below `tokens` are token ids; others exist only between merges.
    bytes: [u32; 256],
    merges: HashMap<(u32, u32), Merge>,
    tokens: u32,
    /// Bytes of the symbols from `tokens` on.
    inner: Vec<Box<[u8]>>,
    /// Emitted for a byte that has no token.
    unknown: Option<u32>,
}

#[derive(Clone, Copy)]
struct Merge {
    rank: u32,
    symbol: u32,
}

const NO_MERGE: Merge = Merge {
    rank: NEVER,
    symbol: 0,
};

impl BytePair {
    /// Reads the merge list. Control tokens are never the result of a merge, whatever the list says.
    pub(crate) fn new(vocabulary: &Vocabulary, lookup: &Lookup) -> Result<Self, Error> {
        let mut symbols = Symbols {
            vocabulary,
            lookup,
            tokens: vocabulary.tokens.len() as u32,
            inner: HashMap::new(),
        };
        let mut bytes = [0; 256];
        let mut buffer = [0; 4];
        for byte in 0..=255u8 {
            bytes[byte as usize] = symbols.number(char_of_byte(byte).encode_utf8(&mut buffer));
        }
        let mut merges = HashMap::with_capacity(vocabulary.merges.len());
        let mut joined = String::new();
        for (rank, pair) in vocabulary.merges.iter().enumerate() {
            // A part may itself start with a space in old files, so the search starts behind the first byte.
            let space = pair
                .bytes()
                .skip(1)
                .position(|byte| byte == b' ')
                .map(|at| at + 1);
            let Some((left, right)) = space.map(|at| (&pair[..at], &pair[at + 1..])) else {
                let what = format!("tokenizer.ggml.merges[{rank}]");
                return Err(Error::vocabulary(
                    what,
                    format!("{pair:?}"),
                    "two parts with a space between them",
                ));
            };
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            let key = (symbols.number(left), symbols.number(right));
            let merge = Merge {
                rank: rank as u32,
                symbol: symbols.number(&joined),
            };
            merges.entry(key).or_insert(merge);
        }
        Ok(Self {
            bytes,
            merges,
            tokens: symbols.tokens,
            inner: symbols.into_bytes(),
            unknown: vocabulary.unknown,
        })
    }

    /// Bytes that no token stands for; text with them cannot be said to this model.
    pub(crate) fn missing_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255u8).filter(|&byte| self.bytes[byte as usize] >= self.tokens)
    }

    /// Appends the tokens of one piece.
    pub(crate) fn encode(&self, piece: &[u8], work: &mut Work, ids: &mut Vec<u32>) {
        for part in piece.chunks(LONGEST) {
            match part.len() {
                0 => {}
                1 => self.emit(self.bytes[part[0] as usize], ids),
                2..=SHORT => self.encode_short(part, &mut work.short, ids),
                _ => self.encode_long(part, work, ids),
            }
        }
    }

    fn merge(&self, left: u32, right: u32) -> Merge {
        self.merges.get(&(left, right)).copied().unwrap_or(NO_MERGE)
    }

    fn encode_short(&self, piece: &[u8], parts: &mut Vec<(u32, Merge)>, ids: &mut Vec<u32>) {
        parts.clear();
        for (at, &byte) in piece.iter().enumerate() {
            let symbol = self.bytes[byte as usize];
            let merge = piece.get(at + 1).map_or(NO_MERGE, |&next| {
                self.merge(symbol, self.bytes[next as usize])
            });
            parts.push((symbol, merge));
        }
        loop {
            let mut first = (NEVER, 0);
            for (at, (_, merge)) in parts.iter().enumerate() {
                if merge.rank < first.0 {
                    first = (merge.rank, at);
                }
            }
            let (rank, at) = first;
            if rank == NEVER {
                break;
            }
            parts[at].0 = parts[at].1.symbol;
            parts.remove(at + 1);
            parts[at].1 = parts
                .get(at + 1)
                .map_or(NO_MERGE, |next| self.merge(parts[at].0, next.0));
            if at > 0 {
                parts[at - 1].1 = self.merge(parts[at - 1].0, parts[at].0);
            }
        }
        for &(symbol, _) in parts.iter() {
            self.emit(symbol, ids);
        }
    }

    fn encode_long(&self, piece: &[u8], work: &mut Work, ids: &mut Vec<u32>) {
        let Work { nodes, .. } = work;
        nodes.clear();
        let mut pairs = Vec::new();
        for (at, &byte) in piece.iter().enumerate() {
            let symbol = self.bytes[byte as usize];
            let merge = piece.get(at + 1).map_or(NO_MERGE, |&next| {
                self.merge(symbol, self.bytes[next as usize])
            });
            if merge.rank != NEVER {
                pairs.push(Reverse((merge.rank, at as u32)));
            }
            let at = at as u32;
            let next = if at as usize + 1 == piece.len() {
                END
            } else {
                at + 1
            };
            nodes.push(Node {
                symbol,
                merge,
                previous: at.wrapping_sub(1),
                next,
            });
        }
        let mut heap = BinaryHeap::from(pairs);
        while let Some(Reverse((rank, at))) = heap.pop() {
            // Each node's own merge is kept up to date, so an entry of the heap that differs is an old one.
            if nodes[at as usize].merge.rank == rank {
                self.merge_node(at, nodes, &mut heap);
            }
        }
        let mut at = 0;
        while at != END {
            self.emit(nodes[at as usize].symbol, ids);
            at = nodes[at as usize].next;
        }
    }

    fn merge_node(&self, at: u32, nodes: &mut [Node], heap: &mut BinaryHeap<Reverse<(u32, u32)>>) {
        let Node {
            merge,
            previous,
            next,
            ..
        } = nodes[at as usize];
        let after = nodes[next as usize].next;
        nodes[next as usize].merge = NO_MERGE;
        nodes[at as usize].symbol = merge.symbol;
        nodes[at as usize].next = after;
        let mut renew = |left: u32, right: u32, nodes: &mut [Node]| {
            let merge = self.merge(nodes[left as usize].symbol, nodes[right as usize].symbol);
            nodes[left as usize].merge = merge;
            if merge.rank != NEVER {
                heap.push(Reverse((merge.rank, left)));
            }
        };
        if after == END {
            nodes[at as usize].merge = NO_MERGE;
        } else {
            nodes[after as usize].previous = at;
            renew(at, after, nodes);
        }
        if previous != END {
            renew(previous, at, nodes);
        }
    }

    fn emit(&self, symbol: u32, ids: &mut Vec<u32>) {
        if symbol < self.tokens {
            ids.push(symbol);
            return;
        }
        // Not a token: its bytes one by one. A byte without a token becomes the unknown token, or
        // is lost if there is none, as in the reference; `missing_bytes` tells.
        for &byte in &*self.inner[(symbol - self.tokens) as usize] {
            let id = self.bytes[byte as usize];
            ids.extend(if id < self.tokens {
                Some(id)
            } else {
                self.unknown
            });
        }
    }
}

/// Buffers that are used again for each piece.
#[derive(Default)]
pub(crate) struct Work {
    short: Vec<(u32, Merge)>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    symbol: u32,
    /// The merge with the next symbol.
    merge: Merge,
    previous: u32,
    next: u32,
}

/// Numbers symbols: token ids where the text is a token, numbers behind them where it is not.
struct Symbols<'v> {
    vocabulary: &'v Vocabulary,
    lookup: &'v Lookup,
    tokens: u32,
    inner: HashMap<String, u32>,
}

impl Symbols<'_> {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(id) = self.lookup.find_text(self.vocabulary, text) {
            return id;
        }
        if let Some(&number) = self.inner.get(text) {
            return number;
        }
        let number = self.tokens + self.inner.len() as u32;
        self.inner.insert(text.to_owned(), number);
        number
    }

    fn into_bytes(self) -> Vec<Box<[u8]>> {
        let mut numbered: Vec<(u32, Box<[u8]>)> = self
            .inner
            .into_iter()
            .map(|(text, number)| (number, bytes_of(&text).into()))
            .collect();
        numbered.sort_unstable_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, bytes)| bytes).collect()
    }
}

/// The printable character that stands for a byte in byte-level vocabularies: itself where it is
/// printable, else U+0100 and up, in order.
pub fn char_of_byte(byte: u8) -> char {
    let moved =
        |index: u8| char::from_u32(0x100 + u32::from(index)).unwrap_or(char::REPLACEMENT_CHARACTER);
    match byte {
        0x00..=0x20 => moved(byte),
        0x7F..=0xA0 => moved(byte - 0x7F + 0x21),
        0xAD => moved(0x43),
        _ => char::from(byte),
    }
}

/// The byte that a character stands for, if it is one of the 256.
pub(crate) fn byte_of_char(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The bytes that a token's text stands for; characters outside the 256 stand for themselves.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte_of_char(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_their_characters_map_both_ways() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            assert_eq!(byte_of_char(char_of_byte(byte)), Some(byte));
            assert!(seen.insert(char_of_byte(byte)));
        }
        assert_eq!(char_of_byte(b' '), 'Ġ');
        assert_eq!(char_of_byte(b'\n'), 'Ċ');
        assert_eq!(char_of_byte(0xAD), '\u{143}');
    }
}
