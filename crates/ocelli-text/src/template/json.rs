//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, which chat templates were made with.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::budget::exceeded;

/// Deepest nesting.
const DEPTH: usize = 64;

/// How to set out JSON.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// One line, or line breaks with this many spaces for each level.
    pub(super) indent: Option<usize>,
    pub(super) between_items: String,
    pub(super) after_key: String,
    pub(super) sort_keys: bool,
}

/// Writes `value`.
pub(super) fn dumps(value: &Value, layout: &Layout) -> Result<String, Error> {
    let mut json = String::new();
    write(value, layout, 0, &mut json)?;
    Ok(json)
}

fn write(value: &Value, layout: &Layout, depth: usize, json: &mut String) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(exceeded("depth: JSON nested more than 64 deep"));
    }
    match value.kind() {
        ValueKind::None => json.push_str("null"),
        ValueKind::Bool => json.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(value, json),
        ValueKind::String => write_string(value.as_str().unwrap_or_default(), json),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_items(layout, depth, json, ['[', ']'], &items, |item, json| {
                write(item, layout, depth + 1, json)
            })?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if layout.sort_keys {
                keys.sort();
            }
            write_items(layout, depth, json, ['{', '}'], &keys, |key, json| {
                match key.as_str() {
                    Some(text) => write_string(text, json),
                    None => write_string(&key.to_string(), json),
                }
                json.push_str(&layout.after_key);
                write(&value.get_item(key)?, layout, depth + 1, json)
            })?;
        }
        other => {
            let problem = format!("found a value of kind {other}, need one that JSON has");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
    }
    Ok(())
}

fn write_items(
    layout: &Layout,
    depth: usize,
    json: &mut String,
    [open, close]: [char; 2],
    items: &[Value],
    write_item: impl Fn(&Value, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |depth: usize, json: &mut String| {
        if let Some(indent) = layout.indent {
            json.push('\n');
            json.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    json.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            json.push_str(&layout.between_items);
        }
        line(depth + 1, json);
        write_item(item, json)?;
    }
    if !items.is_empty() {
        line(depth, json);
    }
    json.push(close);
    Ok(())
}

/// Escapes what JSON must have escaped; all else stays as it is, also `<`, `&` and characters beyond ASCII.
fn write_string(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
}

fn write_number(value: &Value, json: &mut String) {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => json.push_str(&python_float(float)),
        _ => json.push_str(&value.to_string()),
    }
}

/// A float as Python prints it: the shortest digits that read back the same, with an exponent below
/// 1e-4 and from 1e16.
fn python_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".into();
    }
    if float.is_infinite() {
        return if float > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        };
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = float.to_string();
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        let cases = [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
        ];
        for (float, expected) in cases {
            assert_eq!(python_float(float), expected);
        }
    }
}
