//! Real vocabularies with expected ids, from the folder that `OCELLI_VOCAB_DIR` names: `ggml-vocab-NAME.gguf` with
//! `.inp` (texts) and `.out` (one line of ids for each). They are too large for the repository.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::PathBuf;

use ocelli_gguf::Gguf;
use ocelli_text::{ControlTokens, Piece, Tokenizer, Vocabulary};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("OCELLI_VOCAB_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "SKIPPED: set OCELLI_VOCAB_DIR to the folder of ggml-vocab-*.gguf to test real vocabularies"
        );
    }
    folder
}

fn tokenizer(folder: &std::path::Path, name: &str) -> Tokenizer {
    let file = Gguf::open(&folder.join(format!("ggml-vocab-{name}.gguf"))).unwrap();
    Tokenizer::new(Vocabulary::from_metadata(file.metadata()).unwrap()).unwrap()
}

/// Texts and their ids. A text that starts with a line break has lost it in some files, hence the trimming of one
/// line break in front of the separator only.
fn cases(folder: &std::path::Path, name: &str) -> Vec<(String, Vec<u32>)> {
    let read = |end: &str| {
        std::fs::read_to_string(folder.join(format!("ggml-vocab-{name}.gguf.{end}"))).unwrap()
    };
    let texts = read("inp");
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    let ids = read("out");
    let ids: Vec<Vec<u32>> = ids
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect()
        })
        .collect();
    let cases: Vec<(String, Vec<u32>)> = texts.zip(ids).collect();
    assert!(cases.len() > 40, "{name}: {} cases", cases.len());
    cases
}

/// The expected ids were made without Unicode normalisation, so it is off here.
fn check(name: &str) {
    let Some(folder) = folder() else { return };
    let tokenizer = tokenizer(&folder, name).without_normalization();
    let mut wrong = Vec::new();
    for (text, expected) in cases(&folder, name) {
        let ids = tokenizer.encode(&[Piece::user(text.clone())]);
        if ids != expected {
            wrong.push(format!("{text:?}: found {ids:?}, need {expected:?}"));
        }
        assert_eq!(
            tokenizer.decode(&ids, ControlTokens::Hidden),
            text,
            "{name}: {ids:?}"
        );
    }
    assert!(
        wrong.is_empty(),
        "{name}: {} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn gpt_2_ids_are_the_expected_ones() {
    check("gpt-2");
}

#[test]
fn llama_bpe_ids_are_the_expected_ones() {
    check("llama-bpe");
}

#[test]
fn qwen2_ids_are_the_expected_ones() {
    check("qwen2");
}

#[test]
fn qwen35_ids_are_the_expected_ones() {
    check("qwen35");
}

#[test]
fn llama_spm_ids_are_the_expected_ones() {
    check("llama-spm");
}

#[test]
fn phi_3_ids_are_the_expected_ones() {
    check("phi-3");
}

#[test]
fn normalisation_changes_only_decomposed_text() {
    let Some(folder) = folder() else { return };
    for name in ["qwen2", "qwen35"] {
        let tokenizer = tokenizer(&folder, name);
        let changed: Vec<String> = cases(&folder, name)
            .into_iter()
            .filter(|(text, expected)| tokenizer.encode(&[Piece::user(text.clone())]) != *expected)
            .map(|(text, _)| text)
            .collect();
        let decomposed = |text: &String| !unicode_normalization::is_nfc(text);
        assert!(changed.iter().all(decomposed), "{name}: {changed:?}");
    }
}
