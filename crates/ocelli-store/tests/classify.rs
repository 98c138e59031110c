//! What a file is, from its metadata and tensors.

mod support;

use std::borrow::Cow;

use ocelli_gguf::{Gguf, Writer};
use ocelli_quant::TensorType;
use ocelli_store::{FileKind, ProjectorFacts, TextFacts, classify};
use support::{named, projector, projector_in, projector_of, text, text_of, with};

fn kind(writer: &Writer<'_>) -> FileKind {
    classify(&open(writer)).expect("classified")
}

fn open(writer: &Writer<'_>) -> Gguf {
    let bytes = writer.to_bytes().expect("written");
    Gguf::from_bytes("a.gguf", Cow::Owned(bytes)).expect("opened")
}

fn projector_facts(writer: &Writer<'_>) -> ProjectorFacts {
    match kind(writer) {
        FileKind::Projector(facts) => facts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_model_states_its_width_and_deepstack_layers() {
    let facts = TextFacts {
        architecture: "qwen3vl".to_owned(),
        embedding_length: Some(64),
        deepstack_layers: Some(2),
        name: Some("Eye 1B".to_owned()),
    };
    assert_eq!(kind(&named(text(64), "Eye 1B")), FileKind::Text(facts));
}

#[test]
fn a_text_model_without_the_key_has_the_width_of_its_embedding() {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama");
    let FileKind::Text(facts) = kind(&with(writer, "token_embd.weight", &[48, 4])) else {
        panic!("no text model");
    };
    assert_eq!(
        (facts.embedding_length, facts.deepstack_layers),
        (Some(48), None)
    );
}

#[test]
fn vision_tensors_beside_text_make_a_merged_model() {
    let merged = with(text_of("gemma3", 64, None), "v.patch_embd.weight", &[8, 8]);
    assert!(matches!(kind(&merged), FileKind::Merged(_)));
}

#[test]
fn a_projector_is_known_by_architecture_or_by_type() {
    let facts = projector_facts(&projector(64));
    assert_eq!(facts.projector_type, "qwen3vl_merger");
    assert_eq!((facts.output_width, facts.deepstack_layers), (Some(64), 2));
    assert_eq!(
        (facts.has_vision, facts.element_type.as_str()),
        (true, "F16")
    );
    let mut other_architecture = projector(64);
    other_architecture.set("general.architecture", "something");
    assert!(matches!(kind(&other_architecture), FileKind::Projector(_)));
}

#[test]
fn the_output_width_comes_from_tensors_before_keys() {
    let mut wrong_key = projector(64);
    wrong_key.set("clip.vision.projection_dim", 1280_u32);
    assert_eq!(projector_facts(&wrong_key).output_width, Some(64));
    let mut key_only = projector_of("qwen2vl_merger");
    key_only.set("clip.vision.projection_dim", 96_u32);
    assert_eq!(projector_facts(&key_only).output_width, Some(96));
    let gemma = with(
        projector_of("gemma3"),
        "mm.input_projection.weight",
        &[72, 32],
    );
    assert_eq!(projector_facts(&gemma).output_width, Some(72));
    let with_norm = with(projector(64), "mm.3.weight", &[64]);
    assert_eq!(
        projector_facts(&with_norm).output_width,
        Some(64),
        "norms are no projection"
    );
}

#[test]
fn projectors_older_than_the_type_key_are_recognised() {
    let mut oldest = Writer::new();
    oldest.set("general.architecture", "clip");
    let oldest = with(oldest, "v.class_embd", &[8]);
    assert_eq!(projector_facts(&oldest).projector_type, "mlp");
    let mut marked = oldest.clone();
    marked.set("clip.has_qwen2vl_merger", true);
    assert_eq!(projector_facts(&marked).projector_type, "qwen2vl_merger");
    let second = with(oldest, "v.patch_embd.weight.1", &[8]);
    assert_eq!(projector_facts(&second).projector_type, "qwen2vl_merger");
    let gated = with(second.clone(), "v.blk.0.ffn_gate.weight", &[8]);
    assert_eq!(projector_facts(&gated).projector_type, "qwen2.5vl_merger");
    let third = with(second, "v.patch_embd.bias", &[8]);
    assert_eq!(projector_facts(&third).projector_type, "qwen3vl_merger");
}

#[test]
fn the_type_of_most_bytes_is_the_projectors_type() {
    let mixed = with(
        projector_in(64, TensorType::BF16),
        "v.blk.0.ln1.weight",
        &[8],
    );
    assert_eq!(projector_facts(&mixed).element_type, "BF16");
}

#[test]
fn files_that_are_no_models_say_what_they_are() {
    for (general_type, what) in [
        ("adapter", "an adapter (LoRA)"),
        ("imatrix", "an importance matrix"),
    ] {
        let mut writer = text(64);
        writer.set("general.type", general_type);
        assert_eq!(kind(&writer), FileKind::Other(what.to_owned()));
    }
    let mut vocabulary = Writer::new();
    vocabulary.set("general.architecture", "llama");
    assert_eq!(
        kind(&vocabulary),
        FileKind::Other("a vocabulary without a model".to_owned())
    );
}

#[test]
fn a_missing_architecture_and_a_wrong_type_are_errors_with_the_key() {
    let error =
        classify(&open(&with(Writer::new(), "a", &[1]))).expect_err("nothing says what it is");
    assert!(
        error.to_string().contains("general.architecture"),
        "{error}"
    );
    let mut wrong = text(64);
    wrong.set("qwen3vl.embedding_length", "wide");
    let error = classify(&open(&wrong)).expect_err("a string is no width");
    assert!(
        error.to_string().contains("qwen3vl.embedding_length"),
        "{error}"
    );
}
