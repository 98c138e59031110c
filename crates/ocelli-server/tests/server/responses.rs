//! Clients of OpenAI's Responses API.

use serde_json::json;

use crate::client::{Server, scene};

#[test]
fn responses_take_pictures_and_stream_all_their_events() {
    let server = Server::start();
    let url = format!("data:image/png;base64,{}", scene());
    let mut body = json!({"model": "ocelli-demo", "max_output_tokens": 12, "temperature": 0, "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "What is in this picture?"},
            {"type": "input_image", "image_url": url},
        ]},
    ]});
    let whole = server.post("/v1/responses", &body).ok();
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty());
    assert!(whole["usage"]["images"][0]["tokens"].as_u64().unwrap() > 0);
    body["stream"] = json!(true);
    let events = server.post("/v1/responses", &body).events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let last = if whole["status"] == "completed" {
        "response.completed"
    } else {
        "response.incomplete"
    };
    for name in [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        last,
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let delta = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta");
    let streamed: String = delta
        .map(|(_, data)| data["delta"].as_str().unwrap())
        .collect();
    assert_eq!(streamed, text);
    let numbers = events
        .iter()
        .map(|(_, data)| data["sequence_number"].as_u64().unwrap());
    assert!(numbers.eq(0..events.len() as u64));
}

#[test]
fn responses_refuse_what_they_would_have_to_leave_out() {
    let server = Server::start();
    for (field, value) in [
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
        ("previous_response_id", json!("resp_1")),
        ("top_logprobs", json!(3)),
        ("reasoning", json!(5)),
        ("text", json!("x")),
        ("stream_options", json!([])),
    ] {
        let mut response = json!({"input": "Hello", "max_output_tokens": 4});
        response[field] = value;
        let reply = server.post("/v1/responses", &response);
        assert_eq!(reply.status, 400, "{field}");
        assert_eq!(reply.json()["error"]["param"], field);
    }
}

#[test]
fn a_dry_run_counts_what_a_response_would_take() {
    let server = Server::start();
    let asked = json!({"model": "ocelli-demo", "input": "What is it?", "max_output_tokens": 4});
    let counted = server.post("/v1/responses/input_tokens", &asked).ok();
    assert_eq!(counted["object"], "response.input_tokens");
    let answer = server.post("/v1/responses", &asked).ok();
    assert_eq!(counted["input_tokens"], answer["usage"]["input_tokens"]);
}
