//! Which tokens a grammar allows, for both kinds of vocabularies.

use ocelli_text::{Model as Algorithm, TokenKind, Vocabulary};

use serde_json::json;

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
    let matcher = compile(&factory, &source, tokenizer, None).unwrap();
    let mut follow = Follow::new(matcher, None, true);
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

/// The longest text that begins with `start` when nothing but digits, points and exponents is chosen.
fn longest(schema: serde_json::Value, start: &str) -> String {
    let tokenizer = sentence_piece();
    let factory = factory(&tokenizer).unwrap();
    let source = GrammarSource::JsonSchema(schema);
    let digits = Arc::new(DigitTokens::new(factory.tok_env()));
    let matcher = compile(&factory, &source, &tokenizer, None).unwrap();
    let numbers = source.is_json(None).then(|| Numbers::new(digits));
    let mut follow = Follow::new(matcher, numbers, true);
    let byte = |byte: u8| tokenizer.token_id(&format!("<0x{byte:02X}>")).unwrap();
    let mut text = start.to_owned();
    for start in start.bytes() {
        follow.push(byte(start)).unwrap();
    }
    while text.len() < 200 {
        let mut logits = vec![0.0; tokenizer.len()];
        assert!(follow.mask(&mut logits, None).unwrap(), "{text}");
        let allowed = |&wanted: &u8| logits[byte(wanted) as usize] == 0.0;
        let Some(next) = b"701.e".iter().copied().find(allowed) else {
            break;
        };
        text.push(char::from(next));
        if follow.push(byte(next)).unwrap() {
            break;
        }
    }
    text
}

#[test]
fn numbers_end_after_as_many_digits_as_a_program_can_read() {
    let sevens = "7".repeat(20);
    for schema in [json!({"type": "number"}), json!({})] {
        assert_eq!(longest(schema, ""), format!("{sevens}.{sevens}e77"));
    }
    let list = longest(json!({"type": "array", "items": {"type": "integer"}}), "[-");
    assert_eq!(list, format!("[-{sevens}"));
    let second = longest(json!({"type": "array"}), "[\"\\\"1\",7e-7,");
    assert_eq!(second, format!("[\"\\\"1\",7e-7,{sevens}.{sevens}e77"));
}

#[test]
fn digits_that_a_schema_needs_or_a_text_holds_are_written() {
    let long = json!({"type": "string", "pattern": "^[0-9]{40}$"});
    assert_eq!(longest(long, "\"").len(), 41);
    let long = format!("1{}", "0".repeat(24));
    assert_eq!(longest(json!({"const": 1e24}), ""), long);
    let source = GrammarSource::Regex("[0-9]{40}".to_owned());
    assert!(!source.is_json(None));
}
