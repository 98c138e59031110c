//! Which tokens a grammar allows, for both kinds of vocabularies.

use ocelli_text::{Model as Algorithm, TokenKind, Vocabulary};

use super::*;

/// A SentencePiece vocabulary: specials, all bytes, and a few pieces.
fn sentence_piece() -> Tokenizer {
    let mut tokens: Vec<(String, TokenKind)> = vec![
        ("<unk>".to_owned(), TokenKind::Unknown),
        ("<s>".to_owned(), TokenKind::Control),
        ("</s>".to_owned(), TokenKind::Control),
    ];
    tokens.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), TokenKind::Byte)));
    let pieces = [
        "\u{2581}",
        "a",
        "b",
        "ab",
        "\u{2581}ab",
        "\u{2581}a\u{2581}b",
        "ä",
    ];
    tokens.extend(pieces.map(|piece| (piece.to_owned(), TokenKind::Normal)));
    let texts: Vec<&str> = tokens.iter().map(|(text, _)| text.as_str()).collect();
    let mut vocabulary = Vocabulary::new(Algorithm::SentencePiece, texts.into_iter().collect());
    vocabulary.kinds = tokens.iter().map(|(_, kind)| *kind).collect();
    vocabulary.scores = vec![0.0; tokens.len()];
    vocabulary.unknown = Some(0);
    vocabulary.bos = Some(1);
    vocabulary.eos = Some(2);
    Tokenizer::new(vocabulary).unwrap()
}

/// Texts of the tokens that may come after `before`.
fn allowed(tokenizer: &Tokenizer, regex: &str, before: &[&str]) -> Vec<String> {
    let factory = factory(tokenizer).unwrap();
    let source = GrammarSource::Regex(regex.to_owned());
    let mut follow = Follow::new(compile(&factory, &source, tokenizer, None).unwrap(), true);
    for token in before {
        follow.push(tokenizer.token_id(token).unwrap()).unwrap();
    }
    let mut logits = vec![0.0; tokenizer.len()];
    assert!(follow.mask(&mut logits, None).unwrap());
    let ids = (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0);
    ids.map(|(id, _)| tokenizer.token_text(id).unwrap().to_owned())
        .collect()
}

#[test]
fn pieces_with_spaces_and_raw_bytes_are_what_they_stand_for() {
    let tokenizer = sentence_piece();
    let first = allowed(&tokenizer, " ab|b", &[]);
    assert_eq!(first, ["<0x20>", "<0x62>", "\u{2581}", "b", "\u{2581}ab"]);
    let second = allowed(&tokenizer, " ab|b", &["\u{2581}"]);
    assert_eq!(second, ["<0x61>", "a", "ab"]);
}

#[test]
fn characters_may_come_in_bytes_and_the_end_only_where_it_may() {
    let tokenizer = sentence_piece();
    assert_eq!(allowed(&tokenizer, "ä+", &[]), ["<0xC3>", "ä"]);
    assert_eq!(allowed(&tokenizer, "ä+", &["<0xC3>"]), ["<0xA4>"]);
    assert_eq!(allowed(&tokenizer, "ä+", &["ä"]), ["</s>", "<0xC3>", "ä"]);
}
