//! Clients that leave, queues that are full, and a server that ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{CHAT, Reply, Server, picture_chat, text_chat};

/// A chat whose answer takes a while, as a stream.
fn long() -> Value {
    let mut chat = text_chat("Tell me a long story.");
    chat["max_tokens"] = json!(1500);
    chat["ignore_eos"] = json!(true);
    chat["stream"] = json!(true);
    chat
}

#[test]
fn a_client_that_leaves_gives_its_place_to_the_next() {
    let server = Server::with(|setup| {
        setup.sequences = 1;
        setup.service.most_requests = 2;
    });
    for _ in 0..3 {
        let mut stream = server.begin(CHAT, &long());
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        drop(stream);
        server.wait_for("ocelli_requests_running{", 0.0);
    }
    // The others left before their answer began.
    for _ in 0..3 {
        drop(server.begin(CHAT, &picture_chat("What is it?")));
    }
    server.wait_for("ocelli_requests_waiting{", 0.0);
    server.wait_for("ocelli_requests_running{", 0.0);
    server.post(CHAT, &picture_chat("What is it?")).ok();
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let server = Server::with(|setup| {
        setup.sequences = 1;
        setup.service.most_requests = 2;
    });
    let running = server.begin(CHAT, &long());
    server.wait_for("ocelli_requests_running{", 1.0);
    let waiting = server.begin(CHAT, &long());
    server.wait_for("ocelli_requests_waiting{", 1.0);
    let reply = server.post(CHAT, &text_chat("Hello"));
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.json()["error"]["code"], "queue_full");
    drop((running, waiting));
    server.wait_for("ocelli_requests_running{", 0.0);
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn a_client_that_waits_for_as_many_answers_as_it_may_is_told_so_in_its_own_words() {
    let server = Server::with(|setup| {
        setup.settings.api_keys = vec!["greedy".into(), "modest".into()];
        setup.settings.answers_per_client = Some(2);
    });
    let ask = |path: &str, key: &str, body: &Value| {
        let headers = format!("Content-Type: application/json\r\nX-Api-Key: {key}\r\n");
        server.request("POST", path, &headers, &body.to_string())
    };
    let begin = || {
        let headers = "Content-Type: application/json\r\nX-Api-Key: greedy\r\n";
        let mut stream = server.connect();
        let request = crate::client::request("POST", CHAT, headers, &long().to_string());
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    let running = [begin(), begin()];
    let chat = text_chat("Hello");
    let limit = "limit 2";
    let refused = ask(CHAT, "greedy", &chat);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let error = &refused.json()["error"];
    assert_eq!(error["type"], "rate_limit_error");
    assert_eq!(error["code"], "too_many_requests");
    assert!(error["message"].as_str().unwrap().contains(limit));
    let refused = ask("/api/chat", "greedy", &chat);
    assert_eq!(refused.status, 429);
    assert!(refused.json()["error"].as_str().unwrap().contains(limit));
    let refused = ask("/v1/messages", "greedy", &chat);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["type"], "error");
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!(ask(CHAT, "modest", &chat).status, 200);
    // Several answers to one request count each.
    let mut many = text_chat("Hello");
    many["n"] = json!(3);
    assert_eq!(ask(CHAT, "modest", &many).status, 429);
    drop(running);
    server.wait_for("ocelli_requests_running{", 0.0);
    let begun = std::time::Instant::now();
    while ask(CHAT, "greedy", &chat).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "still refused");
    }
}

#[test]
fn clients_of_this_machine_without_a_key_are_not_counted_together() {
    let server = Server::start();
    let running: Vec<_> = (0..12).map(|_| server.begin(CHAT, &long())).collect();
    assert_eq!(server.post(CHAT, &text_chat("Hello")).status, 200);
    drop(running);
}

#[test]
fn a_client_that_announces_much_and_sends_nothing_holds_up_nobody() {
    let server = Server::with(|setup| {
        setup.settings.limits.body_bytes = 1 << 20;
        setup.settings.limits.all_bodies_bytes = 2 << 20;
    });
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{{"
    );
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
            stream
        })
        .collect();
    server.post(CHAT, &picture_chat("What is it?")).ok();
    drop(waiting);
}

#[test]
fn a_request_does_not_wait_for_ever() {
    let server = Server::with(|setup| {
        setup.sequences = 1;
        setup.service.most_waiting = Duration::from_millis(100);
    });
    let running = server.begin(CHAT, &long());
    server.wait_for("ocelli_requests_running{", 1.0);
    let reply = server.post(CHAT, &text_chat("Hello"));
    // On a fast machine the long answer may be over by then.
    assert!(matches!(reply.status, 200 | 503), "{}", reply.text());
    if reply.status == 503 {
        assert_eq!(reply.json()["error"]["code"], "queue_timeout");
    }
    drop(running);
}

#[test]
fn an_ending_server_answers_what_it_has_begun_and_nothing_new() {
    let mut server = Server::start();
    let stream = server.begin(CHAT, &long());
    server.wait_for("ocelli_requests_running{", 1.0);
    server.stop();
    let begun = std::time::Instant::now();
    while server.get("/readyz").status != 503 {
        assert!(begun.elapsed() < Duration::from_secs(60), "still ready");
    }
    let refused = server.post(CHAT, &text_chat("Hello"));
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    let reply = Reply::read(&mut BufReader::new(stream));
    assert!(
        reply.text().ends_with("data: [DONE]\n\n"),
        "the answer was cut off"
    );
    server.join();
}

#[test]
fn health_is_told_to_those_who_ask() {
    let server = Server::start();
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(server.get(path).ok()["status"], "ok", "{path}");
    }
    server.post(CHAT, &picture_chat("What is it?")).ok();
    let page = server.get("/metrics").text();
    for name in [
        "vllm:num_requests_running{model_name=\"ocelli-demo\"} 0",
        "vllm:num_requests_waiting{",
        "vllm:prompt_tokens_total{",
        "vllm:generation_tokens_total{",
        "vllm:time_to_first_token_seconds_bucket{model_name=\"ocelli-demo\",le=\"+Inf\"} 1",
        "vllm:e2e_request_latency_seconds_count{",
        "ocelli_images_total{model_name=\"ocelli-demo\"} 1",
        "ocelli_panics_total{model_name=\"ocelli-demo\"} 0",
        // Closed, or one of those that asked.
        "ocelli_http_connections ",
        "ocelli_http_connections_closed_total 0",
        "ocelli_build_info{version=\"",
        "process_start_time_seconds ",
    ] {
        assert!(page.contains(name), "{name} is not in {page}");
    }
}

#[test]
fn a_request_that_is_refused_before_its_body_came_gets_its_answer_and_its_connection_goes_on() {
    let server = Server::with(|setup| setup.settings.limits.body_bytes = 10_000);
    let body = vec![b'x'; 8 << 20];
    let json = "Content-Type: application/json";
    for (head, status) in [
        (format!("POST /nosuch HTTP/1.1\r\n{json}"), 404),
        (format!("POST {CHAT} HTTP/1.1\r\n{json}"), 413),
        (
            format!("POST {CHAT} HTTP/1.1\r\nContent-Type: image/png"),
            415,
        ),
    ] {
        let mut stream = server.connect();
        let length = body.len();
        let head = format!("{head}\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // All of it must be taken: a client that is cut off while it writes does not read the answer.
        stream.write_all(&body).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        assert_eq!(Reply::read(&mut reader).status, status, "{head}");
        let next = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(next).unwrap();
        assert_eq!(Reply::read(&mut reader).status, 200, "{head}");
    }
}

#[test]
fn a_client_that_asks_before_it_sends_is_not_told_to_send_what_is_refused() {
    let server = Server::start();
    for _ in 0..20 {
        let mut stream = server.connect();
        let head = "POST /nosuch HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 8000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        assert_eq!(Reply::read(&mut reader).status, 404);
    }
    let body = text_chat("Hello").to_string();
    let length = body.len();
    let mut stream = server.connect();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    reader.read_line(&mut line).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut reader).status, 200);
}
