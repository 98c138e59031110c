//! Pictures that lie in the server's media folder, and those that do not.
#![cfg(unix)]

use serde_json::{Value, json};

use crate::client::{CHAT, Server, picture_chat};

fn about(url: &str) -> Value {
    let mut chat = picture_chat("What is it?");
    chat["messages"][0]["content"][1]["image_url"]["url"] = json!(url);
    chat
}

#[test]
fn pictures_of_the_media_folder_are_seen_and_nothing_else_is() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("media");
    std::fs::create_dir_all(folder.join("in")).unwrap();
    let scene = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scene.png");
    std::fs::copy(scene, folder.join("in/a scene.png")).unwrap();
    std::fs::copy(scene, place.path().join("outside.png")).unwrap();
    std::os::unix::fs::symlink("../outside.png", folder.join("link.png")).unwrap();
    std::fs::write(folder.join("notes.txt"), "no picture").unwrap();
    let server = Server::with(|setup| setup.settings.media_folder = Some(folder.clone()));
    let expected = server.post(CHAT, &picture_chat("What is it?")).ok();
    let absolute = format!(
        "file://{}/in/a%20scene.png",
        folder.canonicalize().unwrap().display()
    );
    for url in ["file:in/a scene.png", "file://in/a%20scene.png", &absolute] {
        let answer = server.post(CHAT, &about(url)).ok();
        assert_eq!(answer["choices"], expected["choices"], "{url}");
    }
    let source = json!({"type": "url", "url": "file:in/a scene.png"});
    let message = json!({"model": "ocelli-demo", "max_tokens": 4, "messages": [{"role": "user",
        "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}]});
    server.post("/v1/messages", &message).ok();
    for url in [
        "file:link.png",
        "file:../outside.png",
        "file:in/../../outside.png",
        "file:%2e%2e/outside.png",
        "file:///etc/passwd",
        "file:in",
        "file:nosuch.png",
    ] {
        let reply = server.post(CHAT, &about(url));
        assert_eq!(reply.status, 400, "{url}");
        let error = &reply.json()["error"];
        assert_eq!(error["code"], "image_file_not_allowed", "{url}");
        let expected = "no such image in the server's media folder";
        assert_eq!(error["message"], expected, "one text for every reason");
    }
    let reply = server.post(CHAT, &about("file:notes.txt"));
    assert_eq!(reply.json()["error"]["code"], "invalid_image");
    let mut many = about("file:in/a scene.png");
    let part = many["messages"][0]["content"][1].clone();
    many["messages"][0]["content"] = json!(vec![part; 17]);
    let reply = server.post(CHAT, &many);
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("17 images, limit 16"),
        "{}",
        reply.text()
    );
}

#[test]
fn a_server_without_a_media_folder_reads_no_files() {
    let server = Server::start();
    let scene = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scene.png");
    let reply = server.post(CHAT, &about(&format!("file://{scene}")));
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("--media-dir"), "{}", reply.text());
}
