//! Tools for a model whose chat template shows none: never dropped without a word, whatever the API.

use serde_json::{Value, json};

use crate::client::{CHAT, Server, capabilities, text_chat};

/// Writes what is said and by whom, and nothing of tools.
const PLAIN: &str = "{% for message in messages %}{% if message.role != 'tool' %}<|im_start|>{{ message.role }}\n\
    {% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
    {% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}\
    {% endfor %}{% endif %}<|im_end|>\n{% endif %}{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[track_caller]
fn refused(server: &Server, path: &str, body: &Value) -> Value {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    let said = reply.json();
    let message = match &said["error"] {
        Value::String(message) => message.clone(),
        error => error["message"].as_str().unwrap().to_owned(),
    };
    assert!(
        message.contains("does not support tools"),
        "{path}: {message}"
    );
    said
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}})
}

#[test]
fn tools_that_the_template_would_drop_are_refused_in_every_api() {
    let server = Server::with_template(PLAIN);
    let mut chat = text_chat("What is the weather?");
    chat["tools"] = json!([tool()]);
    for path in [CHAT, "/v1/chat/completions/input_tokens", "/apply-template"] {
        let said = refused(&server, path, &chat);
        assert_eq!(said["error"]["param"], "tools", "{path}");
        assert_eq!(said["error"]["code"], "tools_not_supported");
    }
    let mut streamed = chat.clone();
    streamed["stream"] = json!(true);
    refused(&server, CHAT, &streamed);
    let flat = json!({"type": "function", "name": "weather", "parameters": {"type": "object"}});
    refused(
        &server,
        "/v1/responses",
        &json!({"input": "What is the weather?", "tools": [flat]}),
    );
    let said = refused(
        &server,
        "/api/chat",
        &json!({"model": "ocelli-demo", "tools": [tool()],
        "messages": chat["messages"]}),
    );
    assert!(said["error"].is_string(), "{said}");
    let custom = json!({"name": "weather", "input_schema": {"type": "object"}});
    let mut claude = json!({"model": "ocelli-demo", "max_tokens": 8, "messages": chat["messages"],
        "tools": [custom]});
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let said = refused(&server, path, &claude);
        assert_eq!(said["error"]["type"], "invalid_request_error", "{path}");
    }
    // Who calls none needs none shown.
    chat["tool_choice"] = json!("none");
    server.post(CHAT, &chat).ok();
    claude["tool_choice"] = json!({"type": "none"});
    server.post("/v1/messages", &claude).ok();
    assert_eq!(capabilities(&server), ["completion", "vision"]);
}

#[test]
fn calls_and_results_that_the_template_would_drop_are_refused_too() {
    let server = Server::with_template(PLAIN);
    let question = json!({"role": "user", "content": "What is the weather?"});
    let call = json!({"role": "assistant", "content": "I look.", "tool_calls": [{"id": "a", "type": "function",
        "function": {"name": "weather", "arguments": "{}"}}]});
    // Without an id, which would be refused for want of its call.
    let result = json!({"role": "tool", "content": "sunny"});
    for messages in [json!([question, call]), json!([question, result])] {
        let mut chat = text_chat("");
        chat["messages"] = messages;
        refused(&server, CHAT, &chat);
    }
    let input = json!([question,
        {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "sunny"}]);
    refused(&server, "/v1/responses", &json!({"input": input}));
    let claude = json!([question,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "sunny"}]}]);
    refused(
        &server,
        "/v1/messages",
        &json!({"model": "ocelli-demo", "max_tokens": 8, "messages": claude}),
    );
    // The same in words is a conversation like any other.
    let mut chat = text_chat("");
    let told = json!({"role": "user", "content": "The weather is sunny."});
    chat["messages"] = json!([question, {"role": "assistant", "content": "I look."}, told]);
    server.post(CHAT, &chat).ok();
}

#[test]
fn a_template_that_shows_a_part_is_asked_for_that_part() {
    // Results come as any message; descriptions and calls do not.
    let server =
        Server::with_template(&PLAIN.replace("{% if message.role != 'tool' %}", "{% if true %}"));
    let question = json!({"role": "user", "content": "What is the weather?"});
    let mut chat = text_chat("");
    chat["messages"] = json!([question, {"role": "tool", "content": "sunny"}]);
    server.post(CHAT, &chat).ok();
    chat["tools"] = json!([tool()]);
    refused(&server, CHAT, &chat);
}

#[test]
fn fields_that_tools_had_before_and_tools_of_another_server_are_refused_by_name() {
    let server = Server::start();
    for (old, value) in [
        ("functions", json!([{"name": "weather", "parameters": {}}])),
        ("function_call", json!("auto")),
    ] {
        let mut chat = text_chat("What is the weather?");
        chat[old] = value;
        let reply = server.post(CHAT, &chat);
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert_eq!(reply.json()["error"]["param"], old);
    }
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let message = json!({"model": "ocelli-demo", "max_tokens": 8, "tools": [search],
        "messages": [{"role": "user", "content": "Hello"}]});
    let reply = server.post("/v1/messages", &message);
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(
        reply.text().contains("tools[0].type must be custom"),
        "{}",
        reply.text()
    );
}

/// The warnings of a whole answer, or of a stream.
fn warns(reply: &crate::client::Reply) -> bool {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let header = reply.header("x-ocelli-warnings").unwrap_or_default();
    header.contains("does not see the tools") || reply.text().contains("does not see the tools")
}

#[test]
fn a_forced_call_has_its_form_and_a_warning_that_the_model_sees_no_tools() {
    let server = Server::with_template(PLAIN);
    let schema = json!({"type": "object", "additionalProperties": false,
        "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]});
    let question = json!([{"role": "user", "content": "What is the weather?"}]);
    let nested =
        json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
    let flat = json!([{"type": "function", "name": "weather", "parameters": schema}]);
    let claude = json!([{"name": "weather", "input_schema": schema}]);
    let asked = [
        (
            CHAT,
            json!({"messages": question, "max_tokens": 300, "tools": nested, "tool_choice": "required"}),
        ),
        (
            "/v1/responses",
            json!({"input": question, "tools": flat, "tool_choice": "required"}),
        ),
        (
            "/v1/messages",
            json!({"model": "ocelli-demo", "messages": question, "max_tokens": 300,
            "tools": claude, "tool_choice": {"type": "any"}}),
        ),
    ];
    for (path, mut body) in asked {
        let whole = server.post(path, &body);
        assert!(warns(&whole), "{path}: {}", whole.text());
        assert!(
            whole.text().contains("weather") && whole.text().contains("unit"),
            "{path}"
        );
        body["stream"] = json!(true);
        assert!(warns(&server.post(path, &body)), "{path}");
    }
}

#[test]
fn errors_call_a_model_by_the_name_that_clients_know() {
    let server = Server::with(|setup| setup.names = vec!["eyes"]);
    let mut chat = text_chat("What is the weather?");
    chat["model"] = json!("eyes");
    chat["tools"] = json!([tool()]);
    let said = refused(&server, CHAT, &chat);
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("model 'eyes' does not"), "{message}");
}
