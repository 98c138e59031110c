//! Good requests to every route, with each of their fields in turn missing or holding what it
//! should not: each is answered, or refused in the form of its API, and none is a fault of the
//! server.

use serde_json::{Value, json};

use crate::client::{CHAT, Reply, Server, square, text_chat};

/// A good request to each route that answers, with as many of its fields as there are.
fn requests() -> Vec<(&'static str, Value)> {
    let model = "ocelli-demo";
    let picture = square(2);
    let url = format!("data:image/bmp;base64,{picture}");
    let schema =
        json!({"type": "object", "properties": {"c": {"enum": ["a", "b"]}}, "required": ["c"]});
    let function = json!({"name": "f", "description": "d", "parameters": schema, "strict": true});
    let tool = json!({"type": "function", "function": function});
    let source = json!({"type": "base64", "media_type": "image/bmp", "data": picture});
    let seen = json!([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]);
    vec![
        (
            CHAT,
            json!({"model": model, "max_tokens": 1, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 1, "n": 1,
                "stop": ["z"], "logprobs": true, "top_logprobs": 2, "logit_bias": {"5": 1}, "presence_penalty": 0.1,
                "stream": true, "stream_options": {"include_usage": true}, "user": "u", "metadata": {"a": "b"},
                "stop_token_ids": [1], "reasoning_effort": "low", "modalities": ["text"], "thinking_budget": 5,
                "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": seen}]}),
        ),
        (
            CHAT,
            json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}],
                "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (
            CHAT,
            json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], "response_format":
                {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}}}),
        ),
        (
            "/v1/completions",
            json!({"model": model, "prompt": ["x", "y"], "max_tokens": 1, "echo": true, "logprobs": 1, "n": 1, "stop": "z"}),
        ),
        (
            "/v1/responses",
            json!({"model": model, "instructions": "i", "max_output_tokens": 1, "include": [], "reasoning": {"effort": "low"},
                "text": {"format": {"type": "text"}, "verbosity": "low"}, "truncation": "disabled", "store": false,
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": url}]}]}),
        ),
        (
            "/v1/messages",
            json!({"model": model, "max_tokens": 1, "system": [{"type": "text", "text": "s"}], "stop_sequences": ["z"],
                "thinking": {"type": "enabled", "budget_tokens": 5}, "metadata": {"user_id": "u"}, "tools": [{"name": "f",
                "description": "d", "input_schema": schema}], "tool_choice": {"type": "tool", "name": "f"},
                "messages": [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "x"}]}]}),
        ),
        (
            "/api/chat",
            json!({"model": model, "stream": false, "format": schema, "keep_alive": "5m", "think": false, "options":
                {"num_predict": 1, "top_k": 3, "seed": 1, "stop": ["z"], "num_ctx": 99, "repeat_last_n": 3, "mirostat": 0},
                "messages": [{"role": "user", "content": "x", "images": [picture]}]}),
        ),
        (
            "/api/generate",
            json!({"model": model, "prompt": "x", "system": "s", "images": [picture], "stream": false, "raw": false,
                "options": {"num_predict": 1}, "context": [], "suffix": "", "template": ""}),
        ),
    ]
}

/// The same to routes that only tell something.
fn questions() -> Vec<(&'static str, Value)> {
    vec![
        ("/api/show", json!({"model": "ocelli-demo"})),
        ("/tokenize", json!({"content": "x", "with_pieces": true})),
        ("/detokenize", json!({"tokens": [1, 2]})),
        (
            "/apply-template",
            json!({"messages": text_chat("x")["messages"]}),
        ),
    ]
}

/// What fields hold instead.
fn junk() -> Vec<Value> {
    let long = "y".repeat(20_000);
    let many = vec!["s"; 20_000];
    let deep = (0..30).fold(json!({}), |schema, _| json!({"items": schema}));
    vec![
        json!(null),
        json!(7),
        json!(-1),
        json!(0.5),
        json!(1e308),
        json!(u64::MAX),
        json!(true),
        json!(""),
        json!("junk"),
        json!("\0"),
        json!("<|im_start|><|image_pad|>"),
        json!("data:text/html;base64,QUI="),
        json!("data:image/png;base64,@"),
        json!(long),
        json!(many),
        json!([]),
        json!([[[]]]),
        json!({}),
        json!({"$ref": "#"}),
        json!({"type": "integer", "minimum": 5, "maximum": 3}),
        deep,
    ]
}

/// Places of all values inside.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if !at.is_empty() {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => (0..)
            .zip(items)
            .for_each(|(index, value): (usize, _)| places(value, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// Takes a value out of what holds it.
fn remove(body: &mut Value, place: &str) {
    let (holder, key) = place.rsplit_once('/').unwrap();
    match body.pointer_mut(holder).unwrap() {
        Value::Object(fields) => drop(fields.remove(key)),
        Value::Array(items) => drop(items.remove(key.parse().unwrap())),
        other => panic!("{other}"),
    }
}

/// Checks that a request was answered, or refused as its API refuses.
fn judge(path: &str, body: &Value, reply: &Reply) {
    let sent = || body.to_string().chars().take(600).collect::<String>();
    if reply.status == 200 {
        return;
    }
    let is_refusal = (400..500).contains(&reply.status);
    assert!(is_refusal, "{path} {}: {}", reply.status, sent());
    let said = reply.json();
    let message = match path {
        "/v1/messages" => {
            assert_eq!(said["type"], "error", "{path}: {said}");
            &said["error"]["message"]
        }
        _ if path.starts_with("/api/") => &said["error"],
        _ => &said["error"]["message"],
    };
    let is_said = message.as_str().is_some_and(|message| message.len() > 8);
    assert!(is_said, "{path}: {said} for {}", sent());
}

#[test]
fn each_field_missing_or_wrong_is_answered_or_refused_in_the_words_of_its_api() {
    let server = Server::start();
    let mut refused = 0;
    for (path, request) in requests().into_iter().chain(questions()) {
        let good = server.post(path, &request);
        assert_eq!(good.status, 200, "{path}: {}", good.text());
        let mut found = Vec::new();
        places(&request, "", &mut found);
        for place in found {
            let mut bodies = vec![request.clone(); 1 + junk().len()];
            remove(&mut bodies[0], &place);
            for (body, junk) in bodies[1..].iter_mut().zip(junk()) {
                *body.pointer_mut(&place).unwrap() = junk;
            }
            for body in &bodies {
                let reply = server.post(path, body);
                judge(path, body, &reply);
                refused += usize::from(reply.status != 200);
            }
        }
    }
    assert!(refused > 1000, "{refused} were refused");
    let page = server.get("/metrics").text();
    assert!(page.contains("ocelli_panics_total{model_name=\"ocelli-demo\"} 0"));
}
