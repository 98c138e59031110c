//! What clients read beside the answer: ids, headers, what is repeated of the request, and lengths of time.

use serde_json::{Value, json};

use crate::client::{Server, text_chat};

const JSON: &str = "Host: localhost\r\nContent-Type: application/json\r\n";

#[test]
fn errors_of_messages_carry_the_id_that_the_header_has() {
    let server = Server::start();
    let headers = format!("{JSON}X-Request-Id: mine-1\r\n");
    for body in ["{", r#"{"model": "ocelli-demo", "messages": []}"#] {
        let reply = server.request("POST", "/v1/messages", &headers, body);
        assert_eq!(reply.status, 400);
        assert_eq!(reply.header("request-id"), Some("mine-1"));
        assert_eq!(reply.json()["request_id"], "mine-1");
    }
    let body = json!({"model": "ocelli-demo", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]});
    let reply = server.post("/v1/messages", &body);
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
    assert!(reply.header("request-id").is_some());
    // Refused before it is read, too.
    let reply = server.request("POST", "/v1/messages", "Host: evil.example\r\n", "");
    assert_eq!(
        reply.json()["request_id"].as_str(),
        reply.header("request-id")
    );
}

#[test]
fn a_wrong_method_is_told_which_there_are() {
    let server = Server::start();
    for (path, methods) in [
        ("/v1/chat/completions", "OPTIONS, POST"),
        ("/api/chat", "OPTIONS, POST"),
        ("/v1/messages", "OPTIONS, POST"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.header("allow")), (405, Some(methods)));
    }
    let reply = server.post("/v1/models", &json!({}));
    let allowed = reply.header("allow");
    assert_eq!((reply.status, allowed), (405, Some("OPTIONS, GET, HEAD")));
}

#[test]
fn allowed_pages_may_send_the_headers_of_official_clients_and_read_ids() {
    let server = Server::with(|setup| {
        setup.settings.allowed_origins = vec!["https://good.example".to_owned()];
    });
    let asked = "content-type, x-stainless-lang, anthropic-beta";
    let headers = format!(
        "Host: localhost\r\nOrigin: https://good.example\r\nAccess-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: {asked}\r\n"
    );
    let reply = server.request("OPTIONS", "/v1/chat/completions", &headers, "");
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-headers"), Some(asked));
    let methods = reply.header("access-control-allow-methods");
    assert_eq!(methods, Some("OPTIONS, POST"));
    let headers = format!("{JSON}Origin: https://good.example\r\n");
    let body = text_chat("Hello").to_string();
    let reply = server.request("POST", "/v1/chat/completions", &headers, &body);
    let shown = reply.header("access-control-expose-headers").unwrap();
    assert!(shown.contains("x-request-id"), "{shown}");
    let headers = headers.replace("good", "evil");
    let reply = server.request("OPTIONS", "/v1/chat/completions", &headers, "");
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("access-control-allow-headers"), None);
}

#[test]
fn a_response_repeats_what_its_request_said() {
    let server = Server::start();
    let tool = json!({"type": "function", "name": "look", "parameters": {"type": "object"}});
    let mut body = json!({"input": "Hello", "instructions": "Be brief.", "temperature": 0.5, "top_p": 0.25,
        "max_output_tokens": 3, "metadata": {"a": "b"}, "tools": [tool], "tool_choice": "none",
        "parallel_tool_calls": false});
    let same = |answer: &Value| {
        for key in body
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "input")
        {
            assert_eq!(answer[key], body[key], "{key}");
        }
        assert_eq!(answer["store"], false);
        assert_eq!(answer["truncation"], "disabled");
    };
    same(&server.post("/v1/responses", &body).ok());
    let silent = server
        .post("/v1/responses", &json!({"input": "Hello"}))
        .ok();
    assert_eq!(silent["tool_choice"], "auto");
    assert_eq!(
        (&silent["instructions"], &silent["tools"]),
        (&Value::Null, &json!([]))
    );
    let whole = body.clone();
    body["stream"] = json!(true);
    let events = server.post("/v1/responses", &body).events();
    for (_, data) in events
        .iter()
        .filter(|(_, data)| data["response"].is_object())
    {
        assert_eq!(data["response"]["metadata"], whole["metadata"]);
        assert_eq!(data["response"]["tools"], whole["tools"]);
    }
}

#[test]
fn ollamas_clients_may_write_times_as_go_does_and_any_top_k() {
    let server = Server::start();
    let ask = |more: Value| {
        let mut body = json!({"model": "ocelli-demo", "prompt": "Hello", "stream": false, "options": {"num_predict": 1}});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        server.post("/api/generate", &body).status
    };
    for time in [
        "1h30m", "1.5h", "2m3.5s", "300ms", "-1", "-1m", "+5m", "90", "1h0m0s",
    ] {
        assert_eq!(ask(json!({"keep_alive": time})), 200, "{time}");
    }
    for time in [
        "", "-", "m", "5x", "1h30", "inf", "nan", "1e400", "5 m", "h1",
    ] {
        assert_eq!(ask(json!({"keep_alive": time})), 400, "{time}");
    }
    assert_eq!(
        ask(json!({"options": {"num_predict": 1, "top_k": -1}})),
        200
    );
    assert_eq!(
        ask(json!({"options": {"num_predict": 1, "top_k": -2}})),
        400
    );
}

#[test]
fn every_chunk_has_a_place_for_the_usage_that_was_asked_for() {
    let server = Server::start();
    let mut chat = text_chat("Hello");
    chat["stream"] = json!(true);
    let chunks = server.post("/v1/chat/completions", &chat).events();
    assert!(chunks.iter().all(|(_, chunk)| chunk.get("usage").is_none()));
    let completion = json!({"prompt": "One", "max_tokens": 4, "stream": true});
    for (path, mut body) in [
        ("/v1/chat/completions", chat),
        ("/v1/completions", completion),
    ] {
        body["stream_options"] = json!({"include_usage": true});
        let events = server.post(path, &body).events();
        let chunks: Vec<&Value> = events.iter().map(|(_, chunk)| chunk).collect();
        let chunks: Vec<_> = chunks
            .into_iter()
            .filter(|chunk| chunk.is_object())
            .collect();
        let (last, others) = chunks.split_last().unwrap();
        assert!(last["usage"]["total_tokens"].is_u64(), "{last}");
        assert!(last["system_fingerprint"].is_string(), "{last}");
        for chunk in others {
            assert_eq!(chunk.get("usage"), Some(&Value::Null), "{chunk}");
        }
    }
}

#[test]
fn offsets_of_tokens_point_into_the_text_whole_or_in_pieces() {
    let server = Server::start();
    let mut body = json!({"prompt": "Wh\u{e4}t can", "echo": true, "logprobs": 0, "max_tokens": 6});
    let choice = server.post("/v1/completions", &body).ok()["choices"][0].clone();
    let text: Vec<char> = choice["text"].as_str().unwrap().chars().collect();
    let logprobs = &choice["logprobs"];
    let offsets: Vec<&Value> = logprobs["text_offset"].as_array().unwrap().iter().collect();
    for (offset, token) in offsets.iter().zip(logprobs["tokens"].as_array().unwrap()) {
        let at = offset.as_u64().unwrap() as usize;
        let token: Vec<char> = token.as_str().unwrap().chars().collect();
        match token.as_slice() {
            // A part of a character stands at it or, where it does not begin it, behind.
            ['\u{fffd}'] => assert!(text[at - 1] == 'ä' || text[at] == 'ä', "{choice}"),
            _ => assert_eq!(text[at..at + token.len()], token, "{choice}"),
        }
    }
    body["stream"] = json!(true);
    let events = server.post("/v1/completions", &body).events();
    let parts = events
        .iter()
        .filter_map(|(_, data)| data["choices"][0]["logprobs"]["text_offset"].as_array());
    let streamed: Vec<&Value> = parts.flatten().collect();
    assert_eq!(streamed, offsets);
    let reply = server.post("/v1/completions", &json!({"prompt": "One", "best_of": 2}));
    assert_eq!(
        (reply.status, &reply.json()["error"]["param"]),
        (400, &json!("best_of"))
    );
}

#[test]
fn the_list_of_models_can_be_read_by_clients_of_both_apis() {
    let server = Server::start();
    let models = server.get("/v1/models").ok();
    let model = &models["data"][0];
    assert_eq!(
        (&model["object"], &model["type"]),
        (&json!("model"), &json!("model"))
    );
    assert_eq!(model["display_name"], model["id"]);
    assert!(model["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        (&models["first_id"], &models["last_id"]),
        (&model["id"], &model["id"])
    );
    assert_eq!(models["has_more"], false);
}
