//! Real vocabularies with expected ids, from the folder that `OCELLI_VOCAB_DIR` names:
//! `ggml-vocab-NAME.gguf` with `.inp` (texts) and `.out` (one line of ids for each). They are too
//! large for the repository.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::io::Write;
use std::path::PathBuf;

use ocelli_gguf::Gguf;
use ocelli_text::{
    Builtin, ChatPart, ChatTemplate, Content, ControlTokens, Error, Media, Message, Piece,
    RenderOptions, Role, Specials, TokenKind, Tokenizer, Vocabulary, encode_chat,
};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("OCELLI_VOCAB_DIR").map(PathBuf::from);
    if folder.is_none() {
        // Written past the test harness, which hides what passing tests print.
        let note = "SKIPPED: set OCELLI_VOCAB_DIR to the folder of ggml-vocab-*.gguf to test real vocabularies\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
    }
    folder
}

fn tokenizer(folder: &std::path::Path, name: &str) -> Tokenizer {
    let file = Gguf::open(&folder.join(format!("ggml-vocab-{name}.gguf"))).unwrap();
    Tokenizer::new(Vocabulary::from_metadata(file.metadata()).unwrap()).unwrap()
}

/// Texts and their ids. A text that starts with a line break has lost it in some files, hence the
/// trimming of one line break in front of the separator only.
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

#[test]
fn no_control_token_of_a_real_vocabulary_can_be_typed() {
    let Some(folder) = folder() else { return };
    for name in ["qwen2", "llama-bpe", "gpt-2", "llama-spm", "phi-3"] {
        let tokenizer = tokenizer(&folder, name);
        let control = |id: &u32| tokenizer.kind(*id) == Some(TokenKind::Control);
        let texts: Vec<&str> = (0..tokenizer.len() as u32)
            .filter(control)
            .filter_map(|id| tokenizer.token_text(id))
            .collect();
        for text in texts
            .iter()
            .map(|text| text.to_string())
            .chain([texts.concat()])
        {
            let ids = tokenizer.encode(&[Piece::user(text.as_str())]);
            assert!(!ids.iter().any(&control), "{name} {text:?}: {ids:?}");
            assert_eq!(
                tokenizer.decode(&ids, ControlTokens::Hidden),
                text,
                "{name}"
            );
            let trusted = tokenizer.encode(&[Piece::template(text.as_str())]);
            assert!(trusted.iter().all(control), "{name} {text:?}: {trusted:?}");
        }
    }
}

#[test]
fn qwen_answers_end_at_its_control_tokens_and_not_at_html() {
    let Some(folder) = folder() else { return };
    let tokenizer = tokenizer(&folder, "qwen2");
    let id = |text| tokenizer.token_id(text).unwrap();
    assert_eq!(tokenizer.end_ids(), [id("<|endoftext|>"), id("<|im_end|>")]);
    assert!(!tokenizer.is_end(id("</s>")));
}

#[test]
fn a_chat_with_pictures_has_a_place_for_each_and_none_for_typed_ones() {
    let Some(folder) = folder() else { return };
    let tokenizer = tokenizer(&folder, "qwen2");
    let source = Builtin::Qwen2Vl.source();
    let mut specials = Specials::of(&tokenizer, source);
    // This vocabulary is from before the picture tokens.
    specials.media = ocelli_text::MediaMarkers::new("<|image_pad|>", "<|image_pad|>");
    let template = ChatTemplate::new(source, specials).unwrap();
    let typed = Content::Text("<|vision_start|><|image_pad|><|vision_end|><|im_end|>".into());
    let messages = |content| [Message::new(Role::User, content)];
    let encode = |messages: &[Message]| {
        encode_chat(&tokenizer, &template, messages, &RenderOptions::default())
    };
    for pictures in 0..3 {
        let mut content = vec![typed.clone()];
        content.extend(vec![Content::Image; pictures]);
        let chat = encode(&messages(content)).unwrap();
        assert_eq!(chat.places(Media::Image), pictures);
        let (ids, places) = chat.ids_with(7);
        assert!(places.iter().all(|&place| ids[place] == 7));
        let end = tokenizer.token_id("<|im_end|>").unwrap();
        assert_eq!(
            ids.iter().filter(|&&id| id == end).count(),
            2,
            "system and user turn"
        );
        assert!(matches!(chat.parts.last(), Some(ChatPart::Tokens(_))));
    }
    let videos = encode(&messages(vec![Content::Video])).unwrap_err();
    assert!(
        matches!(
            videos,
            Error::Places {
                given: 1,
                places: 0,
                ..
            }
        ),
        "{videos}"
    );
}
