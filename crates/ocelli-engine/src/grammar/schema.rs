//! What can be seen of a JSON schema before it is compiled: its size, and what can never be enforced or
//! satisfied.

use serde_json::{Map, Value};

use super::source::{DEPTH, GRAMMAR_BYTES};
use crate::Error;

const ENUM: usize = 4096;
const PROPERTIES: usize = 2000;
const COUNT: u64 = 10_000;

/// Counts that bound how large a compiled schema gets.
const COUNTS: [&str; 6] = [
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
];

/// Checks a schema in time linear in its size.
pub(super) fn check(schema: &Value) -> Result<(), Error> {
    if !schema.is_object() {
        return wrong("schema must be an object");
    }
    let mut left = GRAMMAR_BYTES;
    let mut open = vec![(schema, 0_usize)];
    let mut properties = 0;
    while let Some((value, depth)) = open.pop() {
        if depth > DEPTH {
            return wrong(format!("schema is nested deeper than {DEPTH}"));
        }
        let size = match value {
            Value::String(text) => text.len() + 2,
            Value::Object(fields) => fields.keys().map(|key| key.len() + 4).sum::<usize>() + 2,
            Value::Array(items) => items.len() + 2,
            _ => 4,
        };
        if size > left {
            return wrong(format!("schema has more than {GRAMMAR_BYTES} bytes"));
        }
        left -= size;
        match value {
            Value::Object(fields) => {
                check_fields(fields, &mut properties)?;
                open.extend(fields.values().map(|field| (field, depth + 1)));
            }
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            _ => {}
        }
    }
    Ok(())
}

fn check_fields(fields: &Map<String, Value>, properties: &mut usize) -> Result<(), Error> {
    if let Some(Value::Array(values)) = fields.get("enum") {
        if values.len() > ENUM {
            return wrong(format!("enum has {} values, limit {ENUM}", values.len()));
        }
        if values.is_empty() {
            return wrong("schema can never be satisfied: enum is empty");
        }
    }
    if let Some(Value::Object(named)) = fields.get("properties") {
        *properties += named.len();
        if *properties > PROPERTIES {
            return wrong(format!("schema has more than {PROPERTIES} properties"));
        }
    }
    for name in COUNTS {
        let count = fields.get(name).and_then(Value::as_u64);
        if let Some(count) = count.filter(|count| *count > COUNT) {
            return wrong(format!("{name} {count} exceeds {COUNT}"));
        }
    }
    for name in ["anyOf", "oneOf"] {
        if fields
            .get(name)
            .is_some_and(|v| v.as_array().is_some_and(Vec::is_empty))
        {
            return wrong(format!("schema can never be satisfied: {name} is empty"));
        }
    }
    if let Some(Value::String(reference)) = fields.get("$ref")
        && !reference.starts_with('#')
    {
        return wrong("$ref must begin with #: other documents are not fetched");
    }
    Ok(())
}

fn wrong(what: impl Into<String>) -> Result<(), Error> {
    Err(Error::Grammar(what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(schema: &Value) -> String {
        check(schema).unwrap_err().to_string()
    }

    #[test]
    fn each_bound_is_named_with_what_was_found() {
        let values: Vec<u32> = (0..100_000).collect();
        let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
        let many: Map<String, Value> = (0..2001).map(|i| (i.to_string(), json!({}))).collect();
        for (schema, expected) in [
            (json!(5), "schema must be an object"),
            (json!([]), "schema must be an object"),
            (
                json!({"enum": values}),
                "enum has 100000 values, limit 4096",
            ),
            (
                json!({"minItems": 1_000_000_000}),
                "minItems 1000000000 exceeds 10000",
            ),
            (
                json!({"maxLength": 1_000_000_000}),
                "maxLength 1000000000 exceeds 10000",
            ),
            (json!({"anyOf": []}), "can never be satisfied"),
            (json!({"$ref": "http://example.org/x"}), "not fetched"),
            (deep, "nested deeper than 64"),
            (json!({"properties": many}), "more than 2000 properties"),
            (
                json!({"description": "x".repeat(300_000)}),
                "more than 262144 bytes",
            ),
        ] {
            assert!(problem(&schema).contains(expected), "{}", problem(&schema));
        }
    }

    #[test]
    fn an_ordinary_schema_passes() {
        let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"enum": [1, 2]}}});
        assert!(check(&schema).is_ok());
    }
}
