//! `GET /openapi.json`: the routes, what they take and what they answer, for programs that make clients.
//!
//! The schemas stand in JSON files beside this one, a file for each API; here is which route has which.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::routes::ROUTES;

/// Schemas by name, of all APIs and of each.
const SCHEMAS: [&str; 4] = [
    include_str!("common.json"),
    include_str!("openai.json"),
    include_str!("anthropic.json"),
    include_str!("ollama.json"),
];

/// Names of the schemas of a route.
struct Bodies {
    request: Option<&'static str>,
    answer: &'static str,
    /// Media type and schema of the pieces of a stream, where the answer can be one.
    stream: Option<(&'static str, &'static str)>,
}

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// What a route takes and answers; none where that is no JSON.
fn bodies(path: &str) -> Option<Bodies> {
    let get = |answer| Bodies {
        request: None,
        answer,
        stream: None,
    };
    let post = |request, answer| Bodies {
        request: Some(request),
        ..get(answer)
    };
    let streamed = |request, answer, stream| Bodies {
        stream: Some(stream),
        ..post(request, answer)
    };
    Some(match path {
        "/livez" | "/readyz" | "/health" => get("Health"),
        "/props" => get("Properties"),
        "/tokenize" => post("TokenizeRequest", "Tokens"),
        "/detokenize" => post("DetokenizeRequest", "Text"),
        "/apply-template" => post("TemplateRequest", "RenderedPrompt"),
        "/v1/models" => get("Models"),
        "/v1/models/{model}" => get("Model"),
        "/v1/chat/completions" => streamed("ChatRequest", "ChatAnswer", (EVENTS, "ChatChunk")),
        "/v1/chat/completions/input_tokens" => post("ChatRequest", "InputTokens"),
        "/v1/completions" => streamed(
            "CompletionRequest",
            "CompletionAnswer",
            (EVENTS, "CompletionChunk"),
        ),
        "/v1/responses" => streamed(
            "ResponseRequest",
            "ResponseAnswer",
            (EVENTS, "ResponseEvent"),
        ),
        "/v1/responses/input_tokens" => post("ResponseRequest", "InputTokens"),
        "/v1/messages" => streamed("MessageRequest", "MessageAnswer", (EVENTS, "MessageEvent")),
        "/v1/messages/count_tokens" => post("MessageRequest", "MessageTokens"),
        "/api/version" => get("OllamaVersion"),
        "/api/tags" | "/api/ps" => get("OllamaModels"),
        "/api/show" => post("OllamaShowRequest", "OllamaModelInfo"),
        "/api/chat" => streamed(
            "OllamaChatRequest",
            "OllamaChatAnswer",
            (LINES, "OllamaChatAnswer"),
        ),
        "/api/generate" => streamed(
            "OllamaGenerateRequest",
            "OllamaGenerateAnswer",
            (LINES, "OllamaGenerateAnswer"),
        ),
        _ => return None,
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schema of a route's errors: each API has its own shape.
fn error_of(path: &str) -> &'static str {
    match path {
        _ if path.starts_with("/api/") => "OllamaError",
        _ if path.starts_with("/v1/messages") => "AnthropicError",
        _ => "Error",
    }
}

fn operation(method: &str, path: &str, summary: &str) -> Value {
    let json_of = |name: &str| json!({"application/json": {"schema": reference(name)}});
    let mut operation = json!({
        "operationId": operation_id(method, path),
        "summary": summary,
        "responses": {
            "200": {"description": "the answer"},
            "default": {"description": "an error", "content": json_of(error_of(path))},
        },
    });
    if let Some(bodies) = bodies(path) {
        let mut content = json_of(bodies.answer);
        if let Some((media_type, name)) = bodies.stream {
            content[media_type] = json!({"schema": reference(name)});
        }
        operation["responses"]["200"]["content"] = content;
        if let Some(request) = bodies.request {
            operation["requestBody"] = json!({"required": true, "content": json_of(request)});
        }
    }
    let names = path.split('{').skip(1);
    let names = names.filter_map(|rest| rest.split('}').next());
    let parameters: Vec<Value> = names
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    operation
}

/// A name that generated clients can call: `post_v1_chat_completions`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let method = method.to_ascii_lowercase();
    std::iter::once(method.as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn schemas() -> Map<String, Value> {
    let parse = |text: &&str| serde_json::from_str::<Map<String, Value>>(text);
    SCHEMAS
        .iter()
        .filter_map(|text| parse(text).ok())
        .flatten()
        .collect()
}

/// The description of all routes.
pub(crate) fn page() -> Response {
    Json(description()).into_response()
}

fn description() -> Value {
    let mut paths = Map::new();
    for (method, path, summary) in ROUTES {
        let entry = paths.entry(*path).or_insert_with(|| json!({}));
        entry[method.to_ascii_lowercase()] = operation(method, path, summary);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ocelli",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI, Ollama and Anthropic APIs for vision-language models on this machine.",
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
        "security": [{}, {"key": []}],
        "paths": paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` below a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                let target = object.get("$ref").and_then(Value::as_str);
                found.extend(target.map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn each_file_of_schemas_can_be_read_and_names_are_unique() {
        let mut names = Vec::new();
        for text in SCHEMAS {
            let schemas: Map<String, Value> = serde_json::from_str(text).unwrap();
            names.extend(schemas.keys().cloned());
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(schemas().len(), count);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let description = description();
        let mut found = Vec::new();
        references(&description, &mut found);
        for target in &found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(description.pointer(pointer).is_some(), "{target}");
        }
        for name in schemas().keys() {
            let target = format!("#/components/schemas/{name}");
            assert!(found.contains(&target), "{name} is never used");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let ids = ROUTES
            .iter()
            .map(|(method, path, _)| operation_id(method, path));
        let mut ids: Vec<String> = ids.collect();
        assert!(ids.contains(&"post_v1_chat_completions".to_owned()));
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
