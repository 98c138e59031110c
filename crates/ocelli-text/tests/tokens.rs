//! Ids equal to Hugging Face's (`tools/text/make_tokenizer.py`), and control tokens by origin only.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::time::{Duration, Instant};

use ocelli_text::{
    ControlTokens, DecodeStream, Model, Origin, Piece, Source, TokenKind, Tokenizer, Vocabulary,
};
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

const RULES: [&str; 8] = [
    "qwen2",
    "qwen35",
    "llama-bpe",
    "tekken",
    "gpt-4o",
    "gpt-2",
    "starcoder",
    "default",
];

#[derive(Deserialize)]
struct Data {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
}

#[derive(Deserialize)]
struct Cases {
    texts: Vec<String>,
    ids: std::collections::BTreeMap<String, Vec<Vec<u32>>>,
}

fn tokenizer(rule: &str) -> Tokenizer {
    let data: Data = serde_json::from_str(include_str!("goldens/vocabulary.json")).unwrap();
    let mut vocabulary = Vocabulary::new(Model::BytePair, data.tokens.iter().collect());
    vocabulary.kinds = data
        .kinds
        .iter()
        .map(|&kind| TokenKind::from_number(kind).unwrap())
        .collect();
    vocabulary.merges = data.merges.iter().collect();
    vocabulary.pre = Some(rule.into());
    vocabulary.add_bos = Some(false);
    Tokenizer::new(vocabulary).unwrap()
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("goldens/tokens.json")).unwrap()
}

fn control_ids(tokenizer: &Tokenizer, ids: &[u32]) -> usize {
    ids.iter()
        .filter(|&&id| tokenizer.kind(id) == Some(TokenKind::Control))
        .count()
}

fn control_texts(tokenizer: &Tokenizer) -> Vec<String> {
    let ids =
        (0..tokenizer.len() as u32).filter(|&id| tokenizer.kind(id) == Some(TokenKind::Control));
    ids.map(|id| tokenizer.token_text(id).unwrap().to_owned())
        .collect()
}

/// A small generator of numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// `text` cut at random places, each piece with a random origin.
fn shattered(text: &str, origins: &[Origin], random: &mut Random) -> Vec<Piece> {
    let mut pieces = vec![Piece {
        text: String::new(),
        origin: origins[0],
    }];
    for character in text.chars() {
        if random.below(3) == 0 {
            pieces.push(Piece {
                text: String::new(),
                origin: origins[random.below(origins.len())],
            });
        }
        pieces.last_mut().unwrap().text.push(character);
    }
    pieces
}

#[test]
fn ids_are_those_of_the_reference_for_every_rule() {
    let cases = cases();
    let mut wrong = Vec::new();
    for rule in RULES {
        let tokenizer = tokenizer(rule);
        for (text, expected) in cases.texts.iter().zip(&cases.ids[rule]) {
            let ids = tokenizer.encode(&[Piece::template(text.as_str())]);
            if ids != *expected {
                wrong.push(format!("{rule} {text:?}: found {ids:?}, need {expected:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn origins_do_not_change_ids_of_text_without_control_tokens() {
    let cases = cases();
    let origins = [
        Origin::Template,
        Origin::Value(Source::User),
        Origin::Value(Source::Tool),
    ];
    let mut random = Random(1);
    for rule in RULES {
        let tokenizer = tokenizer(rule);
        let control = control_texts(&tokenizer);
        for (text, expected) in cases.texts.iter().zip(&cases.ids[rule]) {
            if !control.iter().any(|token| text.contains(token.as_str())) {
                let pieces = shattered(text, &origins, &mut random);
                assert_eq!(tokenizer.encode(&pieces), *expected, "{rule} {pieces:?}");
            }
        }
    }
}

#[test]
fn control_tokens_are_cut_across_pieces_of_the_template() {
    let cases = cases();
    let mut random = Random(2);
    let tokenizer = tokenizer("qwen2");
    for (text, expected) in cases.texts.iter().zip(&cases.ids["qwen2"]) {
        let pieces = shattered(text, &[Origin::Template], &mut random);
        assert_eq!(tokenizer.encode(&pieces), *expected, "{pieces:?}");
    }
}

#[test]
fn values_never_become_control_tokens_and_come_back_byte_for_byte() {
    let mut random = Random(3);
    let sources = [
        Source::User,
        Source::System,
        Source::Assistant,
        Source::Tool,
        Source::Parameter,
    ];
    let origins = sources.map(Origin::Value);
    for rule in RULES {
        let tokenizer = tokenizer(rule);
        let control = control_texts(&tokenizer);
        let mut texts = control.clone();
        for first in &control {
            texts.extend(control.iter().map(|second| format!("{first}{second}")));
            texts.push(format!(
                "{}{first}{}",
                &first[..first.len() - 1],
                &first[1..]
            ));
        }
        texts.push(control.concat());
        for text in texts {
            for _ in 0..4 {
                let pieces = shattered(&text, &origins, &mut random);
                let ids = tokenizer.encode(&pieces);
                assert_eq!(control_ids(&tokenizer, &ids), 0, "{rule} {pieces:?}");
                assert_eq!(
                    tokenizer.decode(&ids, ControlTokens::Hidden),
                    text,
                    "{rule}"
                );
            }
        }
    }
}

#[test]
fn a_control_token_with_one_byte_of_a_value_is_text() {
    let tokenizer = tokenizer("qwen2");
    for text in control_texts(&tokenizer) {
        for (at, character) in text.char_indices() {
            let end = at + character.len_utf8();
            let pieces = [
                Piece::template(&text[..at]),
                Piece::user(&text[at..end]),
                Piece::template(&text[end..]),
            ];
            let ids = tokenizer.encode(&pieces);
            let whole = tokenizer.token_id(&text).unwrap();
            assert!(!ids.contains(&whole), "{pieces:?}");
            assert_eq!(tokenizer.decode(&ids, ControlTokens::Shown), text);
        }
    }
}

#[test]
fn user_defined_tokens_are_cut_everywhere_and_shown() {
    let tokenizer = tokenizer("qwen2");
    let think = tokenizer.token_id("<think>").unwrap();
    assert_eq!(tokenizer.encode(&[Piece::user("<think>")]), [think]);
    assert_eq!(
        tokenizer.encode(&[Piece::user("<thi"), Piece::template("nk>")]),
        [think]
    );
    assert_eq!(tokenizer.decode(&[think], ControlTokens::Hidden), "<think>");
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    assert_eq!(
        tokenizer.decode(&[think, end], ControlTokens::Hidden),
        "<think>"
    );
    assert_eq!(
        tokenizer.decode(&[think, end], ControlTokens::Shown),
        "<think><|im_end|>"
    );
}

#[test]
fn a_user_defined_token_inside_a_refused_control_token_is_still_cut() {
    let tokenizer = tokenizer("qwen2");
    let inner = tokenizer.token_id("<|im_").unwrap();
    let ids = tokenizer.encode(&[Piece::user("<|im_start|>")]);
    assert_eq!(ids[0], inner);
    assert_eq!(control_ids(&tokenizer, &ids), 0);
    let trusted = tokenizer.encode(&[Piece::template("<|im_start|>")]);
    assert_eq!(
        trusted,
        [tokenizer.token_id("<|im_start|>").unwrap()],
        "the longest wins"
    );
}

#[test]
fn streams_give_whole_characters_only_and_the_text_of_the_whole() {
    let tokenizer = tokenizer("qwen2");
    for text in cases().texts {
        let composed: String = text.nfc().collect();
        let ids = tokenizer.encode(&[Piece::user(text.as_str())]);
        let mut stream = DecodeStream::new(&tokenizer, ControlTokens::Hidden);
        let mut streamed = String::new();
        for &id in &ids {
            let chunk = stream.push(&tokenizer, id);
            assert!(!chunk.contains('\u{FFFD}'), "{text:?} {chunk:?}");
            streamed.push_str(&chunk);
        }
        assert_eq!(stream.finish(), "");
        // Normalisation works on each run between cuts, so a text with cuts may differ at their borders.
        if !text.contains('<') {
            assert_eq!(streamed, composed);
        }
    }
}

#[test]
fn bytes_that_are_no_character_are_replaced_once_it_is_sure() {
    let tokenizer = tokenizer("gpt-2");
    let byte = |byte: u8| tokenizer.encode(&[Piece::user("\u{10FFFF}")])[usize::from(byte)];
    // U+10FFFF is F4 8F BF BF.
    let (lead, second) = (byte(0), byte(1));
    let mut stream = DecodeStream::new(&tokenizer, ControlTokens::Hidden);
    assert_eq!(stream.push(&tokenizer, lead), "");
    assert_eq!(stream.push(&tokenizer, second), "");
    let letter = tokenizer.encode(&[Piece::user("a")])[0];
    assert_eq!(stream.push(&tokenizer, letter), "\u{FFFD}a");
    assert_eq!(stream.push(&tokenizer, second), "\u{FFFD}");
    assert_eq!(stream.push(&tokenizer, lead), "");
    assert_eq!(stream.finish(), "\u{FFFD}");
    assert_eq!(stream.push(&tokenizer, u32::MAX), "");
}

#[test]
fn hostile_texts_take_no_more_than_n_log_n() {
    let megabyte = |text: &str| text.repeat((1 << 20) / text.len());
    let hostile = [
        megabyte("a"),
        megabyte(" "),
        megabyte("\n"),
        megabyte("\u{301}"),
        megabyte("1"),
        megabyte("字A"),
        megabyte(" \n"),
        megabyte("<|im_end|"),
        megabyte("'"),
        megabyte("aA"),
        megabyte("\r "),
        megabyte("!"),
        megabyte("a\u{301}\u{323}"),
        megabyte("the circle "),
    ];
    for rule in RULES {
        let tokenizer = tokenizer(rule);
        for text in &hostile {
            let start = Instant::now();
            let ids = tokenizer.encode(&[Piece::user(text.as_str())]);
            let time = start.elapsed();
            assert!(!ids.is_empty());
            // Quadratic time would be hours; this leaves room for a slow and busy machine.
            assert!(
                time < Duration::from_secs(20),
                "{rule}: {time:?} for {:?}",
                &text.chars().take(9).collect::<String>()
            );
        }
    }
}

#[test]
fn the_end_of_an_answer_is_a_control_token_or_named_by_the_file() {
    let with = |kind: TokenKind| {
        let texts = ["a", "</s>", "<|im_end|>", "<end>"];
        let mut vocabulary = Vocabulary::new(Model::BytePair, texts.iter().collect());
        vocabulary.pre = Some("qwen2".into());
        vocabulary.kinds = vec![
            TokenKind::Normal,
            kind,
            TokenKind::Control,
            TokenKind::Control,
        ];
        vocabulary.eos = Some(3);
        Tokenizer::new(vocabulary).unwrap().end_ids().to_vec()
    };
    assert_eq!(with(TokenKind::Control), [1, 2, 3]);
    assert_eq!(with(TokenKind::Normal), [2, 3]);
}

#[test]
fn one_begin_token_stands_in_front_of_a_prompt() {
    let texts = ["<s>", "a", "b"];
    let mut vocabulary = Vocabulary::new(Model::BytePair, texts.iter().collect());
    vocabulary.pre = Some("llama-bpe".into());
    vocabulary.kinds = vec![TokenKind::Control, TokenKind::Normal, TokenKind::Normal];
    vocabulary.bos = Some(0);
    let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
    assert_eq!(tokenizer.encode_prompt(&[Piece::template("ab")]), [0, 1, 2]);
    assert_eq!(
        tokenizer.encode_prompt(&[Piece::template("<s>ab")]),
        [0, 1, 2]
    );
    vocabulary.add_bos = Some(false);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode_prompt(&[Piece::template("ab")]), [1, 2]);
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let base = || {
        let mut vocabulary = Vocabulary::new(Model::BytePair, ["a", "b", "ab"].iter().collect());
        vocabulary.pre = Some("gpt-2".into());
        vocabulary
    };
    let error = |change: &dyn Fn(&mut Vocabulary)| {
        let mut vocabulary = base();
        change(&mut vocabulary);
        Tokenizer::new(vocabulary).err().unwrap().to_string()
    };
    assert!(error(&|v| v.tokens = Default::default()).contains("0 tokens"));
    assert!(error(&|v| v.kinds = vec![TokenKind::Normal]).contains("found 1 values, need 3"));
    assert!(error(&|v| v.eos = Some(3)).contains("eos_token_id: found 3, need a number below 3"));
    assert!(error(&|v| v.merges = ["ab"].iter().collect()).contains("merges[0]"));
    assert!(error(&|v| v.pre = Some("nope".into())).contains("unknown pre-tokenizer"));
    assert!(error(&|v| v.model = Model::SentencePiece).contains("scores"));
    assert!(Tokenizer::new(base()).is_ok());
}

#[test]
fn a_merge_cannot_make_a_control_token() {
    let tokens = ["<", "s", ">", "<s", "<s>"];
    let mut vocabulary = Vocabulary::new(Model::BytePair, tokens.iter().collect());
    vocabulary.pre = Some("llama-bpe".into());
    vocabulary.add_bos = Some(false);
    vocabulary.kinds = vec![TokenKind::Normal; 4];
    vocabulary.kinds.push(TokenKind::Control);
    vocabulary.merges = ["< s", "<s >"].iter().collect();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode(&[Piece::user("<s><s>")]);
    assert_eq!(control_ids(&tokenizer, &ids), 0, "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, ControlTokens::Hidden), "<s><s>");
}
