//! The rules that split a whole text, written as scanners: each gives the end of the piece that starts
//! at a byte. Not the small steps that come before or after them (`steps.rs`).
//!
//! Each rule is the hand-written form of the regular expression in its doc. Alternatives are tried
//! in the order of the expression. No scanner looks further ahead than a small multiple of what it
//! returns over a whole text, so the time is linear; a backtracking regex engine is not
//! (`\s*[\r\n]+` and `\s+(?!\S)` on long runs).

use super::class::{
    CASELESS, Classes, LETTER, LOWER, MARK, NUMBER, PUNCTUATION, SPACE, SYMBOL, UPPER, is, is_not,
    next, run, run_bytes, run_not,
};

/// What differs between the rules of the newer byte-level tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words {
    /// Most digits in one piece.
    pub(super) digits: usize,
    /// Classes that make up a word, beyond letters.
    pub(super) marks: Classes,
    /// Whether English contractions are pieces of their own.
    pub(super) contractions: Contractions,
    /// Whether symbols take the line breaks behind them.
    pub(super) symbols: Symbols,
}

/// What becomes of `'s` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contractions {
    Split,
    Joined,
}

/// The alternative of [`words`] for what is neither word, number nor white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbols {
    /// ` ?[^\s\p{L}marks\p{N}]+[\r\n]*`
    WithBreaks,
    /// ` ?[^\s\p{L}marks\p{N}\r\n]+`
    Alone,
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}marks]+|\p{N}{1,digits}|symbols|`
/// then [`whitespace`].
pub(super) fn words(text: &str, at: usize, rule: Words) -> usize {
    let splits = rule.contractions == Contractions::Split;
    let contracted = splits.then(|| contraction(text, at, Case::Folded));
    contracted
        .flatten()
        .or_else(|| word(text, at, LETTER | rule.marks))
        .or_else(|| digits(text, at, rule.digits))
        .or_else(|| {
            let end = symbols(text, at, SPACE | LETTER | NUMBER | rule.marks)?;
            Some(match rule.symbols {
                Symbols::WithBreaks => run_bytes(text, end, b"\r\n"),
                Symbols::Alone => end,
            })
        })
        .unwrap_or_else(|| whitespace(text, at))
}

/// `prefix?A*B+suffix?|prefix?A+B*suffix?|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|` then
/// [`whitespace`], where prefix is `[^\r\n\p{L}\p{N}]`, A is `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, B
/// is `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`, and suffix is an English contraction or nothing.
pub(super) fn cased_words(text: &str, at: usize, digits_in_piece: usize, suffix: Suffix) -> usize {
    let word = cased_word(text, at).map(|end| match suffix {
        Suffix::Contraction => contraction(text, end, Case::Folded).unwrap_or(end),
        Suffix::None => end,
    });
    word.or_else(|| digits(text, at, digits_in_piece))
        .or_else(|| {
            symbols(text, at, SPACE | LETTER | NUMBER).map(|end| run_bytes(text, end, b"\r\n/"))
        })
        .unwrap_or_else(|| whitespace(text, at))
}

/// What may follow a word in the same piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suffix {
    None,
    Contraction,
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
pub(super) fn gpt2(text: &str, at: usize) -> usize {
    let start = at + usize::from(text.as_bytes()[at] == b' ');
    let spaced = |classes| is(text, start, classes).then(|| run(text, start, classes));
    contraction(text, at, Case::Exact)
        .or_else(|| spaced(LETTER))
        .or_else(|| spaced(NUMBER))
        .or_else(|| symbols(text, at, SPACE | LETTER | NUMBER))
        .unwrap_or_else(|| spaces(text, at, run(text, at, SPACE)))
}

/// Where line breaks go in DeepSeek's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    /// ` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+`
    Joined,
    /// ` ?[\p{P}\p{S}]+|[\r\n]`
    Single,
}

/// ``[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|breaks|\s+(?!\S)|\s+``. Numbers
/// were cut out before; control characters match nothing.
pub(super) fn deepseek(text: &str, at: usize, breaks: Breaks) -> Option<usize> {
    const WORD: Classes = LETTER | MARK;
    let bytes = text.as_bytes();
    let (class, after) = next(text, at)?;
    let is_ascii_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    if bytes[at].is_ascii_punctuation() && is_ascii_letter(after) {
        let letters = bytes[after..]
            .iter()
            .take_while(|b| b.is_ascii_alphabetic());
        return Some(after + letters.count());
    }
    let is_break = matches!(bytes[at], b'\r' | b'\n');
    let is_prefix = class & (LETTER | PUNCTUATION | SYMBOL) == 0 && !is_break;
    if is_prefix && is(text, after, WORD) {
        return Some(run(text, after, WORD));
    }
    if class & WORD != 0 {
        return Some(run(text, at, WORD));
    }
    let start = at + usize::from(bytes[at] == b' ');
    if is(text, start, PUNCTUATION | SYMBOL) {
        let end = run(text, start, PUNCTUATION | SYMBOL);
        return Some(match breaks {
            Breaks::Joined => run_bytes(text, end, b"\r\n"),
            Breaks::Single => end,
        });
    }
    match breaks {
        _ if class != SPACE => None,
        Breaks::Joined => Some(whitespace(text, at)),
        Breaks::Single if is_break => Some(after),
        Breaks::Single => Some(spaces(text, at, run(text, at, SPACE))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Exact,
    Folded,
}

/// `'s|'t|'re|'ve|'m|'ll|'d`
fn contraction(text: &str, at: usize, case: Case) -> Option<usize> {
    let rest = text.as_bytes()[at..].strip_prefix(b"'")?;
    let fold = |byte: u8| {
        if case == Case::Folded {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    let length = match (
        rest.first().map(|&b| fold(b))?,
        rest.get(1).map(|&b| fold(b)),
    ) {
        (b's' | b't' | b'm' | b'd', _) => 1,
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => 2,
        // U+017F, the long s, folds to s.
        (0xC5, Some(0xBF)) if case == Case::Folded => 2,
        _ => return None,
    };
    Some(at + 1 + length)
}

/// Start of what follows an optional `[^\r\n\p{L}\p{N}]`, if that is there.
fn after_prefix(text: &str, at: usize) -> Option<usize> {
    let (class, after) = next(text, at)?;
    let allowed = class & (LETTER | NUMBER) == 0 && !matches!(text.as_bytes()[at], b'\r' | b'\n');
    allowed.then_some(after)
}

/// `[^\r\n\p{L}\p{N}]?[classes]+`
fn word(text: &str, at: usize, classes: Classes) -> Option<usize> {
    let prefixed = after_prefix(text, at).filter(|&start| is(text, start, classes));
    let start = prefixed.or_else(|| is(text, at, classes).then_some(at))?;
    Some(run(text, start, classes))
}

/// The two word alternatives of [`cased_words`], without the suffix.
fn cased_word(text: &str, at: usize) -> Option<usize> {
    let prefixed = after_prefix(text, at);
    let starts = || prefixed.into_iter().chain([at]);
    starts()
        .find_map(|start| ends_lower(text, start))
        .or_else(|| starts().find_map(|start| starts_upper(text, start)))
}

const UPPER_LIKE: Classes = UPPER | CASELESS | MARK;
const LOWER_LIKE: Classes = LOWER | CASELESS | MARK;

/// `A*B+`: the greedy `A*` gives back characters until one of them, or the one after them, is a B.
fn ends_lower(text: &str, start: usize) -> Option<usize> {
    let mut at = start;
    let mut last_both = None;
    while let Some((class, after)) = next(text, at) {
        if class & UPPER_LIKE == 0 {
            break;
        }
        if class & LOWER_LIKE != 0 {
            last_both = Some(after);
        }
        at = after;
    }
    match is(text, at, LOWER_LIKE) {
        true => Some(run(text, at, LOWER_LIKE)),
        false => last_both,
    }
}

/// `A+B*`
fn starts_upper(text: &str, start: usize) -> Option<usize> {
    is(text, start, UPPER_LIKE).then(|| run(text, run(text, start, UPPER_LIKE), LOWER_LIKE))
}

/// `\p{N}{1,most}`
pub(super) fn digits(text: &str, at: usize, most: usize) -> Option<usize> {
    let mut end = at;
    for _ in 0..most {
        match next(text, end) {
            Some((NUMBER, after)) => end = after,
            _ => break,
        }
    }
    (end > at).then_some(end)
}

/// ` ?[^excluded]+`
fn symbols(text: &str, at: usize, excluded: Classes) -> Option<usize> {
    let start = at + usize::from(text.as_bytes()[at] == b' ');
    is_not(text, start, excluded).then(|| run_not(text, start, excluded))
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`
fn whitespace(text: &str, at: usize) -> usize {
    let end = run(text, at, SPACE);
    match text.as_bytes()[at..end]
        .iter()
        .rposition(|byte| matches!(byte, b'\r' | b'\n'))
    {
        Some(newline) => at + newline + 1,
        None => spaces(text, at, end),
    }
}

/// `\s+(?!\S)|\s+` where the run of whitespace ends at `end`: before a word the run leaves its last
/// character to it.
fn spaces(text: &str, at: usize, end: usize) -> usize {
    if end == text.len() {
        return end;
    }
    match text[at..end].char_indices().next_back() {
        Some((last, _)) if last > 0 => at + last,
        Some(_) => end,
        // Not whitespace: cannot happen, as the alternatives cover every character; one character
        // keeps it moving.
        None => next(text, at).map_or(text.len(), |(_, after)| after),
    }
}
