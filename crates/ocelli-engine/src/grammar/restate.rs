//! Says in the compiler's words what a schema says in others. What is restated allows the same values
//! or fewer, never more. Numbers are in `bounds.rs`.

use serde_json::{Map, Value, json};

use super::bounds::{check_numbers, restate_bounds};

/// Days that there are, months of 31 days first; the compiler's own `date` has the 29th of every February.
const DATE: &str = "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)\
    |02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
/// Times of day without the 60th second, which most programs refuse, and fractions that end.
const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
/// Keywords whose value is a list, or a map by names, of schemas; or a schema.
const LISTS: [&str; 5] = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
const MAPS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
const SINGLE: [&str; 4] = ["items", "additionalItems", "additionalProperties", "not"];

pub(super) type Fields = Map<String, Value>;

/// Restates a schema of bounded depth.
///
/// # Errors
/// When a number in it could only be enforced roughly.
pub(super) fn restate(schema: &mut Value) -> Result<(), String> {
    let Some(fields) = schema.as_object_mut() else {
        return Ok(());
    };
    allow_null(fields);
    drop_unique_items(fields);
    restate_names(fields);
    restate_reference(fields);
    restate_dates(fields);
    drop_lookaround(fields);
    restate_bounds(fields)?;
    for value in ["const", "enum"].iter().filter_map(|key| fields.get(*key)) {
        check_numbers(value)?;
    }
    for (key, value) in fields {
        match value {
            Value::Array(list) if LISTS.contains(&key.as_str()) => {
                list.iter_mut().try_for_each(restate)?;
            }
            Value::Object(named) if MAPS.contains(&key.as_str()) => {
                named.values_mut().try_for_each(restate)?;
            }
            value if SINGLE.contains(&key.as_str()) => restate(value)?,
            _ => {}
        }
    }
    Ok(())
}

/// OpenAPI's `nullable`.
fn allow_null(fields: &mut Fields) {
    if fields.remove("nullable") == Some(Value::Bool(true))
        && let Some(Value::String(kind)) = fields.get("type")
        && kind != "null"
    {
        let kinds = json!([kind, "null"]);
        fields.insert("type".to_owned(), kinds);
    }
}

fn drop_unique_items(fields: &mut Fields) {
    let at_most_one = fields.get("maxItems").and_then(Value::as_u64) <= Some(1)
        && fields.contains_key("maxItems");
    let asks = fields.get("uniqueItems").and_then(Value::as_bool);
    if asks == Some(false) || (asks == Some(true) && at_most_one) {
        fields.remove("uniqueItems");
    }
}

/// `propertyNames` of maps: any name, names of a pattern, or names of a list.
fn restate_names(fields: &mut Fields) {
    let Some(names) = fields.get("propertyNames") else {
        return;
    };
    let says = |key: &str| {
        names
            .as_object()
            .is_some_and(|names| names.contains_key(key))
    };
    let only = |key: &str| {
        let known = |name: &String| name == key || name == "type" || name == "title";
        let is_text = names.get("type").is_none_or(|kind| kind == "string");
        is_text
            && names
                .as_object()
                .is_some_and(|names| names.keys().all(known))
    };
    if names == &Value::Bool(true) || only("type") {
        fields.remove("propertyNames");
        return;
    }
    let is_map = !fields.contains_key("properties") && !fields.contains_key("patternProperties");
    let value = fields
        .get("additionalProperties")
        .unwrap_or(&Value::Bool(true))
        .clone();
    let (key, named) = match (names.get("pattern"), names.get("enum")) {
        (Some(Value::String(pattern)), _) if is_map && only("pattern") => {
            ("patternProperties", json!({pattern: value}))
        }
        (None, Some(Value::Array(list))) if is_map && says("enum") && only("enum") => {
            let texts = list.iter().filter_map(Value::as_str);
            let named: Fields = texts.map(|name| (name.to_owned(), value.clone())).collect();
            ("properties", Value::Object(named))
        }
        _ => return,
    };
    fields.remove("propertyNames");
    fields.insert(key.to_owned(), named);
    fields.insert("additionalProperties".to_owned(), Value::Bool(false));
}

/// Names in references are written with escapes, which the compiler takes as they stand.
fn restate_reference(fields: &mut Fields) {
    if let Some(Value::String(reference)) = fields.get_mut("$ref")
        && reference.contains(['%', '~'])
    {
        let parts: Vec<String> = reference.split('/').map(unescaped).collect();
        // A name with a slash in it would be read as two.
        if !parts.iter().any(|part| part.contains('/')) {
            *reference = parts.join("/");
        }
    }
}

/// Undoes `%20` and the like, then `~1` and `~0`.
fn unescaped(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits
            .filter(|two| *first == b'%' && two.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .map(|two| u8::from_str_radix(two, 16));
        match byte {
            Some(Ok(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let text = String::from_utf8(bytes).unwrap_or_else(|_| part.to_owned());
    text.replace("~1", "/").replace("~0", "~")
}

fn restate_dates(fields: &mut Fields) {
    let pattern = match fields.get("format").and_then(Value::as_str) {
        Some("date") => format!("^{DATE}$"),
        Some("time") => format!("^{TIME}$"),
        Some("date-time") => format!("^{DATE}T{TIME}$"),
        _ => return,
    };
    if !fields.contains_key("pattern") {
        fields.remove("format");
        fields.insert("pattern".to_owned(), Value::String(pattern));
    }
}

/// Of alternatives, those whose pattern looks around can be left out: the others say the same in
/// another type (pydantic's `Decimal` is a number or such a text).
fn drop_lookaround(fields: &mut Fields) {
    let looks_around = |schema: &Value| {
        let pattern = schema.get("pattern").and_then(Value::as_str);
        pattern.is_some_and(|text| {
            ["(?=", "(?!", "(?<=", "(?<!"]
                .iter()
                .any(|it| text.contains(it))
        })
    };
    if let Some(Value::Array(list)) = fields.get_mut("anyOf")
        && !list.iter().all(looks_around)
    {
        list.retain(|schema| !looks_around(schema));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restated(mut schema: Value) -> Value {
        restate(&mut schema).unwrap();
        schema
    }

    #[test]
    fn words_of_other_dialects_become_those_of_the_compiler() {
        for (schema, expected) in [
            (
                json!({"type": "string", "nullable": true}),
                json!({"type": ["string", "null"]}),
            ),
            (
                json!({"type": "string", "nullable": false}),
                json!({"type": "string"}),
            ),
            (json!({"uniqueItems": false}), json!({})),
            (
                json!({"uniqueItems": true, "maxItems": 1}),
                json!({"maxItems": 1}),
            ),
            (json!({"uniqueItems": true}), json!({"uniqueItems": true})),
            (
                json!({"propertyNames": {"type": "string"}, "additionalProperties": {}}),
                json!({"additionalProperties": {}}),
            ),
            (
                json!({"propertyNames": {"pattern": "^a"}, "additionalProperties": {"type": "null"}}),
                json!({"patternProperties": {"^a": {"type": "null"}}, "additionalProperties": false}),
            ),
            (
                json!({"propertyNames": {"enum": ["a"]}}),
                json!({"properties": {"a": true}, "additionalProperties": false}),
            ),
            (
                json!({"propertyNames": {"maxLength": 3}}),
                json!({"propertyNames": {"maxLength": 3}}),
            ),
            (
                json!({"$ref": "#/$defs/a%20b~0c"}),
                json!({"$ref": "#/$defs/a b~c"}),
            ),
            (
                json!({"$ref": "#/$defs/100%+5%"}),
                json!({"$ref": "#/$defs/100%+5%"}),
            ),
            (
                json!({"$ref": "#/$defs/a~1b"}),
                json!({"$ref": "#/$defs/a~1b"}),
            ),
            (
                json!({"anyOf": [{"type": "number"}, {"pattern": "^(?!x)"}]}),
                json!({"anyOf": [{"type": "number"}]}),
            ),
            (
                json!({"anyOf": [{"pattern": "^(?!x)"}]}),
                json!({"anyOf": [{"pattern": "^(?!x)"}]}),
            ),
            (
                json!({"properties": {"nullable": {"nullable": true, "type": "null"}}, "const": {"nullable": true}}),
                json!({"properties": {"nullable": {"type": "null"}}, "const": {"nullable": true}}),
            ),
        ] {
            assert_eq!(restated(schema.clone()), expected, "{schema}");
        }
    }
}
