//! Clients of Anthropic's API.

use serde_json::{Value, json};

use crate::client::{Server, scene};

fn message() -> Value {
    let source = json!({"type": "base64", "media_type": "image/png", "data": scene()});
    json!({"model": "ocelli-demo", "max_tokens": 12, "temperature": 0, "system": "Be brief.", "messages": [
        {"role": "user", "content": [
            {"type": "image", "source": source},
            {"type": "text", "text": "What is in this picture?"},
        ]},
    ]})
}

#[test]
fn a_message_with_a_picture_is_answered_whole_and_as_events() {
    let server = Server::start();
    let whole = server.post("/v1/messages", &message()).ok();
    assert_eq!(whole["type"], "message");
    let text = whole["content"][0]["text"].as_str().unwrap();
    assert!(matches!(
        whole["stop_reason"].as_str(),
        Some("end_turn" | "max_tokens")
    ));
    assert!(whole["usage"]["images"][0]["tokens"].as_u64().unwrap() > 0);
    let mut body = message();
    body["stream"] = json!(true);
    let events = server.post("/v1/messages", &body).events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["message_start", "ping"]);
    assert_eq!(
        names[names.len() - 3..],
        ["content_block_stop", "message_delta", "message_stop"]
    );
    let delta = |(_, data): &(String, Value)| data["delta"]["text"].as_str().map(str::to_owned);
    let streamed: String = events.iter().filter_map(delta).collect();
    assert_eq!(streamed, text);
}

#[test]
fn tokens_are_counted_and_errors_have_the_shape_that_clients_know() {
    let server = Server::start();
    let counted = server.post("/v1/messages/count_tokens", &message()).ok();
    assert!(
        counted["input_tokens"].as_u64().unwrap()
            > counted["images"][0]["tokens"].as_u64().unwrap()
    );
    let mut body = message();
    body["messages"][0]["content"][0]["source"]["data"] = json!("aGVsbG8=");
    let reply = server.post("/v1/messages", &body);
    assert_eq!(reply.status, 400);
    let error = reply.json();
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], "invalid_request_error");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not a supported image")
    );
    body = json!({"model": "ocelli-demo", "messages": []});
    assert_eq!(server.post("/v1/messages", &body).status, 400);
}

#[test]
fn an_answer_has_the_form_that_its_output_config_wants() {
    let server = Server::start();
    let schema = json!({"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"]});
    let format = json!({"type": "json_schema", "schema": schema});
    let message = json!({"model": "ocelli-demo", "max_tokens": 200,
        "messages": [{"role": "user", "content": "What colour is the sky?"}]});
    for (key, value) in [
        ("output_config", json!({"format": format, "effort": "low"})),
        ("output_format", format.clone()),
    ] {
        let mut asked = message.clone();
        asked[key] = value;
        let answer = server.post("/v1/messages", &asked).ok();
        assert!(answer["warnings"].is_null(), "{answer}");
        let said: Value =
            serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        // Nothing but what the schema names, though it does not forbid it.
        assert_eq!(said.as_object().unwrap().len(), 1, "{said}");
        assert!(said["color"] == "red" || said["color"] == "blue", "{said}");
    }
    for (value, problem) in [
        (
            json!({"format": {"type": "regex"}}),
            "output_config.format.type must be json_schema",
        ),
        (
            json!({"format": {"type": "json_schema"}}),
            "output_config.format.schema missing",
        ),
        (json!(5), "output_config must be an object"),
    ] {
        let mut asked = message.clone();
        asked["output_config"] = value;
        let reply = server.post("/v1/messages", &asked);
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(problem), "{}", reply.text());
    }
}
