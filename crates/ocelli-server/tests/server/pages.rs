//! What pages of the web can make a browser send, and what careless programs send: the first is
//! refused, the second read.

use crate::client::{CHAT, Server, text_chat};
use crate::hostile::{JSON, expect};

#[test]
fn whoever_thinks_to_speak_to_another_host_or_comes_from_another_page_is_turned_away() {
    let server = Server::with(|setup| {
        setup.settings.allowed_hosts = vec!["vision.example".to_owned()];
        setup.settings.allowed_origins = vec!["https://good.example".to_owned()];
    });
    let body = text_chat("Hello").to_string();
    let port = server.address.port();
    for (headers, status) in [
        ("Host: evil.example\r\n".to_owned(), 421),
        ("Host: localhost.evil.example\r\n".to_owned(), 421),
        ("Host: localhost\r\nHost: localhost\r\n".to_owned(), 421),
        (format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: vision.example\r\n".to_owned(), 200),
        (
            "Host: localhost\r\nOrigin: https://evil.example\r\n".to_owned(),
            403,
        ),
        ("Host: localhost\r\nOrigin: null\r\n".to_owned(), 403),
        (
            "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n".to_owned(),
            403,
        ),
        (
            "Host: localhost\r\nOrigin: https://good.example\r\n".to_owned(),
            200,
        ),
    ] {
        let reply = server.request("POST", CHAT, &format!("{headers}{JSON}"), &body);
        assert_eq!(reply.status, status, "{headers}: {}", reply.text());
        let allowed = reply.header("access-control-allow-origin");
        assert_eq!(allowed.is_some(), headers.contains("good"), "{headers}");
    }
    for (whole, host, status) in [
        ("evil.example", "localhost", 421),
        ("localhost", "evil.example", 421),
        ("a@localhost", "localhost", 421),
        ("localhost:1", "localhost", 200),
        ("vision.example", "vision.example", 200),
    ] {
        let absolute = format!(
            "GET http://{whole}/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        );
        let reply = server.send(absolute.as_bytes());
        assert_eq!(reply.status, status, "{whole} {host}");
    }
}

#[test]
fn bodies_must_be_json_and_not_packed() {
    let server = Server::start();
    let body = text_chat("Hello").to_string();
    let ask = |headers: &str, body: &str| server.request("POST", CHAT, headers, body);
    let multipart = "Content-Type: multipart/form-data; boundary=x\r\n";
    expect(&ask(multipart, &body), 415, "Content-Type");
    let packed = format!("{JSON}Content-Encoding: gzip\r\n");
    expect(&ask(&packed, &body), 415, "Content-Encoding");
    let with_charset = "Content-Type: application/json; charset=utf-8\r\n";
    assert_eq!(ask(with_charset, &body).status, 200);
    // What calls nothing JSON must still be JSON.
    let no_object = "request body is not a JSON object";
    expect(&ask("", "model=x&messages=y"), 400, no_object);
}

#[test]
fn json_that_programs_do_not_call_so_is_read_but_not_what_a_page_can_send() {
    let server = Server::with(|setup| {
        setup.settings.allowed_origins = vec!["https://good.example".to_owned()];
    });
    let body = text_chat("Hello").to_string();
    // As curl -d, Node's fetch and Python's urllib send it.
    let careless = [
        "",
        "Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: curl/8.5.0\r\n",
        "Content-Type: text/plain;charset=UTF-8\r\nSec-Fetch-Mode: cors\r\n",
    ];
    for (path, body) in [
        (CHAT, body.as_str()),
        (
            "/api/generate",
            r#"{"model": "ocelli-demo", "prompt": "Hi", "stream": false}"#,
        ),
        ("/api/show", r#"{"model": "ocelli-demo"}"#),
    ] {
        for headers in careless {
            server.request("POST", path, headers, body).ok();
        }
    }
    // What Chromium was seen to send for a page's fetch without a preflight, its beacon or its
    // form: whatever the page does, at least one of these is there. Without an origin that is
    // allowed it is told so before.
    let marks = [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        (
            "Origin: http://127.0.0.1:3000\r\nSec-Fetch-Site: same-site\r\n",
            403,
        ),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: https://good.example\r\n", 415),
        ("Sec-Fetch-Site: same-site\r\n", 415),
        ("Referer: https://evil.example/\r\n", 415),
        ("Cookie: a=b\r\n", 415),
        ("User-Agent: Mozilla/5.0 (X11)\r\n", 415),
        ("Host: evil.example\r\n", 421),
    ];
    for headers in careless {
        for (mark, status) in marks {
            let reply = server.request("POST", CHAT, &format!("{headers}{mark}"), &body);
            assert_eq!(reply.status, status, "{headers}{mark}{}", reply.text());
        }
    }
    let good = format!("{JSON}Origin: https://good.example\r\n");
    assert_eq!(server.request("POST", CHAT, &good, &body).status, 200);
}
