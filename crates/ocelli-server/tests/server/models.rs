//! Several models of one server.

use std::time::Duration;

use ocelli::Source;
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
fn a_models_size_is_that_of_all_its_files() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ocelli/models");
    let names = ["ocelli-demo-text.gguf", "ocelli-demo-mmproj.gguf"];
    let size = |name: &str| std::fs::metadata(models.join(name)).unwrap().len();
    // The projector is found beside the text model; nobody named it.
    let server = Server::with(|setup| setup.source = Source::File(models.join(names[0])));
    let tags = server.get("/api/tags").ok();
    assert_eq!(
        tags["models"][0]["size"],
        names.map(size).iter().sum::<u64>()
    );
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
