//! Slices that run backwards, written as the filter that reverses.
//!
//! The interpreter (minijinja 3.0.5) panics at a slice with a negative step of something empty.
//! Templates in the wild only write `[::-1]`; that becomes `|reverse`, and any other step that may
//! be negative is refused.

use super::scan::{self, Token, TokenKind};
use crate::Error;

/// The template without slices that run backwards.
///
/// # Errors
/// A tag is not closed; a step of a slice is neither a plain number nor the `-1` of `[::-1]`.
pub(super) fn without_backward_slices(source: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(source.len());
    let mut copied = 0;
    for tag in scan::tags(source)? {
        let mut open = Vec::new();
        for (at, token) in tag.tokens.iter().enumerate() {
            match token.text {
                _ if token.kind != TokenKind::Symbol => {}
                "(" | "[" | "{" => open.push(at),
                ")" | "]" | "}" => {
                    let start = open.pop().filter(|start| tag.tokens[*start].is_symbol("["));
                    let Some(start) = start else { continue };
                    let behind = tag.tokens.get(at + 1);
                    match step(&tag.tokens[start + 1..at]) {
                        Step::Forward => {}
                        Step::Reverse if !behind.is_some_and(goes_on) => {
                            out.push_str(&source[copied..tag.tokens[start].at]);
                            out.push_str("|reverse");
                            copied = token.end();
                        }
                        Step::Reverse | Step::Other => {
                            let place = tag.tokens[start].at;
                            let slice = &source[place..token.end()];
                            return Err(Error::template(
                                source,
                                place,
                                format!(
                                    "found the slice `{slice}`, need a step that is a plain number, or `[::-1]` at the end of a value"
                                ),
                            ));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    out.push_str(&source[copied..]);
    Ok(out)
}

/// What a filter cannot be followed by.
fn goes_on(token: &Token<'_>) -> bool {
    token.kind == TokenKind::Symbol && matches!(token.text, "." | "[" | "(")
}

enum Step {
    Forward,
    /// `::-1`.
    Reverse,
    Other,
}

/// The step of what stands in brackets.
fn step(inside: &[Token<'_>]) -> Step {
    let mut depth = 0_usize;
    let mut colons = 0;
    let mut behind = inside.len();
    for (at, token) in inside.iter().enumerate() {
        match token.text {
            _ if token.kind != TokenKind::Symbol => {}
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            ":" | "::" if depth == 0 => {
                colons += token.text.len();
                if colons >= 2 {
                    behind = at + 1;
                    break;
                }
            }
            _ => {}
        }
    }
    match &inside[behind..] {
        [] => Step::Forward,
        [number] if number.kind == TokenKind::Number => Step::Forward,
        [minus, one]
            if minus.is_symbol("-") && one.text == "1" && inside[..behind].iter().all(is_colon) =>
        {
            Step::Reverse
        }
        _ => Step::Other,
    }
}

fn is_colon(token: &Token<'_>) -> bool {
    token.is_symbol(":") || token.is_symbol("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reversing_becomes_a_filter_and_other_slices_stay() {
        for (template, expected) in [
            (
                "{% for m in messages[::-1] %}x{% endfor %}",
                "{% for m in messages|reverse %}x{% endfor %}",
            ),
            ("{{ a[1:] ~ b['x'][::2] }}", "{{ a[1:] ~ b['x'][::2] }}"),
            ("{{ a[b[::-1]|length] }}", "{{ a[b|reverse|length] }}"),
            (
                "{{ {'a': [1, 2]}['a'] }} [::-1]",
                "{{ {'a': [1, 2]}['a'] }} [::-1]",
            ),
        ] {
            assert_eq!(without_backward_slices(template).unwrap(), expected);
        }
    }

    #[test]
    fn a_step_that_may_be_negative_is_refused_by_its_text() {
        for template in [
            "{{ x[5:0:-1] }}",
            "{{ x[::n] }}",
            "{{ x[::-2] }}",
            "{{ x[::-1][0] }}",
        ] {
            let error = without_backward_slices(template).unwrap_err().to_string();
            assert!(error.contains("found the slice `["), "{error}");
        }
    }
}
