//! Models that other programs downloaded are found by name and used in place.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, Ran, command, finish, picture};

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// A Hugging Face cache with one repository that holds a tiny pair.
fn cache(folder: &Folder) -> String {
    let model = folder.model(|_| {});
    let snapshot = folder.path(&format!("hub/models--me--tiny/snapshots/{COMMIT}"));
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(folder.path("hub/models--me--tiny/refs")).unwrap();
    folder.file("hub/models--me--tiny/refs/main", COMMIT);
    std::fs::rename(&model.text, format!("{snapshot}/tiny-Q4_K_M.gguf")).unwrap();
    std::fs::rename(&model.mmproj, format!("{snapshot}/mmproj-tiny-F16.gguf")).unwrap();
    folder.path("hub")
}

/// Runs the command where this cache is all there is.
fn with_cache(folder: &Folder, hub: &str, arguments: &[&str]) -> Ran {
    let mut command = command(arguments);
    for name in [
        "LLAMA_CACHE",
        "HF_HOME",
        "HUGGINGFACE_HUB_CACHE",
        "XDG_CACHE_HOME",
        "OLLAMA_MODELS",
    ] {
        command.env_remove(name);
    }
    command
        .env("HF_HUB_CACHE", hub)
        .env("HOME", folder.path("home"));
    finish(command.spawn().unwrap())
}

#[test]
fn a_repository_of_the_cache_is_listed_and_run_by_its_name() {
    let folder = Folder::new();
    let hub = cache(&folder);
    let listed = with_cache(&folder, &hub, &["list"]).ok();
    assert!(listed.contains("me/tiny"), "{listed}");
    let wide = picture("wide.png");
    for name in ["me/tiny", "me/tiny:q4_k_m"] {
        let arguments = [
            "run",
            "-m",
            name,
            "--image",
            &wide,
            "-n",
            "2",
            "--image-max-tokens",
            "64",
            "What?",
        ];
        with_cache(&folder, &hub, &arguments).ok();
    }
}

#[test]
fn a_name_that_is_nowhere_says_where_was_looked() {
    let folder = Folder::new();
    let hub = cache(&folder);
    let ran = with_cache(&folder, &hub, &["run", "-m", "me/other", "Hi"]);
    ran.fails(8, "ocelli pull me/other");
}

#[test]
fn pulling_while_offline_is_an_error_of_the_network() {
    let folder = Folder::new();
    let mut offline = command(&["pull", "me/tiny"]);
    offline
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HUB_CACHE", folder.path("hub"));
    finish(offline.spawn().unwrap()).fails(7, "HF_HUB_OFFLINE");
}
