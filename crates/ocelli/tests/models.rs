//! Several models under one budget of memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use ocelli::service::{KeepAlive, ModelEntry, Models, ServiceOptions};
use ocelli::{Error, Model, Options, Source};
use ocelli_gguf::Gguf;
use ocelli_testkit::Suite;

/// Bytes of a file's weights.
fn weights(path: &Path) -> u64 {
    let file = Gguf::open(path).unwrap();
    let bytes = file.tensors().iter().map(|tensor| tensor.bytes() as u64);
    bytes.sum()
}

/// One model under a budget.
fn models(text: &Path, memory: u64) -> Models {
    let entry = ModelEntry {
        name: "tiny".to_owned(),
        source: Source::File(text.to_owned()),
        options: Options {
            context: Some(64),
            ..Options::default()
        },
    };
    let service = ServiceOptions::default();
    Models::new(vec![entry], service, KeepAlive::Forever, Some(memory)).unwrap()
}

#[test]
fn a_projector_that_is_found_beside_its_model_counts_before_it_is_loaded() {
    let suite = Suite::load("qwen3vl");
    let needed = weights(&suite.text) + weights(suite.mmproj.as_ref().unwrap());
    let enough = models(&suite.text, needed);
    enough.check_memory("tiny").unwrap();
    assert!(enough.load("tiny").unwrap().can_see());
    let short = models(&suite.text, needed - 1);
    for error in [
        short.check_memory("tiny").unwrap_err(),
        short.load("tiny").unwrap_err(),
    ] {
        assert!(matches!(error, Error::Memory { .. }), "{error}");
    }
}

#[test]
fn a_file_takes_the_memory_of_its_weights_however_long_it_is() {
    let suite = Suite::load("qwen3vl");
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.gguf");
    std::fs::copy(&suite.text, &text).unwrap();
    let projector = suite.mmproj.as_ref().unwrap();
    std::fs::copy(projector, folder.path().join("mmproj.gguf")).unwrap();
    // More than any machine's memory, of which the disk holds nothing.
    let file = std::fs::File::options().write(true).open(&text).unwrap();
    file.set_len(1 << 42).unwrap();
    drop(file);
    assert!(Model::open(&text).unwrap().can_see());
    let needed = weights(&text) + weights(projector);
    assert!(models(&text, needed).load("tiny").is_ok());
}
