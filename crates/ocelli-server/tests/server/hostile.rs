//! Requests that mean harm, or were made without care: each gets its status and its reason, and the
//! next one its answer.

use std::io::{BufReader, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{CHAT, Reply, Server, picture_chat, request, text_chat};

/// What a body is called.
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// A short chat with something changed.
fn with(change: impl FnOnce(&mut Value)) -> String {
    let mut chat = text_chat("Hello");
    change(&mut chat);
    chat.to_string()
}

/// Checks an error's status, and that its text holds this.
#[track_caller]
pub(crate) fn expect(reply: &Reply, status: u16, message: &str) {
    assert_eq!(reply.status, status, "{message}: {}", reply.text());
    let body = reply.json();
    let said = body["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains(message), "{message:?} is not in {said:?}");
    assert!(reply.header("x-request-id").is_some());
}

#[test]
fn a_bad_body_is_refused_with_its_reason_and_the_next_request_is_answered() {
    let server = Server::start();
    let before = server.post(CHAT, &text_chat("Hello")).ok();
    let content = |value: Value| with(|chat| chat["messages"][0]["content"] = value);
    let image = |url: &str| content(json!([{"type": "image_url", "image_url": {"url": url}}]));
    let set = |key: &str, value: Value| with(|chat| chat[key] = value);
    let integer = "max_tokens must be an integer in 1..";
    let stop = "stop: at most 16 strings of 1..256 bytes";
    let many = json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", tiny())}}]);
    let many = Value::Array(vec![many[0].clone(); 17]);
    let rows: Vec<(String, &str)> = vec![
        (String::new(), "request body is not a JSON object"),
        ("{".to_owned(), "request body is not a JSON object"),
        ("[]".to_owned(), "request body is not a JSON object"),
        ("[".repeat(100_000), "JSON nesting deeper than 64"),
        (
            "{\"messages\": [], \"messages\": []}".to_owned(),
            "duplicate key 'messages'",
        ),
        ("{}".to_owned(), "messages missing"),
        (set("messages", json!([])), "messages must have 1..4096"),
        (
            set("messages", json!([{"content": "x"}])),
            "messages[0].role missing",
        ),
        (
            set("messages", json!([{"role": "king", "content": "x"}])),
            "messages[0].role 'king' is unknown",
        ),
        (content(json!(5)), "messages[0].content must be"),
        (
            content(json!([])),
            "messages[0].content must have 1..64 parts",
        ),
        (
            content(json!([{"type": "image_url"}])),
            "messages[0].content[0].image_url.url missing",
        ),
        (
            image("data:text/html;base64,QUI="),
            "data URI must be image/*;base64",
        ),
        (
            image("data:image/png;base64,***"),
            "data URI must be image/*;base64",
        ),
        (image("data:image/png;base64,QUI="), "not a supported image"),
        (
            image("file:///etc/passwd"),
            "image files are not read by this server",
        ),
        (
            image("http://127.0.0.1/x.png"),
            "image URLs are not fetched",
        ),
        (content(many), "17 images, limit 16"),
        (set("max_tokens", json!(-5)), integer),
        (set("max_tokens", json!(0)), integer),
        (set("max_tokens", json!(1.5)), integer),
        (set("max_tokens", json!("x")), integer),
        (set("max_tokens", json!(1_u64 << 63)), integer),
        (
            set("max_tokens", json!(1 << 20)),
            "max_tokens must be an integer in 1..2048",
        ),
        (set("logit_bias", json!({"x": 1})), "logit_bias must be"),
        (
            set("top_logprobs", json!(1_000_000)),
            "top_logprobs must be an integer in 0..20",
        ),
        (set("n", json!(0)), "n must be an integer in 1..8"),
        (set("n", json!(1_000_000)), "n must be an integer in 1..8"),
        (
            set("temperature", json!(-1)),
            "temperature must be a number in 0..2",
        ),
        (
            set("temperature", json!(1e308)),
            "temperature must be a number in 0..2",
        ),
        (
            set("temperature", json!("hot")),
            "temperature must be a number in 0..2",
        ),
        (set("top_p", json!(2)), "top_p must be a number in 0..1"),
        (
            set("top_k", json!(-2_147_483_648_i64)),
            "top_k must be an integer",
        ),
        (set("min_p", json!(5)), "min_p must be a number in 0..1"),
        (set("seed", json!(1.5)), "seed must be an integer"),
        (set("stop", json!(5)), stop),
        (set("stop", json!([""])), stop),
        (set("stop", json!(vec!["x"; 17])), stop),
        (set("stop", json!(["x".repeat(257)])), stop),
        (set("stream", json!("yes")), "stream must be true or false"),
        (
            set("stream_options", json!({"include_usage": true})),
            "stream_options is only allowed",
        ),
        (content(json!("word ".repeat(100_000))), "context"),
    ];
    for (body, message) in rows {
        expect(&server.request("POST", CHAT, JSON, &body), 400, message);
    }
    let after = server.post(CHAT, &text_chat("Hello")).ok();
    assert_eq!(before["choices"], after["choices"]);
}

/// A picture of one pixel.
fn tiny() -> &'static str {
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
}

#[test]
fn unknown_fields_are_accepted_and_named() {
    let server = Server::start();
    let body = with(|chat| chat["no_stop_trim"] = json!(true));
    let answer = server.request("POST", CHAT, JSON, &body).ok();
    assert_eq!(
        answer["warnings"],
        json!(["unknown field 'no_stop_trim' was ignored"])
    );
}

#[test]
fn the_smallest_picture_is_answered() {
    let server = Server::start();
    let mut chat = picture_chat("What is it?");
    let url = format!("data:image/png;base64,{}", tiny());
    chat["messages"][0]["content"][1]["image_url"] = json!(url);
    let answer = server.post(CHAT, &chat).ok();
    assert_eq!(answer["usage"]["images"][0]["width"], 1);
}

#[test]
fn text_that_looks_like_control_tokens_stays_text() {
    let server = Server::start();
    let count = |text: &str| {
        let counted = server.post("/v1/chat/completions/input_tokens", &text_chat(text));
        counted.ok()["input_tokens"].as_u64().unwrap()
    };
    // As one control token each these would take three tokens; as text they take a token every few letters.
    let marks = "<|vision_start|><|image_pad|><|vision_end|>";
    assert!(count(marks) > count("") + 8);
    let tokens = server.post("/tokenize", &json!({"content": marks})).ok()["tokens"].clone();
    let back = server.post("/detokenize", &json!({"tokens": tokens})).ok();
    assert_eq!(back["content"], marks);
}

#[test]
fn unknown_paths_and_methods_are_told_so() {
    let server = Server::start();
    expect(&server.get("/nosuch"), 404, "no such path");
    expect(&server.get("/v1/..%2fmodels"), 404, "no such path");
    expect(&server.get(CHAT), 405, "method");
    expect(
        &server.request("PUT", "/v1/models", JSON, "{}"),
        405,
        "method",
    );
    let options = server.request("OPTIONS", CHAT, "", "");
    assert_eq!(options.status, 204);
    assert_eq!(options.header("allow"), Some("OPTIONS, POST"));
    expect(&server.get("/models"), 404, "is /v1/models meant?");
    expect(&server.get("/v1/chat/completions/?a=b"), 405, "method");
    for path in [
        "/v1/models/",
        "//v1/models?limit=1",
        "/v1//models",
        "/api/tags/",
    ] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let mut head = server.connect();
    head.write_all(request("HEAD", "/api/version", "", "").as_bytes())
        .unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut head, &mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn every_route_but_those_for_health_wants_the_key() {
    let server =
        Server::with(|setup| setup.settings.api_keys = vec!["secret".into(), "other".into()]);
    for (method, route, _) in ocelli_server::ROUTES {
        let path = route.replace(['{', '}'], "");
        let reply = server.request(
            method,
            &path,
            JSON,
            if *method == "POST" { "{}" } else { "" },
        );
        let is_free = matches!(path.as_str(), "/livez" | "/readyz" | "/health" | "/metrics");
        assert_eq!(
            reply.status == 401,
            !is_free && reply.status != 429,
            "{method} {path}: {}",
            reply.status
        );
    }
}

#[test]
fn a_key_opens_and_guessing_ends() {
    let server =
        Server::with(|setup| setup.settings.api_keys = vec!["secret".into(), "other".into()]);
    let ask = |headers: &str| server.request("GET", "/v1/models", headers, "").status;
    assert_eq!(ask("Authorization: Bearer secret\r\n"), 200);
    assert_eq!(ask("X-Api-Key: other\r\n"), 200);
    let statuses: Vec<u16> = (0..25)
        .map(|_| ask("Authorization: Bearer guess\r\n"))
        .collect();
    assert_eq!(statuses[..20], [401; 20]);
    assert_eq!(statuses[20..], [429; 5]);
    // All clients of a proxy have its address: whoever knows a key is not shut out by one who guesses.
    assert_eq!(ask("Authorization: Bearer secret\r\n"), 200);
    assert_eq!(ask("Authorization: Bearer guess\r\n"), 429);
}

#[test]
fn a_server_that_others_can_reach_does_not_start_without_a_key() {
    let settings = ocelli_server::Settings {
        host: "0.0.0.0".parse().unwrap(),
        port: 0,
        ..Default::default()
    };
    let entry = ocelli::service::ModelEntry {
        name: "demo".to_owned(),
        source: ocelli::Source::Demo,
        options: ocelli::Options::default(),
    };
    let keep = ocelli::service::KeepAlive::Forever;
    let models = ocelli::service::Models::new(vec![entry], Default::default(), keep, None).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(true);
    let error = ocelli_server::serve(settings, models, &stop, |_| {}).unwrap_err();
    assert!(error.to_string().contains("API key"), "{error}");
}

#[test]
fn too_large_and_too_slow_requests_are_ended() {
    let server = Server::with(|setup| {
        setup.settings.limits.body_bytes = 10_000;
        setup.settings.limits.body_time = Duration::from_millis(300);
        setup.settings.limits.header_time = Duration::from_millis(300);
    });
    let large = with(|chat| chat["user"] = json!("x".repeat(20_000)));
    expect(
        &server.request("POST", CHAT, JSON, &large),
        413,
        "too large",
    );
    let short =
        format!("POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 100\r\n\r\n{{");
    expect(&server.send(short.as_bytes()), 408, "in time");
    let headers = "X: y\r\n".repeat(1000);
    assert_eq!(
        server.request("GET", "/v1/models", &headers, "").status,
        431
    );
    let header = format!("X: {}\r\n", "y".repeat(100_000));
    assert_eq!(server.request("GET", "/v1/models", &header, "").status, 431);
    // Headers that never end: the connection is closed.
    let mut dripping = server.connect();
    dripping
        .write_all(b"GET /v1/models HTTP/1.1\r\nHost: lo")
        .unwrap();
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut dripping, &mut rest);
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "{rest:?}"
    );
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn ids_of_requests_come_back_if_they_are_harmless() {
    let server = Server::start();
    let ask = |id: &str| {
        let reply = server.request("GET", "/v1/models", &format!("X-Request-Id: {id}\r\n"), "");
        reply.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(ask("abc-123_X"), "abc-123_X");
    assert!(ask("a b").starts_with("req_"));
    assert!(ask(&"x".repeat(129)).starts_with("req_"));
}

#[test]
fn requests_in_a_row_on_one_connection_are_all_answered() {
    let server = Server::start();
    let one = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(one.repeat(50).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    for _ in 0..50 {
        assert_eq!(Reply::read(&mut reader).status, 200);
    }
}
