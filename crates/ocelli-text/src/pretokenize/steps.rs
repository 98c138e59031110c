//! The steps of a splitting rule. Each cuts its matches out of every piece that the step before left;
//! what lies between two matches is a piece as well.

use super::class::{Classes, LETTER, PUNCTUATION, SPACE, is, is_decimal, next, run};
use super::ranges::{self, Ranges};
use super::rules::{self, Breaks, Suffix, Words};

/// One step, by the expression that its matches have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// [`rules::words`]
    Words(Words),
    /// [`rules::cased_words`]
    Cased { digits: usize, suffix: Suffix },
    /// [`rules::gpt2`]
    Gpt2,
    /// [`rules::deepseek`]
    DeepSeek(Breaks),
    /// ` ?[^(\s|.,!?…。，、।۔،)]+`
    Bloom,
    /// `\p{N}{1,most}`
    Numbers(usize),
    /// `[0-9][0-9][0-9]`
    ThreeDigits,
    /// `(?=(\d{3})+(?!\d))`, which matches nothing, but cuts
    Thousands,
    /// `[\p{P}\$\+<=>\^~\|also]+`
    Punctuation { also: &'static [u8] },
    /// `[classes]+`, with `\s?` in front
    SpacedClasses(Classes),
    /// `[ranges]+`, with `\s?` in front
    SpacedRanges(Ranges),
    /// `[ranges]+|[ranges]+|` and so on
    Ranges(&'static [Ranges]),
    /// `[\r\n]`
    LineBreak,
    /// `[^\n]+|[\n]+`
    Lines,
    /// `\s+$`
    TrailingSpace,
    /// `\s{512}|\s{256}|` and so on to `\s`, in pieces of white space that hold no line breaks
    HalvedSpace,
}

/// Letters and marks, for names in tables.
pub(super) const LETTERS: Step = Step::SpacedClasses(LETTER);
pub(super) const ALL_PUNCTUATION: Step = Step::SpacedClasses(PUNCTUATION);

/// Calls `emit` with each piece that `steps` make of `text`.
pub(super) fn through<'t>(text: &'t str, steps: &[Step], emit: &mut dyn FnMut(&'t str)) {
    match steps {
        [] => emit(text),
        [first, rest @ ..] => first.split(text, &mut |part| through(part, rest, emit)),
    }
}

impl Step {
    /// Calls `emit` with each piece of `text`, in order and without gaps.
    pub(super) fn split<'t>(self, text: &'t str, emit: &mut impl FnMut(&'t str)) {
        match self {
            Self::Words(rule) => each(text, |at| rules::words(text, at, rule), emit),
            Self::Cased { digits, suffix } => {
                each(
                    text,
                    |at| rules::cased_words(text, at, digits, suffix),
                    emit,
                );
            }
            Self::Gpt2 => each(text, |at| rules::gpt2(text, at), emit),
            Self::Lines => each(text, |at| line(text, at), emit),
            Self::TrailingSpace => {
                let end = text.trim_end_matches(|c: char| c.is_whitespace()).len();
                let (head, tail) = text.split_at(end);
                [head, tail]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .for_each(emit);
            }
            Self::HalvedSpace => halved_space(text, emit),
            Self::Thousands => thousands(text, emit),
            _ => cut_out(text, |at| self.end_of_match(text, at), emit),
        }
    }

    /// End of the match that starts at `at`. Steps that match everywhere are not here.
    fn end_of_match(self, text: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let behind = |start: usize, end: usize| (end > start).then_some(end);
        match self {
            Self::DeepSeek(breaks) => rules::deepseek(text, at, breaks),
            Self::Bloom => {
                let start = at + usize::from(bytes[at] == b' ');
                behind(start, run_of(text, start, |c| !ends_bloom_word(c)))
            }
            Self::Numbers(most) => rules::digits(text, at, most),
            Self::ThreeDigits => {
                let three = bytes.get(at..at + 3)?;
                three.iter().all(u8::is_ascii_digit).then_some(at + 3)
            }
            Self::Punctuation { also } => behind(at, punctuation(text, at, also)),
            Self::SpacedClasses(classes) => {
                let (first, after) = next(text, at)?;
                let start = if first == SPACE { after } else { at };
                behind(start, run(text, start, classes))
            }
            Self::SpacedRanges(set) => {
                let (first, after) = next(text, at)?;
                // The set may hold a space itself, which then need not have anything behind it.
                let spaced = (first == SPACE).then(|| behind(after, in_ranges(text, after, set)));
                spaced
                    .flatten()
                    .or_else(|| behind(at, in_ranges(text, at, set)))
            }
            Self::Ranges(sets) => {
                let mut ends = sets.iter().map(|set| in_ranges(text, at, set));
                ends.find(|&end| end > at)
            }
            Self::LineBreak => matches!(bytes[at], b'\r' | b'\n').then_some(at + 1),
            _ => None,
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

/// Emits matches and what lies between them.
fn cut_out<'t>(
    text: &'t str,
    end_of_match: impl Fn(usize) -> Option<usize>,
    emit: &mut impl FnMut(&'t str),
) {
    let (mut at, mut gap) = (0, 0);
    while at < text.len() {
        let Some(end) = end_of_match(at) else {
            at = next(text, at).map_or(text.len(), |(_, after)| after);
            continue;
        };
        if gap < at {
            emit(&text[gap..at]);
        }
        emit(&text[at..end]);
        (at, gap) = (end, end);
    }
    if gap < text.len() {
        emit(&text[gap..]);
    }
}

/// End of the run of characters that `joins`.
fn run_of(text: &str, at: usize, joins: impl Fn(char) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.find(|c| !joins(c))
        .map_or(text.len(), |length| at + length)
}

fn in_ranges(text: &str, at: usize, set: Ranges) -> usize {
    run_of(text, at, |c| ranges::holds(set, c))
}

fn ends_bloom_word(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '(' | ')' | '|' | '.' | ',' | '!' | '?')
        || matches!(character, '…' | '。' | '，' | '、' | '।' | '۔' | '،')
}

fn punctuation(text: &str, mut at: usize, also: &[u8]) -> usize {
    while let Some((class, after)) = next(text, at) {
        let byte = text.as_bytes()[at];
        let listed = matches!(byte, b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'~' | b'|');
        if !(class == PUNCTUATION || listed || also.contains(&byte)) {
            break;
        }
        at = after;
    }
    at
}

fn line(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at..];
    let is_break = rest[0] == b'\n';
    let length = rest.iter().position(|&byte| (byte == b'\n') != is_break);
    length.map_or(text.len(), |length| at + length)
}

/// Before a word the step before left the last space to it, so that no lookahead is needed here.
fn halved_space<'t>(text: &'t str, emit: &mut impl FnMut(&'t str)) {
    let is_whole = !is(text, 0, SPACE) || !text.ends_with(|c: char| c.is_whitespace());
    if is_whole || text.ends_with(['\r', '\n']) {
        return emit(text);
    }
    let ends: Vec<usize> = text
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .collect();
    let mut done = 0;
    let mut start = 0;
    while done < ends.len() {
        let left = ends.len() - done;
        done += (1 << left.ilog2()).min(512);
        emit(&text[start..ends[done - 1]]);
        start = ends[done - 1];
    }
}

/// Cuts each run of decimal digits in front of every third digit from its end.
fn thousands<'t>(text: &'t str, emit: &mut impl FnMut(&'t str)) {
    let mut start = 0;
    let mut at = 0;
    while at < text.len() {
        let end = run_of(text, at, is_decimal);
        let count = text[at..end].chars().count();
        let from_end = |(place, (offset, _)): (usize, (usize, char))| (count - place, at + offset);
        let places = text[at..end].char_indices().enumerate().map(from_end);
        for (_, cut) in places.filter(|(left, _)| left % 3 == 0) {
            if start < cut {
                emit(&text[start..cut]);
            }
            start = cut;
        }
        at = run_of(text, end, |c| !is_decimal(c));
    }
    if start < text.len() {
        emit(&text[start..]);
    }
}
