//! What `/openapi.json` says of requests and answers is what the server takes and gives.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{Server, scene, text_chat};

/// A description, and what was found to differ from it.
struct Described {
    document: Value,
}

impl Described {
    fn of(server: &Server) -> Self {
        let document = server.get("/openapi.json").ok();
        Self { document }
    }

    fn schema(&self, name: &str) -> &Value {
        let schema = &self.document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is not described");
        schema
    }

    /// What an operation's answer is described as.
    fn answer(&self, (method, path): (&str, &str), media_type: &str) -> &Value {
        let answer = &self.document["paths"][path][method]["responses"]["200"];
        &answer["content"][media_type]["schema"]
    }

    /// Where a value is not as a schema says. Fields that are not described count too, unless any
    /// are allowed.
    fn differs(&self, value: &Value, schema: &Value, place: &str) -> Option<String> {
        if let Some(target) = schema["$ref"].as_str() {
            let name = target.rsplit('/').next().unwrap();
            return self.differs(value, self.schema(name), place);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let all: Option<Vec<String>> = choices
                .iter()
                .map(|choice| self.differs(value, choice, place))
                .collect();
            return all.map(|all| all.join(" or "));
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        if !kinds.iter().any(|kind| is_a(value, kind)) {
            return Some(format!("{place} is {value:.60}, not {kinds:?}"));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            return Some(format!("{place} is {value}, not of {values:?}"));
        }
        match value {
            Value::Array(list) if schema["items"].is_object() => {
                list.iter().enumerate().find_map(|(i, item)| {
                    self.differs(item, &schema["items"], &format!("{place}[{i}]"))
                })
            }
            Value::Object(object) => self.object_differs(object, schema, place),
            _ => None,
        }
    }

    fn object_differs(
        &self,
        object: &serde_json::Map<String, Value>,
        schema: &Value,
        place: &str,
    ) -> Option<String> {
        let needed = schema["required"].as_array().into_iter().flatten();
        for key in needed.filter_map(Value::as_str) {
            if !object.contains_key(key) {
                return Some(format!("{place}.{key} is missing"));
            }
        }
        let properties = schema["properties"].as_object()?;
        object.iter().find_map(|(key, value)| {
            let place = format!("{place}.{key}");
            match properties.get(key) {
                Some(schema) => self.differs(value, schema, &place),
                None => Some(format!("{place} is not described")),
            }
        })
    }

    #[track_caller]
    fn check(&self, value: &Value, schema: &Value) {
        let difference = self.differs(value, schema, "answer");
        assert_eq!(difference, None, "{value}");
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{kind} is no type"),
    }
}

/// A request for each operation that answers, with a picture where there may be one.
fn requests() -> Vec<(&'static str, Value)> {
    let url = format!("data:image/png;base64,{}", scene());
    let model = "ocelli-demo";
    let text = json!({"type": "text", "text": "What is it?"});
    let image = json!({"type": "image_url", "image_url": {"url": url}});
    let tool =
        json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}});
    let chat = json!({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": [text, image]}]});
    let with = |more: Value| {
        let mut request = chat.clone();
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        request
    };
    let source = json!({"type": "base64", "media_type": "image/png", "data": scene()});
    vec![
        ("/v1/chat/completions", chat.clone()),
        (
            "/v1/chat/completions",
            with(json!({"logprobs": true, "top_logprobs": 2, "n": 2, "unknown": 1})),
        ),
        (
            "/v1/chat/completions",
            with(json!({"tools": [tool], "tool_choice": "required", "max_tokens": 60})),
        ),
        ("/v1/chat/completions/input_tokens", chat.clone()),
        (
            "/v1/completions",
            json!({"prompt": "One two", "max_tokens": 4, "logprobs": 2}),
        ),
        (
            "/v1/responses",
            json!({"model": model, "max_output_tokens": 4, "input": [{"role": "user", "content": [
                {"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": url}]}]}),
        ),
        (
            "/v1/responses/input_tokens",
            json!({"model": model, "input": "Hello"}),
        ),
        (
            "/v1/messages",
            json!({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": [
                {"type": "image", "source": source}, text]}]}),
        ),
        (
            "/v1/messages/count_tokens",
            json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]}),
        ),
        (
            "/api/chat",
            json!({"model": model, "stream": false, "options": {"num_predict": 4},
                "messages": [{"role": "user", "content": "What is it?", "images": [scene()]}]}),
        ),
        (
            "/api/generate",
            json!({"model": model, "stream": false, "options": {"num_predict": 4}, "prompt": "Hello"}),
        ),
    ]
}

/// The same for operations that only tell something.
fn questions() -> Vec<(&'static str, Value)> {
    vec![
        ("/api/show", json!({"model": "ocelli-demo"})),
        ("/tokenize", json!({"content": "Hello"})),
        (
            "/tokenize",
            json!({"content": "Hello", "with_pieces": true}),
        ),
        ("/detokenize", json!({"tokens": [1, 2, 3]})),
        (
            "/apply-template",
            json!({"messages": [{"role": "user", "content": "Hello"}]}),
        ),
    ]
}

#[test]
fn requests_and_answers_are_as_they_are_described() {
    let server = Server::start();
    let described = Described::of(&server);
    let mut asked = BTreeSet::new();
    for (path, request) in requests().into_iter().chain(questions()) {
        let operation = &described.document["paths"][path]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let mut plain = request.clone();
        plain.as_object_mut().unwrap().remove("unknown");
        described.check(&plain, schema);
        let answer = server.post(path, &request).ok();
        described.check(
            &answer,
            described.answer(("post", path), "application/json"),
        );
        asked.insert(path);
    }
    for (method, path, _) in ocelli_server::ROUTES {
        let described_as = described.answer(("get", path), "application/json");
        if *method == "GET" && described_as.is_object() {
            let answer = server.get(&path.replace("{model}", "ocelli-demo")).ok();
            described.check(&answer, described_as);
        }
        let is_described = described.document["paths"][path]["post"]["requestBody"].is_object();
        assert_eq!(is_described, asked.contains(path), "{path}");
    }
}

#[test]
fn pieces_of_streams_are_as_they_are_described() {
    let server = Server::start();
    let described = Described::of(&server);
    for (path, mut request) in requests() {
        let events = described.answer(("post", path), "text/event-stream");
        let lines = described.answer(("post", path), "application/x-ndjson");
        request["stream"] = json!(true);
        if events.is_object() {
            let reply = server.post(path, &request);
            assert_eq!(reply.status, 200, "{}", reply.text());
            let pieces = reply.events();
            assert!(pieces.len() > 1, "{path}");
            for (_, data) in pieces.iter().filter(|(_, data)| *data != "[DONE]") {
                described.check(data, events);
            }
        } else if lines.is_object() {
            let text = server.post(path, &request).text();
            for line in text.lines() {
                described.check(&serde_json::from_str(line).unwrap(), lines);
            }
        }
    }
}

#[test]
fn errors_are_as_they_are_described() {
    let server = Server::start();
    let described = Described::of(&server);
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let reply = server.post(path, &json!({"messages": 5}));
        assert_eq!(reply.status, 400);
        let error = &described.document["paths"][path]["post"]["responses"]["default"];
        described.check(
            &reply.json(),
            &error["content"]["application/json"]["schema"],
        );
    }
}

#[test]
fn every_described_field_of_a_request_is_known_to_the_server() {
    let server = Server::start();
    let described = Described::of(&server);
    let mut seen = BTreeSet::new();
    for (path, request) in requests() {
        if path.contains("token") {
            // These have no warnings.
            continue;
        }
        if !seen.insert(path) {
            continue;
        }
        let operation = &described.document["paths"][path]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let mut request = request.clone();
        // A field that is null counts as absent, but not as unknown.
        for key in described.schema(name)["properties"]
            .as_object()
            .unwrap()
            .keys()
        {
            if request.get(key).is_none() {
                request[key] = Value::Null;
            }
        }
        let answer = match path.starts_with("/api/") {
            true => {
                for key in described.schema("OllamaOptions")["properties"]
                    .as_object()
                    .unwrap()
                    .keys()
                {
                    if request["options"].get(key).is_none() {
                        request["options"][key] = Value::Null;
                    }
                }
                request["stream"] = json!(false);
                server.post(path, &request).ok()
            }
            false => server.post(path, &request).ok(),
        };
        assert_eq!(answer["warnings"], Value::Null, "{path}");
    }
}

#[test]
fn a_strict_server_refuses_what_it_does_not_know() {
    let server = Server::with(|setup| {
        setup.settings.unknown_fields = ocelli_server::UnknownFields::Refused;
    });
    server
        .post("/v1/chat/completions", &text_chat("Hello"))
        .ok();
    let message = json!([{"role": "user", "content": "Hello"}]);
    for (path, request, expected) in [
        (
            "/v1/chat/completions",
            json!({"messages": message, "temprature": 0}),
            "unknown field 'temprature'",
        ),
        (
            "/v1/completions",
            json!({"prompt": "Hello", "temprature": 0}),
            "unknown field 'temprature'",
        ),
        (
            "/v1/responses",
            json!({"input": "Hello", "temprature": 0}),
            "unknown field 'temprature'",
        ),
        (
            "/v1/messages",
            json!({"model": "ocelli-demo", "max_tokens": 5, "messages": message, "temprature": 0}),
            "unknown field 'temprature'",
        ),
        (
            "/api/chat",
            json!({"model": "ocelli-demo", "messages": message, "temprature": 0}),
            "unknown field 'temprature'",
        ),
        (
            "/api/generate",
            json!({"model": "ocelli-demo", "prompt": "Hello", "options": {"temprature": 0}}),
            "unknown field 'options.temprature'",
        ),
    ] {
        let reply = server.post(path, &request);
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.text().contains(expected), "{}", reply.text());
    }
}
