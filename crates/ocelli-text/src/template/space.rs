//! White space as Python's strings have it, for the filter `trim` and the methods that strip and
//! split: Rust knows Unicode's property, Python also counts the separators U+001C to U+001F. Not
//! the tokenizers' white space.

use minijinja::Value;

/// What `str.isspace` says of one character.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The filter `trim`, of anything that can be written, and of other characters if they are given.
pub(super) fn trim(value: &Value, characters: Option<String>) -> String {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    match characters {
        Some(characters) => text.trim_matches(|c| characters.contains(c)).to_owned(),
        None => text.trim_matches(is_space).to_owned(),
    }
}

/// A method that depends on what white space is; none for any other.
pub(super) fn call(text: &str, method: &str, arguments: &[Value]) -> Option<Value> {
    if !arguments.iter().all(Value::is_none) {
        return None;
    }
    Some(match method {
        "strip" => Value::from(text.trim_matches(is_space)),
        "lstrip" => Value::from(text.trim_start_matches(is_space)),
        "rstrip" => Value::from(text.trim_end_matches(is_space)),
        "isspace" => Value::from(!text.is_empty() && text.chars().all(is_space)),
        "split" => text
            .split(is_space)
            .filter(|word| !word.is_empty())
            .map(Value::from)
            .collect(),
        "splitlines" => lines(text).into_iter().map(Value::from).collect(),
        _ => return None,
    })
}

/// Lines without their ends: Python ends them at more characters than others do.
fn lines(text: &str) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(end) = rest.find(ends) {
        lines.push(&rest[..end]);
        let mut after = rest[end..].chars();
        if after.next() == Some('\r') && after.as_str().starts_with('\n') {
            after.next();
        }
        rest = after.as_str();
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}
