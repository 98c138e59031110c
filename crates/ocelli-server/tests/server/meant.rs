//! Fields that would change the answer and are not there, or hold what nobody can mean: no answer
//! goes by them without a word.

use serde_json::{Value, json};

use crate::client::{CHAT, Reply, Server, capabilities, text_chat};

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// A short request to a route, with fields put over its own.
fn with(path: &str, fields: &Value) -> Value {
    let mut body = match path {
        CHAT => text_chat("Hello"),
        "/v1/completions" => json!({"model": "ocelli-demo", "prompt": "red", "max_tokens": 8}),
        RESPONSES => json!({"model": "ocelli-demo", "input": "Hi", "max_output_tokens": 8}),
        MESSAGES => {
            json!({"model": "ocelli-demo", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]})
        }
        "/api/chat" => {
            json!({"model": "ocelli-demo", "stream": false, "options": {"num_predict": 8},
            "messages": [{"role": "user", "content": "Hi"}]})
        }
        "/tokenize" => json!({"content": "red"}),
        "/api/generate" => {
            json!({"model": "ocelli-demo", "stream": false, "options": {"num_predict": 8}, "prompt": "Hi"})
        }
        other => panic!("{other}"),
    };
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// What an error says, in any API's form.
fn said(reply: &Reply) -> String {
    let body = reply.json();
    let error = &body["error"];
    let message = error.as_str().or(error["message"].as_str());
    message.unwrap_or_default().to_owned()
}

#[test]
fn what_would_change_the_answer_and_is_not_there_is_refused_by_name() {
    refused(vec![
        (CHAT, json!({"modalities": ["text", "audio"]}), "modalities"),
        (CHAT, json!({"audio": {"voice": "x"}}), "audio"),
        (
            CHAT,
            json!({"web_search_options": {}}),
            "web_search_options",
        ),
        (
            CHAT,
            json!({"continue_final_message": true}),
            "continue_final_message",
        ),
        (
            CHAT,
            json!({"add_generation_prompt": false}),
            "add_generation_prompt",
        ),
        (CHAT, json!({"echo": true}), "echo"),
        (CHAT, json!({"best_of": 2}), "best_of"),
        (CHAT, json!({"use_beam_search": true}), "use_beam_search"),
        (CHAT, json!({"bad_words": ["x"]}), "bad_words"),
        (CHAT, json!({"mirostat": 2}), "mirostat"),
        (
            "/v1/completions",
            json!({"allowed_token_ids": [1]}),
            "allowed_token_ids",
        ),
        (
            "/v1/completions",
            json!({"truncate_prompt_tokens": 4}),
            "truncate_prompt_tokens",
        ),
        (
            RESPONSES,
            json!({"include": ["message.output_text.logprobs"]}),
            "include",
        ),
        (
            MESSAGES,
            json!({"mcp_servers": [{"name": "x"}]}),
            "mcp_servers",
        ),
        ("/tokenize", json!({"add_special": true}), "add_special"),
        ("/api/generate", json!({"context": [1, 2]}), "context"),
        (
            "/api/generate",
            json!({"raw": true, "system": "Be brief"}),
            "raw",
        ),
    ]);
}

#[test]
fn what_asks_for_nothing_may_come() {
    let server = Server::start();
    for (path, fields) in [
        (
            CHAT,
            json!({"modalities": ["text"], "audio": null, "continue_final_message": false, "echo": false, "best_of": 1,
            "use_beam_search": false, "bad_words": [], "mirostat": 0, "add_generation_prompt": true, "user": "u",
            "metadata": {"a": "b"}, "store": true, "json_schema": null, "grammar": "", "xtc_probability": 0.0}),
        ),
        (
            "/v1/completions",
            json!({"allowed_token_ids": null, "truncate_prompt_tokens": 0, "suffix": ""}),
        ),
        (
            RESPONSES,
            json!({"include": ["reasoning.encrypted_content"], "truncation": "auto", "reasoning": {"effort": "xhigh"}}),
        ),
        (
            MESSAGES,
            json!({"mcp_servers": [], "metadata": {"user_id": "u"}, "context_management": {}}),
        ),
        (
            "/api/generate",
            json!({"context": [], "raw": true, "system": ""}),
        ),
        (
            "/api/chat",
            json!({"options": {"mirostat": 0, "tfs_z": 1.0, "typical_p": 1, "num_ctx": 4096, "use_mmap": true}}),
        ),
    ] {
        let answer = server.post(path, &with(path, &fields)).ok();
        assert_eq!(answer["warnings"], Value::Null, "{path} {fields}");
    }
    // Ollama itself does nothing with these any more; they are named.
    let options = json!({"options": {"mirostat": 2, "typical_p": 0.5, "num_predict": 2}});
    let answer = server.post("/api/chat", &with("/api/chat", &options)).ok();
    let warnings = answer["warnings"].to_string();
    assert!(
        warnings.contains("options.mirostat") && warnings.contains("options.typical_p"),
        "{warnings}"
    );
}

/// Checks that each request is refused, in words that begin with the field.
fn refused(rows: Vec<(&str, Value, &str)>) {
    let server = Server::start();
    for (path, fields, expected) in rows {
        let reply = server.post(path, &with(path, &fields));
        assert_eq!(reply.status, 400, "{path} {fields}: {}", reply.text());
        let said = said(&reply);
        assert!(said.starts_with(expected), "{path} {fields}: {said}");
    }
}

#[test]
fn fields_of_the_wrong_kind_are_refused_even_where_nothing_is_done_with_them() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": 5, "schema": {}}});
    let file = json!([{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]);
    let nameless = json!([{"role": "assistant", "content": [{"type": "tool_use", "id": "1"}]}]);
    refused(vec![
        (CHAT, json!({"user": 5}), "user must be a string"),
        (
            CHAT,
            json!({"store": "maybe"}),
            "store must be true or false",
        ),
        (CHAT, json!({"metadata": [1]}), "metadata must be an object"),
        (
            CHAT,
            json!({"modalities": "text"}),
            "modalities must be a list",
        ),
        (
            CHAT,
            json!({"response_format": schema}),
            "response_format.json_schema.name",
        ),
        (RESPONSES, json!({"truncation": "middle"}), "truncation"),
        (RESPONSES, json!({"include": "x"}), "include"),
        (
            RESPONSES,
            json!({"reasoning": {"effort": "huge"}}),
            "reasoning.effort",
        ),
        (
            RESPONSES,
            json!({"input": file}),
            "input[0].content[0].file_id",
        ),
        (
            MESSAGES,
            json!({"system": [{"type": "image", "text": "x"}]}),
            "system",
        ),
        (MESSAGES, json!({"metadata": "x"}), "metadata"),
        (
            MESSAGES,
            json!({"messages": nameless}),
            "messages[0].content[0].name",
        ),
        (
            "/api/chat",
            json!({"options": {"num_ctx": "many"}}),
            "options.num_ctx",
        ),
    ]);
}

#[test]
fn tools_and_their_calls_hold_what_they_must() {
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let tool = json!({"type": "function", "function": function});
    let described = json!({"type": "function", "function": {"name": "f", "description": 5}});
    let searching = json!({"type": "web_search", "function": function});
    let choice = json!({"type": "other", "function": {"name": "f"}});
    let call =
        json!([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]}]);
    let forced = |tool: &Value| json!({"tools": [tool], "tool_choice": "required"});
    refused(vec![
        (CHAT, forced(&searching), "tools[0].type"),
        (CHAT, forced(&described), "tools[0].function.description"),
        (
            CHAT,
            json!({"tools": [tool], "tool_choice": choice}),
            "tool_choice.type",
        ),
        (
            "/api/chat",
            json!({"messages": call}),
            "messages[0].tool_calls[0].function.arguments",
        ),
    ]);
}

#[test]
fn a_result_of_a_tool_must_belong_to_a_call_before_it() {
    // The first tells calls apart by their ids, as every template that shows tools may.
    let template = "{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.tool_calls }}{{ tools }}{% endfor %}";
    let server = Server::with_template(template);
    assert!(capabilities(&server).contains(&json!("tools")));
    let call = |id: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
            "function": {"name": "f", "arguments": "{}"}}]})
    };
    let chat = |id: &str| {
        json!({"messages": [{"role": "user", "content": "x"}, call("call_1"),
            {"role": "tool", "tool_call_id": id, "content": "4"}]})
    };
    let response = |id: &str| {
        json!({"input": [{"role": "user", "content": "x"}, {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": id, "output": "4"}]})
    };
    let message = |id: &str| {
        json!({"messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "4"}]}]})
    };
    for (path, body, place) in [
        (
            CHAT,
            &chat as &dyn Fn(&str) -> Value,
            "messages[2].tool_call_id",
        ),
        (RESPONSES, &response, "input[2].call_id"),
        (MESSAGES, &message, "messages[2].content[0].tool_use_id"),
    ] {
        server.post(path, &with(path, &body("call_1"))).ok();
        let reply = server.post(path, &with(path, &body("call_2")));
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
        let said = said(&reply);
        assert!(
            said.starts_with(&format!("{place} 'call_2' is the id of no call")),
            "{said}"
        );
    }
}

#[test]
fn completions_and_words_of_llama_server_may_ask_for_a_form_too() {
    let server = Server::start();
    let schema = json!({"type": "object", "properties": {"c": {"enum": ["red", "blue"]}}, "required": ["c"]});
    for (path, fields) in [
        (CHAT, json!({"json_schema": schema, "max_tokens": 200})),
        (
            "/v1/completions",
            json!({"json_schema": schema, "max_tokens": 200}),
        ),
        (
            "/v1/completions",
            json!({"guided_json": schema, "max_tokens": 200}),
        ),
    ] {
        let answer = server.post(path, &with(path, &fields)).ok();
        let choice = &answer["choices"][0];
        let text = choice["text"]
            .as_str()
            .or(choice["message"]["content"].as_str());
        let value: Value = serde_json::from_str(text.unwrap()).unwrap();
        assert!(value["c"] == "red" || value["c"] == "blue", "{answer}");
    }
}

#[test]
fn an_answer_that_was_begun_is_not_answered_as_if_it_were_not() {
    let server = Server::start();
    let begun =
        json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I am"}]);
    let mut body = with(MESSAGES, &json!({"messages": begun}));
    let reply = server.post(MESSAGES, &body);
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("must end with a message of the user"));
    server.post("/v1/messages/count_tokens", &body).ok();
    body = with("/api/chat", &json!({"messages": begun}));
    let answer = server.post("/api/chat", &body).ok();
    assert!(
        answer["warnings"][0]
            .as_str()
            .unwrap()
            .contains("begins anew"),
        "{answer}"
    );
}
