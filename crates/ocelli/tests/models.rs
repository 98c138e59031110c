//! Several models under one budget of memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ocelli::service::{KeepAlive, ModelEntry, Models, ServiceOptions};
use ocelli::{Error, Options, Source};
use ocelli_testkit::Suite;

/// Bytes of a file.
fn bytes(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn a_projector_that_is_found_beside_its_model_counts_before_it_is_loaded() {
    let suite = Suite::load("qwen3vl");
    let (text, projector) = (bytes(&suite.text), bytes(suite.mmproj.as_ref().unwrap()));
    let loaded = |memory| {
        let entry = ModelEntry {
            name: "tiny".to_owned(),
            source: Source::File(suite.text.clone()),
            options: Options {
                context: Some(64),
                ..Options::default()
            },
        };
        let models = Models::new(
            vec![entry],
            ServiceOptions::default(),
            KeepAlive::Forever,
            Some(memory),
        );
        let models = models.unwrap();
        models.load("tiny").map(|service| service.can_see())
    };
    assert!(loaded(text + projector).unwrap());
    let error = loaded(text + projector - 1).unwrap_err();
    assert!(matches!(error, Error::Memory { .. }), "{error}");
}
