//! Puts meters into a template, so that a hostile one cannot take more memory or time than it is given.
//!
//! The interpreter counts its steps, but one step may double a string. So every operand of an
//! expression is passed through a filter that charges its size to a budget (`a ~ b` becomes
//! `a|__charge ~ b|__charge`), factors are kept small, and each turn of a loop or macro is charged
//! with the plain text in its body. The filters hand their input on unchanged, so the output is
//! that of the original template. Tags that this engine does not offer are refused here.

use std::ops::Range;

use super::scan::{self, Tag, TagKind, Token, TokenKind};
use crate::Error;

/// Filter that charges a value to the budget.
pub(super) const CHARGE: &str = "__charge";
/// Filter that refuses large factors of `*`.
pub(super) const FACTOR: &str = "__factor";
/// Function that charges plain text.
pub(super) const TICK: &str = "__tick";

/// Most tokens in one tag: the interpreter's compiler calls itself for each part of a long chain.
const TAG_TOKENS: usize = 2000;
/// Most `elif` branches of one `if`, for the same reason.
const BRANCHES: usize = 200;
/// Most signs or `not`s in a row, for the same reason.
const SIGNS: usize = 16;

/// What was learned about a template on the way.
pub(super) struct Guarded {
    /// The template with its meters.
    pub(super) source: String,
    /// All string literals.
    pub(super) literals: Vec<String>,
    /// Conditions on the text of messages, `line 3: {% if .. %}`.
    pub(super) conditionals: Vec<String>,
}

/// Rewrites a template.
///
/// # Errors
/// A tag is not closed or not offered.
pub(super) fn guard(source: &str) -> Result<Guarded, Error> {
    let tags = scan::tags(source)?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut literals = Vec::new();
    let mut conditionals = Vec::new();
    let mut bodies: Vec<(usize, &str, usize)> = Vec::new();
    check_depth(source, &tags)?;
    for tag in &tags {
        for token in tag
            .tokens
            .iter()
            .filter(|token| token.kind == TokenKind::String)
        {
            literals.push(scan::unquoted(token.text));
        }
        if tests_content(tag) {
            let line = Error::line_of(source, tag.range.start);
            conditionals.push(format!("line {line}: {}", &source[tag.range.clone()]));
        }
        rewrite(source, tag, &mut edits)?;
        match (tag.kind, tag.tokens.first().map(|first| first.text)) {
            (TagKind::Statement, Some("for" | "macro")) => {
                bodies.push((tag.range.end, tag.close, 0))
            }
            (TagKind::Statement, Some("endfor" | "endmacro")) => {
                edits.extend(bodies.pop().map(tick))
            }
            _ => {}
        }
        if let Some((_, _, bytes)) = bodies.last_mut() {
            *bytes += tag.text_after;
        }
    }
    // A body that is not closed is a syntax error, which the interpreter words better.
    edits.extend(bodies.into_iter().map(tick));
    Ok(Guarded {
        source: apply(source, edits),
        literals,
        conditionals,
    })
}

/// Refuses what would make the compiler call itself too deep. Brackets and nested tags it counts itself.
fn check_depth(source: &str, tags: &[Tag<'_>]) -> Result<(), Error> {
    let too_many = |tag: &Tag<'_>, found: usize, what: &str, most: usize| {
        Err(Error::template(
            source,
            tag.range.start,
            format!("found {found} {what}, need at most {most}"),
        ))
    };
    let mut branches: Vec<usize> = Vec::new();
    for tag in tags {
        if tag.tokens.len() > TAG_TOKENS {
            return too_many(tag, tag.tokens.len(), "tokens in one tag", TAG_TOKENS);
        }
        let sign = |token: &Token<'_>| matches!(token.text, "-" | "+" | "not");
        let run = tag
            .tokens
            .chunk_by(|a, b| sign(a) && sign(b))
            .map(<[_]>::len)
            .max()
            .unwrap_or(0);
        if run > SIGNS {
            return too_many(tag, run, "signs in a row", SIGNS);
        }
        match (tag.kind, tag.tokens.first().map(|first| first.text)) {
            (TagKind::Statement, Some("if")) => branches.push(0),
            (TagKind::Statement, Some("endif")) => drop(branches.pop()),
            (TagKind::Statement, Some("elif")) => {
                let branch = branches.last_mut().map_or(0, |count| {
                    *count += 1;
                    *count
                });
                if branch > BRANCHES {
                    return too_many(tag, branch, "branches of one `if`", BRANCHES);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A tag behind the opening tag of a body, with the same whitespace marker, so that the text after
/// it is trimmed alike.
fn tick((at, close, bytes): (usize, &str, usize)) -> (Range<usize>, String) {
    (at..at, format!("{{% do {TICK}({bytes}) {close}"))
}

fn apply(source: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut guarded = String::with_capacity(source.len() * 2);
    let mut at = 0;
    for (range, text) in edits {
        guarded.push_str(&source[at..range.start]);
        guarded.push_str(&text);
        at = range.end;
    }
    guarded.push_str(&source[at..]);
    guarded
}

/// Adds the edits of one tag.
fn rewrite(
    source: &str,
    tag: &Tag<'_>,
    edits: &mut Vec<(Range<usize>, String)>,
) -> Result<(), Error> {
    let tokens = &tag.tokens[..];
    let Some(first) = tokens.first() else {
        return Ok(());
    };
    if tag.kind == TagKind::Print {
        guard_expression(tokens, edits);
        return Ok(());
    }
    match first.text {
        "if" | "elif" | "with" => guard_expression(&tokens[1..], edits),
        "for" => guard_expression(after(tokens, |token| token.is_name("in")), edits),
        "set" => guard_expression(after(tokens, |token| token.is_symbol("=")), edits),
        "macro" => guard_defaults(tokens, edits),
        // Marks what the model said, for training; the text is the same without it.
        "generation" => edits.push((first.at..first.end(), "if true".into())),
        "endgeneration" => edits.push((first.at..first.end(), "endif".into())),
        "else" | "endif" | "endfor" | "endset" | "endmacro" | "endwith" | "break" | "continue"
        | "raw" | "filter" | "endfilter" => {}
        other => {
            let other: String = other.chars().take(32).collect();
            let problem = format!(
                "found the tag `{other}`, need one of if, for, set, with, macro, filter, generation"
            );
            return Err(Error::template(source, tag.range.start, problem));
        }
    }
    Ok(())
}

/// The tokens behind the first one outside of brackets that `matches`; none if there is none.
fn after<'t, 's>(tokens: &'t [Token<'s>], matches: impl Fn(&Token<'s>) -> bool) -> &'t [Token<'s>] {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ if depth == 0 && matches(token) => return &tokens[at + 1..],
            _ => {}
        }
    }
    &[]
}

/// Guards the default values of a macro's parameters.
fn guard_defaults(tokens: &[Token<'_>], edits: &mut Vec<(Range<usize>, String)>) {
    let mut depth = 0usize;
    let mut start = None;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "=" if depth == 1 => start = Some(at + 1),
            _ => {}
        }
        let ends = (depth == 1 && token.is_symbol(",")) || (depth == 0 && token.is_symbol(")"));
        if let Some(start) = start.take_if(|_| ends) {
            guard_expression(&tokens[start..at], edits);
        }
    }
}

const KEYWORDS: [&str; 15] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "recursive",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "elif",
];

/// Adds the filters behind each operand: a name, literal or bracket with all its attributes,
/// subscripts and calls.
fn guard_expression(tokens: &[Token<'_>], edits: &mut Vec<(Range<usize>, String)>) {
    let mut brackets: Vec<Bracket> = vec![Bracket::default()];
    for (at, token) in tokens.iter().enumerate() {
        let previous = at.checked_sub(1).map(|at| &tokens[at]);
        let names_test = token.kind == TokenKind::Name && follows_is(tokens, at);
        let mut ends_operand = match token.kind {
            TokenKind::String | TokenKind::Number => true,
            TokenKind::Name => !KEYWORDS.contains(&token.text) && !names_test,
            TokenKind::Symbol => false,
        };
        match token.text {
            _ if token.kind != TokenKind::Symbol => {}
            "(" | "[" | "{" => {
                let of_test = previous.is_some_and(|name| name.kind == TokenKind::Name)
                    && follows_is(tokens, at - 1);
                brackets.push(Bracket {
                    of_test,
                    factor: false,
                });
            }
            ")" | "]" | "}" => ends_operand = !close(&mut brackets).of_test,
            "*" if previous.is_some_and(ends_value) => {
                if let Some(bracket) = brackets.last_mut() {
                    bracket.factor = true;
                }
            }
            _ => {}
        }
        if !ends_operand || continues(tokens.get(at + 1)) {
            continue;
        }
        let mut filters = String::new();
        let value = !matches!(token.kind, TokenKind::String | TokenKind::Number);
        if value && !only_measured(&tokens[at + 1..]) {
            filters = format!("|{CHARGE}");
        }
        let factor = brackets
            .last_mut()
            .is_some_and(|bracket| std::mem::take(&mut bracket.factor));
        if factor || tokens.get(at + 1).is_some_and(|next| next.is_symbol("*")) {
            filters.push_str(&format!("|{FACTOR}"));
        }
        if !filters.is_empty() {
            edits.push((token.end()..token.end(), filters));
        }
    }
}

#[derive(Default)]
struct Bracket {
    /// Holds the arguments of a test, after which no filter may stand.
    of_test: bool,
    /// The next operand is the right side of a `*`.
    factor: bool,
}

fn close(brackets: &mut Vec<Bracket>) -> Bracket {
    let closed = if brackets.len() > 1 {
        brackets.pop()
    } else {
        None
    };
    closed.unwrap_or_default()
}

/// Whether token `at` stands behind `is` or `is not`: the name of a test.
fn follows_is(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize, name: &str| {
        at.checked_sub(back)
            .is_some_and(|at| tokens[at].is_name(name))
    };
    // `x.is` is an attribute.
    let is = |back: usize| {
        before(back, "is")
            && !at
                .checked_sub(back + 1)
                .is_some_and(|at| tokens[at].is_symbol("."))
    };
    is(1) || (before(1, "not") && is(2))
}

fn ends_value(token: &Token<'_>) -> bool {
    match token.kind {
        TokenKind::Symbol => matches!(token.text, ")" | "]" | "}"),
        TokenKind::Name => !KEYWORDS.contains(&token.text),
        TokenKind::String | TokenKind::Number => true,
    }
}

/// Whether the operand goes on behind this token, or the token is the name of an argument.
fn continues(next: Option<&Token<'_>>) -> bool {
    next.is_some_and(|next| {
        next.kind == TokenKind::String
            || (next.kind == TokenKind::Symbol && matches!(next.text, "." | "[" | "(" | "="))
    })
}

/// Whether only the length or one end of the operand is taken, which costs nothing however large it is.
fn only_measured(rest: &[Token<'_>]) -> bool {
    matches!(rest, [pipe, filter, ..] if pipe.is_symbol("|")
        && matches!(filter.text, "length" | "count" | "first" | "last"))
}

/// Whether a tag's condition compares the text of a message with a text of its own.
fn tests_content(tag: &Tag<'_>) -> bool {
    let first = tag.tokens.first().map(|first| first.text);
    if tag.kind != TagKind::Statement || !matches!(first, Some("if" | "elif")) {
        return false;
    }
    let of_content = |token: &Token<'_>| token.text.trim_matches(['"', '\'']) == "content";
    let text =
        |window: &[Token<'_>]| window[1].kind == TokenKind::String && !window[0].is_symbol("[");
    let compared = |window: &[Token<'_>]| text(window) && !of_content(&window[1]);
    tag.tokens.iter().any(of_content) && tag.tokens.windows(2).any(compared)
}
