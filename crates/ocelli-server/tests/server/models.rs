//! Several models of one server.

use std::time::Duration;

use ocelli::service::KeepAlive;
use serde_json::json;

use crate::client::{Server, text_chat};

#[test]
fn each_model_is_loaded_on_first_use_and_unloaded_when_nobody_uses_it() {
    let server = Server::with(|setup| {
        setup.names = vec!["first", "second"];
        setup.keep = KeepAlive::For(Duration::from_secs(3));
    });
    let loaded = || {
        server.get("/api/ps").ok()["models"]
            .as_array()
            .unwrap()
            .len()
    };
    let mut chat = text_chat("Hello");
    chat["model"] = json!("second");
    let answer = server.post("/v1/chat/completions", &chat).ok();
    assert_eq!(answer["model"], "second");
    let begun = std::time::Instant::now();
    while loaded() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "still loaded");
        std::thread::sleep(Duration::from_millis(100));
    }
    // It comes back when it is asked for.
    chat["model"] = json!("first");
    assert_eq!(
        server.post("/v1/chat/completions", &chat).ok()["model"],
        "first"
    );
    chat["model"] = json!("third");
    let reply = server.post("/v1/chat/completions", &chat);
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["code"], "model_not_found");
    assert!(reply.text().contains("first, second"), "{}", reply.text());
    let escaped = server.get("/v1/models/%66irst").ok();
    assert_eq!(escaped["id"], "first");
}

#[test]
fn the_description_of_the_routes_has_every_one() {
    let server = Server::start();
    let description = server.get("/openapi.json").ok();
    for (method, path, _) in ocelli_server::ROUTES {
        let operation = &description["paths"][path][method.to_ascii_lowercase()];
        assert!(operation["summary"].is_string(), "{method} {path}");
    }
}
