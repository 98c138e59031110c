//! The grammar of an answer that must call tools.

use ocelli_text::{TokenKind, Tokenizer};
use serde_json::{Value, json};

use crate::Error;

/// The JSON of one call of any of the tools.
pub(super) fn schema(tools: &[Value]) -> Result<Value, Error> {
    let call = |(index, tool): (usize, &Value)| {
        let function = tool.get("function").unwrap_or(tool);
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let Some(name) = name else {
            let what = format!("tools[{index}] has no name");
            return Err(Error::Grammar(what));
        };
        let mut arguments = match &function["parameters"] {
            Value::Null => json!({"type": "object"}),
            schema => schema.clone(),
        };
        let place = match tools.len() {
            1 => "#/properties/arguments".to_owned(),
            _ => format!("#/anyOf/{index}/properties/arguments"),
        };
        move_references(&mut arguments, &place);
        Ok(json!({
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        }))
    };
    let mut calls = tools
        .iter()
        .enumerate()
        .map(call)
        .collect::<Result<Vec<_>, _>>()?;
    match calls.len() {
        0 => Err(Error::Grammar(
            "tools is empty, need at least one".to_owned(),
        )),
        1 => Ok(calls.remove(0)),
        _ => Ok(json!({"anyOf": calls})),
    }
}

/// Lets references inside a schema (`#/$defs/a`) point to where it stands now.
fn move_references(schema: &mut Value, place: &str) {
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get_mut("$ref")
                    && let Some(rest) = reference.strip_prefix('#')
                {
                    *reference = format!("{place}{rest}");
                }
                let is_schema =
                    |key: &str| !matches!(key, "enum" | "const" | "default" | "examples");
                let inner = fields.iter_mut().filter(|(key, _)| is_schema(key));
                open.extend(inner.map(|(_, value)| value));
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

/// One or more calls in their marks. Marks that are control tokens are named, others written.
pub(super) fn lark(tokenizer: &Tokenizer, schema: &Value) -> String {
    let mark = |text: &str| {
        let id = tokenizer.token_id(text);
        match id.and_then(|id| tokenizer.kind(id)) {
            Some(TokenKind::Control) => text.to_owned(),
            _ => format!("\"{text}\""),
        }
    };
    let (open, close) = (mark("<tool_call>"), mark("</tool_call>"));
    format!(
        "start: call (\"\\n\" call)*\ncall: {open} \"\\n\" body \"\\n\" {close}\nbody: %json {schema}\n"
    )
}
