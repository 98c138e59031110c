//! Forms of answers that cannot be, templates' arguments that may not be, and text that is hard to write.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{CHAT, Reply, Server, content, picture_chat, text_chat};

#[test]
fn an_answer_can_be_bound_to_boxes_in_the_pixels_of_the_picture() {
    let server = Server::start();
    let mut chat = picture_chat("Where is the large orange ring?");
    chat["response_format"] = json!({"type": "boxes"});
    chat["max_tokens"] = json!(200);
    let answer = server.post(CHAT, &chat).ok();
    let list: Vec<Value> = serde_json::from_str(content(&answer)).unwrap();
    let corners = list[0]["bbox_2d"].as_array().unwrap();
    assert_eq!(corners.len(), 4, "{answer}");
    let found = &answer["choices"][0]["message"]["boxes"][0];
    let width = answer["usage"]["images"][0]["width"].as_f64().unwrap();
    let right = corners[2].as_f64().unwrap() * width / 1000.0;
    assert_eq!(found["box"][2].as_f64().unwrap(), right, "{answer}");
    assert_eq!(found["label"], list[0]["label"]);
}

#[track_caller]
fn expect(reply: &Reply, code: &str, message: &str) {
    assert_eq!(reply.status, 400, "{message}: {}", reply.text());
    let error = reply.json()["error"].clone();
    let said = error["message"].as_str().unwrap_or_default();
    assert!(said.contains(message), "{message:?} is not in {said:?}");
    assert_eq!(error["code"], code, "{said}");
    assert!(said.len() < 600, "{} bytes", said.len());
}

fn with_format(format: Value) -> Value {
    let mut chat = text_chat("Hello");
    chat["response_format"] = format;
    chat
}

fn with_schema(schema: Value) -> Value {
    with_format(json!({"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}))
}

/// Schemas, and why each is refused.
fn bad_schemas() -> Vec<(Value, &'static str)> {
    let object = "schema must be an object";
    let never = "can never be satisfied";
    let cycle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/c"},
        "c": {"$ref": "#/$defs/a"}}});
    let many: serde_json::Map<String, Value> = (0..50_000)
        .map(|number| (format!("p{number}"), json!({"type": "integer"})))
        .collect();
    let deep = (0..100).fold(
        json!({"type": "string"}),
        |inner, _| json!({"type": "array", "items": inner}),
    );
    vec![
        (json!(5), object),
        (json!([]), object),
        (json!(false), object),
        (Value::Null, object),
        (json!({"$ref": "#"}), never),
        (cycle, never),
        (
            json!({"$ref": "https://example.org/x.json"}),
            "other documents are not fetched",
        ),
        (
            json!({"enum": (0..100_000).collect::<Vec<_>>()}),
            "enum has 100000 values, limit 4096",
        ),
        (
            json!({"type": "object", "properties": many}),
            "more than 2000 properties",
        ),
        (
            json!({"type": "string", "description": "x".repeat(2 << 20)}),
            "more than 262144 bytes",
        ),
        (
            json!({"type": "array", "items": {}, "minItems": 1_000_000_000}),
            "minItems 1000000000 exceeds 10000",
        ),
        (
            json!({"type": "string", "maxLength": 1_000_000_000}),
            "maxLength 1000000000 exceeds 10000",
        ),
        (json!({"type": "number", "multipleOf": 1e-30}), "multipleOf"),
        (json!({"anyOf": []}), never),
        (
            json!({"type": "integer", "minimum": 5, "maximum": 1}),
            never,
        ),
        (json!({"const": 1, "type": "string"}), never),
        (deep, ""),
    ]
}

#[test]
fn a_schema_that_cannot_be_enforced_is_refused_with_its_reason() {
    let server = Server::start();
    let before = server.post(CHAT, &text_chat("Hello")).ok();
    for (schema, message) in bad_schemas() {
        let reply = server.post(CHAT, &with_schema(schema));
        let is_deep = message.is_empty();
        // JSON itself is not read deeper than 64.
        let code = if is_deep {
            "invalid_request"
        } else {
            "invalid_schema"
        };
        expect(
            &reply,
            code,
            if is_deep {
                "JSON nesting deeper than 64"
            } else {
                message
            },
        );
    }
    let after = server.post(CHAT, &text_chat("Hello")).ok();
    assert_eq!(before["choices"], after["choices"]);
}

#[test]
fn a_grammar_or_expression_that_cannot_be_is_refused_with_its_reason() {
    let server = Server::start();
    let grammar = |text: &str| with_format(json!({"type": "grammar", "grammar": text}));
    let regex = |text: &str| with_format(json!({"type": "regex", "pattern": text}));
    for (chat, message) in [
        (grammar(""), "grammar is empty"),
        (grammar("other: \"x\""), "no start rule found"),
        (grammar("start: start \"a\""), "can never be satisfied"),
        (grammar("start: b"), "unknown name"),
        (grammar("root ::= root \"a\""), "can never be satisfied"),
        (grammar("root ::= ["), "grammar 1:10"),
        (regex("("), "bad regular expression: unclosed group"),
        (regex("(?=x)"), "bad regular expression: look-around"),
        (regex(&"(".repeat(100)), "nested deeper than 64"),
        (regex(&"x".repeat(300_000)), "limit 262144"),
    ] {
        expect(&server.post(CHAT, &chat), "invalid_schema", message);
    }
}

#[test]
fn forms_that_follow_each_other_through_properties_are_followed() {
    let server = Server::start();
    let list = json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"], "additionalProperties": false});
    let mut chat = with_schema(list);
    chat["max_tokens"] = json!(64);
    let answer = server.post(CHAT, &chat).ok();
    let text = content(&answer);
    assert!(text.starts_with('{'), "{text}");
}

#[test]
fn many_hard_schemas_at_once_leave_others_their_answers() {
    let server = Server::with(|setup| {
        setup.settings.api_keys = vec!["greedy".into(), "modest".into()];
        setup.settings.answers_per_client = Some(64);
        // Those whose turn does not come are told so.
        setup.service.most_waiting = Duration::from_secs(5);
    });
    let ask = |key: &str, body: &Value| {
        let headers = format!("Content-Type: application/json\r\nX-Api-Key: {key}\r\n");
        server.request("POST", CHAT, &headers, &body.to_string())
    };
    let expected = ask("modest", &text_chat("Hello")).ok();
    let hard = |number: usize| {
        let names = (0..1500).map(|index| {
            (
                format!("name_{number}_{index}"),
                json!({"type": "string", "pattern": "^[a-z]{1,60}$"}),
            )
        });
        with_schema(
            json!({"type": "object", "properties": names.collect::<serde_json::Map<_, _>>()}),
        )
    };
    std::thread::scope(|scope| {
        let greedy: Vec<_> = (0..64)
            .map(|number| scope.spawn(move || ask("greedy", &hard(number)).status))
            .collect();
        for _ in 0..6 {
            let answer = ask("modest", &text_chat("Hello")).ok();
            assert_eq!(answer["choices"], expected["choices"]);
        }
        for status in greedy {
            let status = status.join().unwrap();
            assert!(matches!(status, 200 | 400 | 503), "{status}");
        }
    });
    let modest = ask("modest", &with_schema(json!({"type": "boolean"})));
    assert!(matches!(
        modest.ok()["choices"][0]["message"]["content"].as_str(),
        Some("true" | "false")
    ));
}

#[test]
fn a_request_cannot_take_over_the_template() {
    let server = Server::start();
    for (arguments, message) in [
        (json!({"messages": []}), "found `messages`"),
        (json!({"tools": 1}), "found `tools`"),
        (json!({"tokenize": false}), "found `tokenize`"),
        (
            json!({"x": "y".repeat(1_000_000)}),
            "need at most 65536 bytes",
        ),
    ] {
        let mut chat = text_chat("Hello");
        chat["chat_template_kwargs"] = arguments;
        expect(&server.post(CHAT, &chat), "invalid_request", message);
    }
    let mut chat = text_chat("Hello");
    chat["chat_template_kwargs"] = json!(5);
    expect(
        &server.post(CHAT, &chat),
        "invalid_value",
        "chat_template_kwargs must be an object",
    );
}

#[test]
fn every_text_is_answered_in_whole_characters() {
    let server = Server::start();
    let marks = format!("a{}", "\u{301}".repeat(1000));
    for text in [
        "",
        "   ",
        "\0",
        "\u{feff}bom",
        "\u{202e}right to left",
        "\u{fffe}\u{ffff}\u{e000}\u{fffc}",
        "<__media__> <|image_pad|> [img-0] <image>",
        &marks,
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    ] {
        let mut chat = text_chat(text);
        let whole = server.post(CHAT, &chat).ok();
        let whole = content(&whole);
        chat["stream"] = json!(true);
        let events = server.post(CHAT, &chat).events();
        let delta = |(_, data): &(String, Value)| {
            data["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        };
        let streamed: String = events.iter().filter_map(delta).collect();
        assert_eq!(streamed, whole, "{text:?}");
    }
    let huge = text_chat(&"word ".repeat(2_000_000));
    expect(
        &server.post(CHAT, &huge),
        "context_length_exceeded",
        "prompt of 10000000 bytes",
    );
}
