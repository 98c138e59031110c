//! Finds the tags of a Jinja template and their tokens; enough of the syntax to check and to
//! instrument a template.

use std::ops::Range;

use crate::Error;

/// One `{{ .. }}` or `{% .. %}`.
#[derive(Debug)]
pub(super) struct Tag<'s> {
    pub(super) kind: TagKind,
    /// With its delimiters.
    pub(super) range: Range<usize>,
    /// The closing delimiter with its whitespace marker: `-%}`.
    pub(super) close: &'s str,
    pub(super) tokens: Vec<Token<'s>>,
    /// Bytes of plain text between this tag and the next one.
    pub(super) text_after: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    Print,
    Statement,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'s> {
    pub(super) kind: TokenKind,
    /// As it stands in the template, strings with their quotes.
    pub(super) text: &'s str,
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Name,
    Number,
    String,
    Symbol,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        self.kind == TokenKind::Name && self.text == name
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }
}

/// Symbols of two characters, which must not be taken for two of one.
const PAIRS: [&str; 6] = ["==", "!=", "<=", ">=", "//", "**"];

/// All tags of a template, in order; comments and raw blocks are left out.
///
/// # Errors
/// A tag or a string is not closed.
pub(super) fn tags(source: &str) -> Result<Vec<Tag<'_>>, Error> {
    let mut tags: Vec<Tag<'_>> = Vec::new();
    let mut at = 0;
    while let Some(open) = next_open(source, at) {
        if let Some(last) = tags.last_mut() {
            last.text_after += open - at;
        }
        let unclosed =
            || Error::template(source, open, "found a tag that is not closed, need its end");
        if source[open..].starts_with("{#") {
            at = source[open + 2..].find("#}").ok_or_else(unclosed)? + open + 4;
            continue;
        }
        let kind = if source[open..].starts_with("{{") {
            TagKind::Print
        } else {
            TagKind::Statement
        };
        let tag = read_tag(source, open, kind).ok_or_else(unclosed)?;
        at = tag.range.end;
        if tag.tokens.first().is_some_and(|first| first.is_name("raw")) {
            at = after_raw(source, at).ok_or_else(unclosed)?;
        }
        tags.push(tag);
    }
    Ok(tags)
}

fn next_open(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    (from..bytes.len().saturating_sub(1))
        .find(|&at| bytes[at] == b'{' && matches!(bytes[at + 1], b'{' | b'%' | b'#'))
}

/// The byte after the `{% endraw %}` that ends the raw block whose text starts at `from`.
fn after_raw(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += source[at..].find("{%")? + 2;
        let inner = source[at..].trim_start_matches(['-', '+']).trim_start();
        if inner.starts_with("endraw") {
            return Some(at + source[at..].find("%}")? + 2);
        }
    }
}

fn read_tag(source: &str, open: usize, kind: TagKind) -> Option<Tag<'_>> {
    let end = if kind == TagKind::Print { "}}" } else { "%}" };
    let mut at = open + 2;
    at += usize::from(matches!(source.as_bytes().get(at), Some(b'-' | b'+')));
    let mut tokens = Vec::new();
    let mut braces = 0usize;
    loop {
        at += source[at..].len() - source[at..].trim_start().len();
        let rest = &source[at..];
        let marked = rest
            .strip_prefix(['-', '+'])
            .is_some_and(|rest| rest.starts_with(end));
        if braces == 0 && (marked || rest.starts_with(end)) {
            let close = &rest[..2 + usize::from(marked)];
            return Some(Tag {
                kind,
                range: open..at + close.len(),
                close,
                tokens,
                text_after: 0,
            });
        }
        let token = read_token(source, at)?;
        match token.text {
            "{" => braces += 1,
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
        at = token.end();
        tokens.push(token);
    }
}

fn read_token(source: &str, at: usize) -> Option<Token<'_>> {
    let rest = &source[at..];
    let first = rest.chars().next()?;
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (kind, length) = match first {
        '"' | '\'' => (TokenKind::String, string_length(rest, first)?),
        '0'..='9' => (TokenKind::Number, number_length(rest)),
        c if word(c) => (
            TokenKind::Name,
            rest.find(|c| !word(c)).unwrap_or(rest.len()),
        ),
        _ if PAIRS.iter().any(|pair| rest.starts_with(pair)) => (TokenKind::Symbol, 2),
        c => (TokenKind::Symbol, c.len_utf8()),
    };
    Some(Token {
        kind,
        text: &rest[..length],
        at,
    })
}

fn string_length(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A number with at most one point, which must be followed by a digit: `1.foo` and `1..2` are other things.
fn number_length(rest: &str) -> usize {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let whole = rest.find(word).unwrap_or(rest.len());
    match rest[whole..].strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            whole + 1 + fraction.find(word).unwrap_or(fraction.len())
        }
        _ => whole,
    }
}

/// The text that a string token stands for.
pub(super) fn unquoted(token: &str) -> String {
    let inner = token
        .get(1..token.len().saturating_sub(1))
        .unwrap_or_default();
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => {}
            },
            (other, false) => text.push(other),
        }
    }
    text
}
