//! `GET /openapi.json`: the routes and their fields, for programs that make clients.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::routes::ROUTES;

/// Fields of a request: name, type, whether it is needed.
type Fields = &'static [(&'static str, &'static str, bool)];

const SAMPLING: Fields = &[
    ("temperature", "number", false),
    ("top_p", "number", false),
    ("top_k", "integer", false),
    ("min_p", "number", false),
    ("repeat_penalty", "number", false),
    ("presence_penalty", "number", false),
    ("frequency_penalty", "number", false),
    ("seed", "integer", false),
    ("stream", "boolean", false),
];

const CHAT: Fields = &[
    ("model", "string", false),
    ("messages", "array", true),
    ("max_completion_tokens", "integer", false),
    ("max_tokens", "integer", false),
    ("stop", "array", false),
    ("n", "integer", false),
    ("stream_options", "object", false),
    ("tools", "array", false),
    ("detail", "string", false),
    ("min_pixels", "integer", false),
    ("max_pixels", "integer", false),
    ("max_image_tokens", "integer", false),
    ("cache_salt", "string", false),
    ("progress", "boolean", false),
];

const COMPLETION: Fields = &[
    ("model", "string", false),
    ("prompt", "string", true),
    ("max_tokens", "integer", false),
    ("stop", "array", false),
    ("n", "integer", false),
    ("echo", "boolean", false),
];

const RESPONSE: Fields = &[
    ("model", "string", false),
    ("input", "array", true),
    ("instructions", "string", false),
    ("max_output_tokens", "integer", false),
    ("tools", "array", false),
];

const MESSAGE: Fields = &[
    ("model", "string", true),
    ("messages", "array", true),
    ("system", "string", false),
    ("max_tokens", "integer", false),
    ("stop_sequences", "array", false),
    ("tools", "array", false),
];

const OLLAMA_CHAT: Fields = &[
    ("model", "string", true),
    ("messages", "array", true),
    ("stream", "boolean", false),
    ("options", "object", false),
    ("keep_alive", "string", false),
    ("tools", "array", false),
    ("think", "boolean", false),
];

const OLLAMA_GENERATE: Fields = &[
    ("model", "string", true),
    ("prompt", "string", false),
    ("images", "array", false),
    ("system", "string", false),
    ("raw", "boolean", false),
    ("stream", "boolean", false),
    ("options", "object", false),
    ("keep_alive", "string", false),
];

const SHOW: Fields = &[("model", "string", true)];

const TOKENIZE: Fields = &[
    ("content", "string", true),
    ("with_pieces", "boolean", false),
];

const DETOKENIZE: Fields = &[("tokens", "array", true)];

const TEMPLATE: Fields = &[("messages", "array", true), ("tools", "array", false)];

/// Fields of each route that has some of its own, and whether it samples.
fn fields(path: &str) -> Option<(Fields, bool)> {
    Some(match path {
        "/v1/chat/completions" => (CHAT, true),
        "/v1/chat/completions/input_tokens" => (CHAT, true),
        "/v1/completions" => (COMPLETION, true),
        "/v1/responses" => (RESPONSE, true),
        "/v1/messages" => (MESSAGE, true),
        "/v1/messages/count_tokens" => (MESSAGE, true),
        "/api/chat" => (OLLAMA_CHAT, false),
        "/api/generate" => (OLLAMA_GENERATE, false),
        "/api/show" => (SHOW, false),
        "/tokenize" => (TOKENIZE, false),
        "/detokenize" => (DETOKENIZE, false),
        "/apply-template" => (TEMPLATE, false),
        _ => return None,
    })
}

fn body(path: &str) -> Option<Value> {
    let (own, samples) = fields(path)?;
    let sampling = if samples { SAMPLING } else { &[] };
    let mut properties = Map::new();
    for (name, kind, _) in own.iter().chain(sampling) {
        let schema = match *kind {
            "array" => json!({"type": "array", "items": {}}),
            kind => json!({"type": kind}),
        };
        properties.insert((*name).to_owned(), schema);
    }
    let needed: Vec<&str> = own
        .iter()
        .filter(|field| field.2)
        .map(|field| field.0)
        .collect();
    let schema = json!({"type": "object", "properties": properties, "required": needed});
    Some(json!({"required": true, "content": {"application/json": {"schema": schema}}}))
}

/// The description of all routes.
pub(crate) fn page() -> Response {
    let mut paths = Map::new();
    for (method, path, summary) in ROUTES {
        let mut operation = json!({
            "summary": summary,
            "responses": {"200": {"description": "the answer"}, "default": {"description": "an error"}},
        });
        if let Some(body) = body(path) {
            operation["requestBody"] = body;
        }
        let parameters: Vec<Value> = path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
            .map(|name| {
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            })
            .collect();
        if !parameters.is_empty() {
            operation["parameters"] = json!(parameters);
        }
        let entry = paths.entry(*path).or_insert_with(|| json!({}));
        entry[method.to_ascii_lowercase()] = operation;
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ocelli",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI, Ollama and Anthropic APIs for vision-language models on this machine.",
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
        "paths": paths,
    }))
    .into_response()
}
