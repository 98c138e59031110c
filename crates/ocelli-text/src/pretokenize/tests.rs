//! Pieces of texts whose splits are known from the expressions.

use super::*;

fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
    let mut found = Vec::new();
    PreTokenizer::named(name)
        .unwrap()
        .split(text, &mut |piece| found.push(piece));
    assert_eq!(found.concat(), text, "{name}: pieces have no gaps");
    found
}

#[test]
fn words_take_one_leading_character_and_numbers_their_digits() {
    assert_eq!(
        pieces("qwen2", "a 123 (b"),
        ["a", " ", "1", "2", "3", " (", "b"]
    );
    assert_eq!(pieces("llama-bpe", "a 12345"), ["a", " ", "123", "45"]);
    assert_eq!(pieces("gpt-2", "a 12345"), ["a", " 12345"]);
    assert_eq!(pieces("smollm", "a 123"), ["a", " ", "1", "2", "3"]);
    assert_eq!(
        pieces("default", "ab 12345!?"),
        ["ab", " ", "123", "45", "!?"]
    );
}

#[test]
fn a_run_of_spaces_leaves_its_last_one_to_the_next_word() {
    for name in ["qwen2", "llama-bpe", "gpt-2", "tekken", "gpt-4o"] {
        assert_eq!(pieces(name, "a   b  "), ["a", "  ", " b", "  "], "{name}");
    }
    assert_eq!(pieces("qwen2", "a \n\n  b"), ["a", " \n\n", " ", " b"]);
    assert_eq!(pieces("gpt-2", "a \n\n  b"), ["a", " \n\n ", " b"]);
}

#[test]
fn contractions_are_pieces() {
    assert_eq!(
        pieces("qwen2", "I'LL we've 'ſ"),
        ["I", "'LL", " we", "'ve", " '", "ſ"]
    );
    assert_eq!(
        pieces("gpt-2", "I'LL we've"),
        ["I", "'", "LL", " we", "'ve"]
    );
    assert_eq!(pieces("gpt-4o", "I'll we've"), ["I'll", " we've"]);
}

#[test]
fn marks_join_words_only_where_the_rule_says_so() {
    assert_eq!(pieces("qwen2", "a\u{301}b"), ["a", "\u{301}b"]);
    assert_eq!(pieces("qwen35", "a\u{301}b"), ["a\u{301}b"]);
}

#[test]
fn case_splits_words_in_newer_rules() {
    assert_eq!(
        pieces("tekken", "helloWorld HTTPServer"),
        ["hello", "World", " HTTPServer"]
    );
    assert_eq!(pieces("tekken", "字ABC"), ["字", "ABC"]);
    assert_eq!(pieces("tekken", "a//\n/b"), ["a", "//\n/", "b"]);
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let error = PreTokenizer::named("poro-2").unwrap_err().to_string();
    assert!(
        error.contains("found `poro-2`") && error.contains("qwen2") && error.contains("tekken"),
        "{error}"
    );
}

#[test]
fn a_missing_name_is_guessed_from_the_size_and_said() {
    let tokens = |count: usize| (0..count).map(|id| id.to_string()).collect();
    let mut vocabulary = Vocabulary::new(crate::Model::BytePair, tokens(128_256));
    let (rule, note) = PreTokenizer::of(&vocabulary).unwrap();
    assert_eq!(rule.name(), "llama-bpe");
    assert!(note.unwrap().contains("missing"));
    vocabulary.tokens = tokens(151_936);
    assert_eq!(PreTokenizer::of(&vocabulary).unwrap().0.name(), "qwen2");
    vocabulary.architecture = Some("mistral3".into());
    vocabulary.pre = Some("default".into());
    assert_eq!(PreTokenizer::of(&vocabulary).unwrap().0.name(), "tekken");
}
