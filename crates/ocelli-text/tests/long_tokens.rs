//! Tokens of a length that no real vocabulary has: preparing to search for them must not take a
//! time that grows with its square.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::time::{Duration, Instant};

use ocelli_text::{Model, Piece, TokenKind, Tokenizer, Vocabulary};

/// Letters and one control token, which repeats itself.
fn vocabulary(length: usize) -> Vocabulary {
    let control = "z".repeat(length);
    let mut vocabulary = Vocabulary::new(Model::BytePair, ["a", "z", &control].iter().collect());
    vocabulary.pre = Some("gpt-2".into());
    vocabulary.kinds = vec![TokenKind::Normal, TokenKind::Normal, TokenKind::Control];
    vocabulary
}

#[test]
fn long_control_tokens_are_cut_out_of_text_like_short_ones_and_prepared_as_quickly() {
    for length in [2, 64, 65, 4096] {
        let start = Instant::now();
        let tokenizer = Tokenizer::new(vocabulary(length)).unwrap();
        let text = format!("a{}a", "z".repeat(length + 1));
        let ids = tokenizer.encode(&[Piece::template(text.clone())]);
        assert_eq!(ids, [0, 2, 1, 0], "{length}");
        let ids = tokenizer.encode(&[Piece::user(text)]);
        assert_eq!(ids.len(), length + 3, "{length}");
        // The square of it takes seconds.
        assert!(start.elapsed() < Duration::from_millis(800), "{length}");
    }
}

#[test]
fn control_tokens_beyond_any_measure_are_refused_at_once() {
    for length in [4097, 10 << 20] {
        let error = Tokenizer::new(vocabulary(length))
            .err()
            .unwrap()
            .to_string();
        let need = format!(
            "tokenizer.ggml.tokens[2]: found a control or user-defined token of {length} bytes, need at most 4096"
        );
        assert!(error.contains(&need), "{error}");
    }
}
