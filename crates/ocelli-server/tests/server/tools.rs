//! Tools in the words of each API: which may be called, which must, and how many.

use serde_json::{Value, json};

use crate::client::{Server, capabilities, text_chat};

/// Shows tools, calls and results; the demo model's own template shows none.
const SHOWING: &str = "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n\
    {% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\
    {% for call in message.tool_calls %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[test]
fn tools_reach_the_template_and_a_call_in_the_history_is_accepted() {
    let server = Server::with_template(SHOWING);
    let mut chat = text_chat("What is the weather?");
    chat["messages"] = json!([
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function",
            "function": {"name": "weather", "arguments": "{\"city\": \"Ulm\"}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
    ]);
    chat["tools"] = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let prompt = server.post("/apply-template", &chat).ok()["prompt"].clone();
    let prompt = prompt.as_str().unwrap();
    for shown in ["\"parameters\"", "<tool_call>", "Ulm", "sunny"] {
        assert!(prompt.contains(shown), "{shown} is not in {prompt}");
    }
    let answer = server.post("/v1/chat/completions", &chat).ok();
    assert!(
        answer["choices"][0]["finish_reason"].is_string() && answer["warnings"].is_null(),
        "{answer}"
    );
    let able = capabilities(&server);
    assert!(able.contains(&json!("tools")), "{able:?}");
    chat["messages"] = json!([{"role": "user", "content": "What is the weather?"}]);
    chat["tool_choice"] = json!("required");
    chat["max_tokens"] = json!(1500);
    chat["tools"][0]["function"]["parameters"] = json!({"type": "object", "additionalProperties": false,
        "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]});
    let answer = server.post("/v1/chat/completions", &chat).ok();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    let call = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "weather");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(
        matches!(arguments["unit"].as_str(), Some("C" | "F")),
        "{arguments}"
    );
    chat["stream"] = json!(true);
    let events = server.post("/v1/chat/completions", &chat).events();
    let streamed = events.iter().find_map(|(_, data)| {
        data["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
            .as_str()
            .map(str::to_owned)
    });
    assert_eq!(streamed.as_deref(), call["arguments"].as_str());
    chat["tools"] = json!([{"type": "function"}]);
    assert_eq!(server.post("/v1/chat/completions", &chat).status, 400);
}

#[test]
fn a_choice_of_tools_binds_a_message() {
    let server = Server::with_template(SHOWING);
    let mut body = json!({"model": "ocelli-demo", "max_tokens": 1500,
        "messages": [{"role": "user", "content": "What is the weather?"}]});
    let schema = json!({"type": "object", "additionalProperties": false,
        "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]});
    body["tools"] = json!([{"name": "weather", "input_schema": schema}, {"name": "time", "input_schema": schema}]);
    for choice in [
        json!({"type": "tool", "name": "weather"}),
        json!({"type": "any"}),
    ] {
        body["tool_choice"] = choice.clone();
        let answer = server.post("/v1/messages", &body).ok();
        assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
        let call = &answer["content"][0];
        assert_eq!(call["type"], "tool_use");
        assert!(
            matches!(call["input"]["unit"].as_str(), Some("C" | "F")),
            "{call}"
        );
        if choice["name"].is_string() {
            assert_eq!(call["name"], "weather");
        }
    }
    for choice in ["auto", "none"] {
        body["tool_choice"] = json!({"type": choice});
        let answer = server.post("/v1/messages", &body).ok();
        assert_eq!(answer["content"][0]["type"], "text", "{answer}");
        assert!(answer["warnings"].is_null(), "{answer}");
    }
    for (choice, problem) in [
        (
            json!({"type": "tool", "name": "fly"}),
            "tool_choice names no tool of this request",
        ),
        (json!({"type": "tool"}), "tool_choice.name missing"),
        (
            json!({"type": "some"}),
            "tool_choice.type must be auto, any, tool or none",
        ),
        (json!("any"), "tool_choice must be an object"),
    ] {
        body["tool_choice"] = choice;
        let reply = server.post("/v1/messages", &body);
        assert_eq!(reply.status, 400);
        let said = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(said.contains(problem), "{problem:?} is not in {said:?}");
    }
}

/// Calls of a chat that may not end by itself: as many as its tokens allow, unless one is the most.
fn calls(server: &Server, parallel: Option<bool>, stream: bool) -> (usize, Value) {
    let mut chat = text_chat("What is the weather?");
    chat["tools"] = json!([{"type": "function", "function": {"name": "weather",
        "parameters": {"type": "object", "additionalProperties": false}}}]);
    chat["tool_choice"] = json!("required");
    chat["ignore_eos"] = json!(true);
    chat["max_tokens"] = json!(1000);
    chat["stream"] = json!(stream);
    if let Some(parallel) = parallel {
        chat["parallel_tool_calls"] = json!(parallel);
    }
    let reply = server.post("/v1/chat/completions", &chat);
    if !stream {
        let choice = reply.ok()["choices"][0].clone();
        let calls = choice["message"]["tool_calls"].as_array().unwrap().len();
        return (calls, choice["finish_reason"].clone());
    }
    let events = reply.events();
    let choices = events.iter().map(|(_, data)| &data["choices"][0]);
    let calls = choices
        .clone()
        .filter(|choice| choice["delta"]["tool_calls"].is_array());
    let reason = choices
        .filter_map(|choice| choice["finish_reason"].as_str())
        .next_back();
    (calls.count(), json!(reason))
}

#[test]
fn an_answer_that_may_call_one_tool_ends_behind_it() {
    let server = Server::start();
    let (many, reason) = calls(&server, None, false);
    assert!(many > 1, "{many}");
    assert_eq!(reason, "length");
    assert_eq!(calls(&server, Some(true), false), (many, reason));
    for stream in [false, true] {
        assert_eq!(
            calls(&server, Some(false), stream),
            (1, json!("tool_calls"))
        );
    }
    server.wait_for("ocelli_requests_running{", 0.0);
    let tool = json!({"name": "weather", "input_schema": {"type": "object", "additionalProperties": false}});
    let mut message = json!({"model": "ocelli-demo", "max_tokens": 200, "tools": [tool],
        "messages": [{"role": "user", "content": "What is the weather?"}]});
    message["tool_choice"] = json!({"type": "any", "disable_parallel_tool_use": true});
    let answer = server.post("/v1/messages", &message).ok();
    assert_eq!(answer["content"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["stop_reason"], "tool_use");
    let mut response = json!({"input": "What is the weather?", "max_output_tokens": 200});
    response["tools"] = json!([{"type": "function", "name": "weather",
        "parameters": {"type": "object", "additionalProperties": false}}]);
    response["tool_choice"] = json!("required");
    for parallel in [true, false] {
        response["parallel_tool_calls"] = json!(parallel);
        let answer = server.post("/v1/responses", &response).ok();
        assert_eq!(answer["parallel_tool_calls"], parallel);
        assert_eq!(answer["output"][0]["type"], "function_call", "{answer}");
    }
    response["parallel_tool_calls"] = json!("no");
    assert_eq!(server.post("/v1/responses", &response).status, 400);
}
