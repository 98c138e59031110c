//! Objects of a schema that name their properties and do not say whether there may be others get none.
//!
//! By the standard others are allowed. Whoever sends such a schema (pydantic writes them so)
//! expects the properties that it names, and small models go on with others until their tokens are
//! used up. What is written is still valid by the schema. Where closing an object could make a
//! schema mean something else, all of it stays as it is.

use serde_json::{Map, Value};

/// Words by which schemas are combined: what one part allows, another may need.
const COMBINING: [&str; 8] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "dependentSchemas",
    "dependencies",
    "unevaluatedProperties",
    "$dynamicRef",
];

/// Beside these words an object stays open: they speak of properties that it does not name.
const OPENING: [&str; 7] = [
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "anyOf",
    "$ref",
    "dependentRequired",
];

/// Closes the objects of a schema of bounded depth.
pub(super) fn close(schema: &mut Value) {
    if !is_combined(schema) {
        close_objects(schema);
    }
}

/// Schemas inside a schema: those of keywords, never names of properties or values.
fn inner(schema: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    schema
        .iter()
        .flat_map(|(key, value)| match (key.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(named),
            ) => named.values().collect(),
            ("anyOf" | "prefixItems" | "items", Value::Array(list)) => list.iter().collect(),
            ("items" | "additionalProperties" | "contains", value) => vec![value],
            _ => Vec::new(),
        })
}

fn is_combined(schema: &Value) -> bool {
    let Some(fields) = schema.as_object() else {
        return false;
    };
    let has = |key: &&str| fields.contains_key(*key);
    let has_own = ["properties", "required"].iter().any(has);
    // Its properties and those of what it refers to, or of each alternative, hold together.
    let is_joined = has_own && ["$ref", "anyOf"].iter().any(has);
    is_joined || COMBINING.iter().any(has) || inner(fields).any(is_combined)
}

fn close_objects(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    if is_to_be_closed(fields) {
        fields.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in fields {
        match (key.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(named),
            ) => {
                named.values_mut().for_each(close_objects);
            }
            ("anyOf" | "prefixItems" | "items", Value::Array(list)) => {
                list.iter_mut().for_each(close_objects);
            }
            ("items" | "additionalProperties" | "contains", value) => close_objects(value),
            _ => {}
        }
    }
}

fn is_to_be_closed(fields: &Map<String, Value>) -> bool {
    let Some(named) = fields.get("properties").and_then(Value::as_object) else {
        return false;
    };
    let required = fields.get("required").and_then(Value::as_array);
    let mut required = required.into_iter().flatten();
    // An object that names nothing is free.
    !named.is_empty()
        && !OPENING.iter().any(|key| fields.contains_key(*key))
        && required.all(|name| name.as_str().is_some_and(|name| named.contains_key(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn closed(mut schema: Value) -> Value {
        close(&mut schema);
        schema
    }

    #[test]
    fn objects_that_name_their_properties_are_closed_at_every_depth() {
        let inner = json!({"type": "object", "properties": {"b": {"type": "integer"}}});
        let schema = json!({"properties": {"a": {"type": "array", "items": inner}, "c": {"$ref": "#/$defs/d"},
            "e": {"anyOf": [inner, {"type": "null"}]}}, "required": ["a"], "$defs": {"d": inner}});
        let got = closed(schema);
        let no = json!(false);
        assert_eq!(got["additionalProperties"], no);
        for place in ["/properties/a/items", "/properties/e/anyOf/0", "/$defs/d"] {
            assert_eq!(
                got.pointer(place).unwrap()["additionalProperties"],
                no,
                "{place}"
            );
        }
        assert!(got["properties"]["c"].get("additionalProperties").is_none());
    }

    #[test]
    fn what_says_something_of_other_properties_or_names_none_stays_open() {
        for schema in [
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}}),
            json!({"properties": {"a": {}}, "additionalProperties": true}),
            json!({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}),
            json!({"properties": {"a": {}}, "patternProperties": {"^x": {}}}),
            json!({"properties": {"a": {}}, "minProperties": 2}),
            json!({"properties": {"a": {}}, "required": ["b"]}),
            json!({"enum": [{"properties": {"a": {}}}]}),
        ] {
            assert_eq!(closed(schema.clone()), schema);
        }
    }

    #[test]
    fn schemas_that_are_combined_stay_as_they_are() {
        let a = json!({"properties": {"a": {}}});
        for schema in [
            json!({"allOf": [a, {"properties": {"b": {}}}]}),
            json!({"oneOf": [a, {"properties": {"b": {}}}]}),
            json!({"properties": {"x": {"not": a}}}),
            json!({"$ref": "#/$defs/a", "properties": {"b": {}}, "$defs": {"a": a}}),
            json!({"properties": {"c": {}}, "anyOf": [a, {"properties": {"b": {}}}]}),
            json!({"anyOf": [a, a], "required": ["b"]}),
            json!({"if": a, "then": {"properties": {"b": {}}}, "properties": {"a": {}, "b": {}}}),
        ] {
            assert_eq!(closed(schema.clone()), schema);
        }
    }

    #[test]
    fn properties_that_are_called_as_words_of_schemas_are_properties() {
        let got =
            closed(json!({"properties": {"not": {"type": "string"}, "if": {"type": "string"}}}));
        assert_eq!(got["additionalProperties"], false);
    }
}
