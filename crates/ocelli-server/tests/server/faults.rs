//! Connections that break, clients that stand still, and a disk that is gone: each costs its own
//! request at most.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::json;

use crate::client::{CHAT, Server, picture_chat, request, square, text_chat};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_request_cut_anywhere_costs_nobody_else_anything() {
    let server = Server::start();
    let expected = server.post(CHAT, &text_chat("Hello")).ok();
    let whole = request("POST", CHAT, JSON, &picture_chat("What is it?").to_string());
    for part in 0..16 {
        let mut stream = server.connect();
        stream
            .write_all(&whole.as_bytes()[..whole.len() * part / 16])
            .unwrap();
        drop(stream);
    }
    let answer = server.post(CHAT, &text_chat("Hello")).ok();
    assert_eq!(answer["choices"], expected["choices"]);
    server.wait_for("ocelli_requests_running{", 0.0);
    server.wait_for("ocelli_requests_waiting{", 0.0);
}

#[test]
fn a_client_that_closes_its_side_has_left() {
    let server = Server::with(|setup| setup.sequences = 1);
    let mut chat = text_chat("Tell me a long story.");
    chat["max_tokens"] = json!(1500);
    chat["ignore_eos"] = json!(true);
    // Whoever closes and whoever will only listen look alike; the place goes to the next.
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let stream = server.begin(CHAT, &chat);
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    server.wait_for("ocelli_requests_waiting{", 0.0);
    server.wait_for("ocelli_requests_running{", 0.0);
    server.post(CHAT, &text_chat("Hello")).ok();
    drop(streams);
}

#[test]
fn a_client_that_reads_nothing_loses_its_place() {
    let server =
        Server::with(|setup| setup.settings.limits.stall_time = Duration::from_millis(300));
    let expected = server.post(CHAT, &text_chat("Hello")).ok();
    // Some twenty megabytes, more than the system keeps for one who does not read.
    let mut chat = text_chat("Tell me a long story.");
    for (key, value) in [
        ("max_tokens", json!(1500)),
        ("ignore_eos", json!(true)),
        ("stream", json!(true)),
        ("n", json!(8)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(20)),
    ] {
        chat[key] = value;
    }
    let mut stream = server.begin(CHAT, &chat);
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let answer = server.post(CHAT, &text_chat("Hello")).ok();
    assert_eq!(answer["choices"], expected["choices"]);
    server.wait_for("ocelli_requests_running{", 0.0);
    std::thread::sleep(Duration::from_secs(1));
    let mut rest = Vec::new();
    // It may end by a reset.
    let _ = stream.read_to_end(&mut rest);
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "{} bytes, all of them",
        rest.len()
    );
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn connections_that_say_nothing_make_room() {
    let server = Server::with(|setup| {
        setup.settings.limits.connections = 4;
        setup.settings.limits.header_time = Duration::from_millis(300);
    });
    let mut dripping: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut dripping {
        stream
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHo")
            .unwrap();
    }
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn lengths_that_contradict_themselves_are_refused() {
    let server = Server::start();
    let body = text_chat("Hello").to_string();
    let length = body.len();
    for headers in [
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 5, 7\r\n".to_owned(),
        format!(
            "Content-Length: {length}\r\nContent-Length: {}\r\n",
            length + 1
        ),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
    ] {
        let request =
            format!("POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{JSON}{headers}\r\n{body}");
        let status = server.send(request.as_bytes()).status;
        assert!(matches!(status, 400 | 413 | 431), "{headers}: {status}");
    }
    let path = format!("/{}", "x".repeat(20_000));
    assert_eq!(server.get(&path).status, 414);
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn a_picture_cache_whose_disk_is_gone_is_done_without() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cache");
    let server = Server::with(|setup| setup.image_cache = Some(folder.clone()));
    let expected = Server::start();
    let about = |side: u32| {
        let mut chat = picture_chat("What is it?");
        let url = format!("data:image/bmp;base64,{}", square(side));
        chat["messages"][0]["content"][1]["image_url"]["url"] = json!(url);
        chat
    };
    let same = |side: u32| {
        let (kept, plain) = (
            server.post(CHAT, &about(side)).ok(),
            expected.post(CHAT, &about(side)).ok(),
        );
        assert_eq!(kept["choices"], plain["choices"], "{side}");
    };
    same(40);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "no folder any more").unwrap();
    for side in [40, 48, 64] {
        same(side);
    }
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn silent_connections_keep_nobody_out() {
    let server = Server::with(|setup| setup.settings.limits.connections = 4);
    let expected = server.post(CHAT, &text_chat("Hello")).ok();
    // One that is being answered keeps its place, whatever comes.
    let mut chat = text_chat("Tell me a long story.");
    chat["max_tokens"] = json!(1500);
    chat["ignore_eos"] = json!(true);
    chat["stream"] = json!(true);
    let mut answered = server.begin(CHAT, &chat);
    let mut first = [0; 12];
    answered.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let begun = std::time::Instant::now();
    let beginnings = ["", "POST /v1/ch", &request("POST", CHAT, JSON, "{}")[..80]];
    let whole = request("POST", CHAT, JSON, &text_chat("Hello").to_string());
    let part = &whole.as_bytes()[..whole.len() - 10];
    let silent: Vec<_> = (0..24)
        .map(|number| {
            let mut stream = server.connect();
            let bytes = beginnings
                .get(number % 4)
                .map_or(part, |text| text.as_bytes());
            // The server may have closed it already.
            let _ = stream.write_all(bytes);
            stream
        })
        .collect();
    let answer = server.post(CHAT, &text_chat("Hello")).ok();
    assert_eq!(answer["choices"], expected["choices"]);
    // They would be closed after ten seconds, or after thirty.
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let mut lines = std::io::BufReader::new(answered).lines();
    assert!(lines.any(|line| line.unwrap() == "data: [DONE]"));
    drop(silent);
}
