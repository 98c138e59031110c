//! OpenAI's `prediction`: a text that the answer may repeat.

use serde_json::{Value, json};

use crate::client::{CHAT, Server, content, picture_chat};

/// A chat whose answer was predicted.
fn predicted(content: Value) -> Value {
    let mut chat = picture_chat("What can you see?");
    chat["prediction"] = json!({"type": "content", "content": content});
    chat
}

fn accepted(answer: &Value) -> u64 {
    let details = &answer["usage"]["completion_tokens_details"];
    details["accepted_prediction_tokens"].as_u64().unwrap()
}

#[test]
fn a_predicted_answer_is_the_same_and_most_of_its_tokens_were_guessed() {
    let server = Server::start();
    let plain = server.post(CHAT, &picture_chat("What can you see?")).ok();
    let tokens = plain["usage"]["completion_tokens"].as_u64().unwrap();
    let text = content(&plain).to_owned();
    let (first, rest) = text.split_at(text.find(' ').unwrap());
    let parts = json!([{"type": "text", "text": first}, {"type": "text", "text": rest}]);
    for content_of in [json!(text), parts] {
        let answer = server.post(CHAT, &predicted(content_of)).ok();
        assert_eq!(content(&answer), text);
        assert!(
            accepted(&answer) > tokens / 2,
            "{} of {tokens}, {} without",
            accepted(&answer),
            accepted(&plain)
        );
    }
    let wrong = server
        .post(CHAT, &predicted(json!("No. ".repeat(900))))
        .ok();
    assert_eq!(content(&wrong), text);
}

#[test]
fn a_prediction_of_another_form_is_refused_by_name() {
    let server = Server::start();
    let cases = [
        (json!({"type": "content"}), "prediction.content must be"),
        (
            json!({"type": "content", "content": 5}),
            "prediction.content must be",
        ),
        (
            json!({"type": "content", "content": [{"type": "image_url"}]}),
            "prediction.content must be",
        ),
        (
            json!({"type": "draft", "content": "a"}),
            "prediction.type must be",
        ),
        (json!("a"), "prediction must be"),
    ];
    for (prediction, expected) in cases {
        let mut chat = picture_chat("What can you see?");
        chat["prediction"] = prediction;
        let reply = server.post(CHAT, &chat);
        assert_eq!(reply.status, 400, "{}", reply.text());
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains(expected), "{message}");
    }
}
