//! The golden pairs, in the layout of files in the wild, are recognised as pairs.

use std::path::{Path, PathBuf};

use ocelli_store::open;

/// Folders of goldens that hold a pair.
fn pairs() -> Vec<PathBuf> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let entries = std::fs::read_dir(goldens).expect("tests/goldens");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    folders
        .filter(|folder| folder.join("mmproj.gguf").is_file())
        .collect()
}

#[test]
fn each_golden_pair_is_found_from_either_file_and_opens_when_both_are_named() {
    let pairs = pairs();
    assert!(!pairs.is_empty());
    for folder in pairs {
        let text = folder.join("text.gguf");
        let projector = folder.join("mmproj.gguf");
        for given in [&text, &projector, &folder] {
            let files = open(given, None).expect("a pair");
            let pairing = files.pairing.expect("a search");
            assert!(
                files.projector.is_some(),
                "{}: {pairing:?}",
                given.display()
            );
        }
        open(&text, Some(&projector)).expect("a pair");
    }
}
