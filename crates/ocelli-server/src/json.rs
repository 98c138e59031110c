//! JSON of strangers: bounded depth, no key twice, an object at the top.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::failure::Failure;

/// Deepest nesting of a request.
const DEPTH: usize = 64;

/// Reads a request body.
///
/// # Errors
/// When it is no JSON object, nested too deep, or has a key twice.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let no_object = || Failure::bad("request body is not a JSON object");
    if depth(body) > DEPTH {
        return Err(Failure::bad(format_args!(
            "JSON nesting deeper than {DEPTH}"
        )));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let twice = RefCell::new(None);
    let read = Strict(&twice).deserialize(&mut json);
    if let Some(key) = twice.take() {
        let key: String = key.escape_default().take(64).collect();
        return Err(Failure::bad(format_args!("duplicate key '{key}'")));
    }
    let value = read.map_err(|_| no_object())?;
    json.end().map_err(|_| no_object())?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(no_object()),
    }
}

/// How deep brackets are nested, outside of strings. Works on anything.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// A value without keys that occur twice: the first that does is put here, and reading ends.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if object.contains_key(&key) {
                self.0.replace(Some(key));
                return Err(A::Error::custom("a key twice"));
            }
            object.insert(key, fields.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sound_object_is_refused_with_its_reason() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(64), "]".repeat(64));
        let very_deep = "[".repeat(100_000);
        for (body, expected) in [
            ("", "request body is not a JSON object"),
            ("{", "request body is not a JSON object"),
            ("null", "request body is not a JSON object"),
            ("[]", "request body is not a JSON object"),
            ("1", "request body is not a JSON object"),
            ("{} {}", "request body is not a JSON object"),
            (deep.as_str(), "JSON nesting deeper than 64"),
            (very_deep.as_str(), "JSON nesting deeper than 64"),
            (
                r#"{"messages": [], "messages": 1}"#,
                "duplicate key 'messages'",
            ),
            (r#"{"a": [{"b": 1, "b": 2}]}"#, "duplicate key 'b'"),
        ] {
            let failure = object(body.as_bytes()).unwrap_err();
            assert_eq!(failure.message, expected, "{:.40}", body);
        }
    }

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        let text = format!(r#"{{"a": "\"{}"}}"#, "[".repeat(100));
        assert_eq!(object(text.as_bytes()).unwrap().len(), 1);
    }
}
