//! Merging and splitting lose nothing.

mod common;

use std::num::NonZero;

use common::{Folder, content, pair, plain, quiet};
use ocelli_convert::{RewriteOptions, merge, split};
use ocelli_gguf::Gguf;

#[test]
fn splitting_a_merged_file_gives_both_back_with_every_key_and_byte_in_place() {
    for name in [
        "qwen2vl",
        "qwen2.5vl",
        "qwen3vl",
        "qwen3vl-mixed",
        "qwen3vl-moe",
        "gemma3",
    ] {
        let folder = Folder::new(&format!("merge-{name}"));
        let (text, projector) = pair(name);
        let merged = folder.join("m-merged.gguf");
        merge(&text, &projector, &merged, &plain(), &mut quiet).expect("merged");
        let whole = content(&merged);
        assert_eq!(
            whole.1.len(),
            content(&text).1.len() + content(&projector).1.len()
        );
        let done = split(&merged, folder.path(), &plain(), &mut quiet).expect("split");
        assert_eq!(
            done.files,
            [folder.join("m.gguf"), folder.join("mmproj-m.gguf")]
        );
        assert_eq!(content(&done.files[0]), content(&text), "{name}");
        assert_eq!(content(&done.files[1]), content(&projector), "{name}");
    }
}

#[test]
fn a_merged_file_has_the_text_models_metadata_and_the_projectors_own_keys() {
    let folder = Folder::new("merged-keys");
    let (text, projector) = pair("qwen3vl");
    let merged = folder.join("m.gguf");
    merge(&text, &projector, &merged, &plain(), &mut quiet).expect("merged");
    let file = Gguf::open(&merged).expect("a sound file");
    let text = |key: &str| file.metadata().required_str(key).expect(key);
    assert_eq!(text("general.architecture"), "qwen3vl");
    assert_eq!(text("general.type"), "model");
    assert_eq!(text("clip.projector_type"), "qwen3vl_merger");
    assert_eq!(text("ocelli.merged.projector.general.architecture"), "clip");
}

#[test]
fn files_that_do_not_belong_together_are_not_merged() {
    let folder = Folder::new("mismatch");
    let (text, projector) = pair("qwen3vl");
    let (_, other) = pair("qwen2vl");
    let out = folder.join("m.gguf");
    for (a, b, need) in [
        (
            &text,
            &other,
            "projector output 64 but text model embedding is 32",
        ),
        (&text, &text, "found a text model, need a vision projector"),
        (
            &projector,
            &text,
            "found a vision projector, need a text model",
        ),
    ] {
        let error = merge(a, b, &out, &plain(), &mut quiet)
            .expect_err(need)
            .to_string();
        assert!(error.contains(need), "{error}");
    }
    let error = split(&text, folder.path(), &plain(), &mut quiet).expect_err("nothing to split");
    assert!(
        error
            .to_string()
            .contains("found a text model, need a merged model"),
        "{error}"
    );
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn numbered_parts_hold_the_same_model() {
    let folder = Folder::new("parts");
    let (text, _) = pair("qwen3vl");
    let options = RewriteOptions {
        part_bytes: NonZero::new(64 << 10),
        ..plain()
    };
    let done = split(&text, folder.path(), &options, &mut quiet).expect("split");
    assert!(done.files.len() > 2);
    let last = format!("text-00002-of-{:05}.gguf", done.files.len());
    assert!(done.files[1].ends_with(last));
    let (metadata, tensors) = content(&done.files[1]);
    let (needed, needed_tensors) = content(&text);
    let own: Vec<_> = metadata
        .into_iter()
        .filter(|(key, _)| !key.starts_with("split."))
        .collect();
    assert_eq!((own, tensors), (needed, needed_tensors));
}
