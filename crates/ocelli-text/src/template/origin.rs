//! Recovers who wrote each byte of a rendered template.
//!
//! The interpreter knows only strings. So the values go in with the characters that control tokens
//! are made of swapped for private-use stand-ins, one set for each source; what comes out as a
//! stand-in is a value's, all else the template's. Stand-ins are chosen among characters that no
//! text of the request has, so a typed one stays what it is.
//!
//! A template may compare a value with a text of its own (`'</think>' in content`), which stand-ins
//! would change. The caller renders the plain values too and compares; where the two differ it goes
//! on to a level that swaps less:
//!
//! 1. [`Level::Full`]: every such character.
//! 2. [`Level::Sparing`]: the same, but not inside the template's own string literals. Literals that could be a part of
//!    a control token are swapped nevertheless.
//! 3. [`Level::Dangerous`]: only the first character of a control token's text, of what starts like one with two
//!    characters (a filter may turn it into one), of a value's end that could begin one and of a value's start that
//!    could complete one.
//!
//! White space, quotes, backslashes and control characters are never swapped, so that `trim`,
//! `split` and JSON work.

use std::collections::{BTreeSet, HashMap, HashSet};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::cut::searcher;
use crate::pieces::{Origin, Piece, Source};

/// Control tokens with more bytes in total are not split up into their parts.
const INDEXED_BYTES: usize = 1 << 20;
/// Literals beyond these are not spared.
const LITERALS: usize = 2048;
const SOURCES: [Source; 5] = [
    Source::System,
    Source::User,
    Source::Assistant,
    Source::Tool,
    Source::Parameter,
];

/// How much of the values is swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Full,
    Sparing,
    Dangerous,
}

/// What is fixed for a template and a vocabulary.
#[derive(Debug)]
pub(super) struct Marker {
    /// Texts that only the template may write.
    reserved: Vec<String>,
    /// The characters they are made of.
    alphabet: BTreeSet<char>,
    /// The template's literals that are spared.
    spared: Option<AhoCorasick>,
}

/// Stand-ins for one rendering.
pub(super) struct Marks<'m> {
    marker: &'m Marker,
    forward: HashMap<char, [char; 5]>,
    backward: HashMap<char, (char, Source)>,
    /// Made when the level is first needed.
    dangers: Option<Dangers>,
}

struct Dangers {
    whole: Option<AhoCorasick>,
    /// First two characters of reserved texts.
    pairs: HashSet<(char, Option<char>)>,
    /// Proper starts and ends of reserved texts.
    starts: HashSet<String>,
    ends: HashSet<String>,
    /// All reserved texts, to look for parts of them.
    joined: String,
    longest: usize,
}

fn markable(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !matches!(character, '"' | '\'' | '\\')
}

fn private_use() -> impl Iterator<Item = char> {
    ('\u{E000}'..='\u{F8FF}')
        .chain('\u{F0000}'..='\u{FFFFD}')
        .chain('\u{100000}'..='\u{10FFFD}')
}

fn is_private_use(character: char) -> bool {
    matches!(character, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}')
}

/// Private-use characters of a text.
pub(super) fn private_use_of(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|&character| is_private_use(character))
}

impl Marker {
    pub(super) fn new(reserved: Vec<String>, literals: &[String]) -> Self {
        let alphabet = reserved
            .iter()
            .flat_map(|text| text.chars())
            .filter(|&c| markable(c))
            .collect();
        let joined = reserved.join("\n");
        let whole = searcher(&reserved, MatchKind::Standard).ok();
        let harmless = |text: &&String| {
            !text.is_empty()
                && !joined.contains(text.as_str())
                && !whole.as_ref().is_some_and(|it| it.is_match(text.as_str()))
        };
        let spared: Vec<&String> = match joined.len() <= INDEXED_BYTES {
            true => literals.iter().take(LITERALS).filter(harmless).collect(),
            false => Vec::new(),
        };
        let spared = match spared.is_empty() {
            true => None,
            false => searcher(&spared, MatchKind::LeftmostLongest).ok(),
        };
        Self {
            reserved,
            alphabet,
            spared,
        }
    }

    /// Chooses stand-ins that are not in `used`; `None` when too few are left.
    pub(super) fn marks(&self, used: &HashSet<char>) -> Option<Marks<'_>> {
        let mut free = private_use()
            .filter(|character| !used.contains(character) && !self.alphabet.contains(character));
        let mut forward = HashMap::new();
        let mut backward = HashMap::new();
        for &character in &self.alphabet {
            let mut stand_ins = ['\0'; 5];
            for (stand_in, source) in stand_ins.iter_mut().zip(SOURCES) {
                *stand_in = free.next()?;
                backward.insert(*stand_in, (character, source));
            }
            forward.insert(character, stand_ins);
        }
        Some(Marks {
            marker: self,
            forward,
            backward,
            dangers: None,
        })
    }
}

impl Marks<'_> {
    /// Must be called before text is marked at this level.
    pub(super) fn prepare(&mut self, level: Level) {
        if level == Level::Dangerous && self.dangers.is_none() {
            self.dangers = Dangers::new(&self.marker.reserved);
        }
    }

    /// `text` of a value with stand-ins.
    pub(super) fn mark(&self, text: &str, source: Source, level: Level) -> String {
        let swap = |character: char| self.swap(character, source);
        match (level, &self.marker.spared, &self.dangers) {
            (Level::Dangerous, spared, Some(dangers)) => {
                dangers.mark(text, &dangers.places(text, source, spared.as_ref()), swap)
            }
            (Level::Sparing, Some(spared), _) => {
                let mut marked = String::with_capacity(text.len() * 2);
                let mut at = 0;
                for found in spared.find_iter(text) {
                    marked.extend(text[at..found.start()].chars().map(swap));
                    marked.push_str(&text[found.range()]);
                    at = found.end();
                }
                marked.extend(text[at..].chars().map(swap));
                marked
            }
            _ => text.chars().map(swap).collect(),
        }
    }

    fn swap(&self, character: char, source: Source) -> char {
        let index = SOURCES.iter().position(|&other| other == source);
        match (self.forward.get(&character), index) {
            (Some(stand_ins), Some(index)) => stand_ins[index],
            _ => character,
        }
    }

    /// Swaps back what a template wrote. Characters that were never swapped go with those before them.
    pub(super) fn pieces(&self, rendered: &str) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for character in rendered.chars() {
            let (character, origin) = match self.backward.get(&character) {
                Some(&(original, source)) => (original, Some(Origin::Value(source))),
                None => (
                    character,
                    self.forward
                        .contains_key(&character)
                        .then_some(Origin::Template),
                ),
            };
            match (pieces.last_mut(), origin) {
                (Some(last), None) => last.text.push(character),
                (Some(last), Some(origin)) if last.origin == origin => last.text.push(character),
                (_, origin) => {
                    pieces.push(Piece {
                        text: character.into(),
                        origin: origin.unwrap_or(Origin::Template),
                    });
                }
            }
        }
        pieces
    }
}

impl Dangers {
    /// `None` when the reserved texts are too large to be taken apart; everything is swapped then.
    fn new(reserved: &[String]) -> Option<Self> {
        let joined = reserved.join("\n");
        if joined.len() > INDEXED_BYTES || reserved.iter().any(|text| text.len() > 256) {
            return None;
        }
        let parts = |text: &String| -> Vec<usize> {
            text.char_indices().map(|(at, _)| at).skip(1).collect()
        };
        let each = |part: &dyn Fn(&str, usize) -> String| -> HashSet<String> {
            reserved
                .iter()
                .flat_map(|text| parts(text).into_iter().map(move |at| part(text, at)))
                .collect()
        };
        Some(Self {
            whole: searcher(reserved, MatchKind::Standard).ok(),
            starts: each(&|text, at| text[..at].to_owned()),
            ends: each(&|text, at| text[at..].to_owned()),
            longest: reserved.iter().map(String::len).max().unwrap_or(0),
            pairs: reserved.iter().filter_map(|text| first_two(text)).collect(),
            joined,
        })
    }

    /// Bytes of the characters to swap.
    fn places(&self, text: &str, source: Source, spared: Option<&AhoCorasick>) -> BTreeSet<usize> {
        let mut places: BTreeSet<usize> = BTreeSet::new();
        let pair =
            |at: &usize| first_two(&text[*at..]).is_some_and(|two| self.pairs.contains(&two));
        places.extend(text.char_indices().map(|(at, _)| at).filter(pair));
        for found in spared.into_iter().flat_map(|spared| spared.find_iter(text)) {
            let inside: Vec<usize> = places.range(found.range()).copied().collect();
            for at in inside {
                places.remove(&at);
            }
        }
        if let Some(whole) = &self.whole {
            places.extend(whole.find_overlapping_iter(text).map(|found| found.start()));
        }
        let near = text.len().saturating_sub(self.longest);
        let ends = (near..text.len())
            .filter(|&at| text.is_char_boundary(at) && self.starts.contains(&text[at..]));
        places.extend(ends);
        let near = self.longest.min(text.len());
        let starts =
            (1..=near).any(|end| text.is_char_boundary(end) && self.ends.contains(&text[..end]));
        // Names of types and fields in tool descriptions, which templates compare, are words and
        // not parts of tokens.
        let word = source == Source::Tool && super::values::is_word(text);
        if starts || (!word && !text.is_empty() && self.joined.contains(text)) {
            places.insert(0);
        }
        places
    }

    fn mark(&self, text: &str, places: &BTreeSet<usize>, swap: impl Fn(char) -> char) -> String {
        let mut marked = String::with_capacity(text.len() + 4 * places.len());
        let mut owed = false;
        for (at, character) in text.char_indices() {
            owed |= places.contains(&at);
            let swapped = if owed { swap(character) } else { character };
            // A character that is never swapped passes the mark on to the next one.
            owed &= swapped == character;
            marked.push(swapped);
        }
        marked
    }
}

fn first_two(text: &str) -> Option<(char, Option<char>)> {
    let mut characters = text.chars();
    Some((characters.next()?, characters.next()))
}
