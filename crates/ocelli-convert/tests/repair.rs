//! Repairing gives current files.

mod common;

use common::{Folder, by_name, clip_keys, content, pair, plain, quiet};
use ocelli_convert::repair;
use ocelli_gguf::Writer;
use ocelli_quant::TensorType;

#[test]
fn a_projector_of_the_old_surgery_script_becomes_a_current_one() {
    let folder = Folder::new("surgery");
    let (_, projector) = pair("qwen2vl");
    let (metadata, tensors) = content(&projector);
    let mut old = Writer::new();
    for (key, value) in metadata {
        match key.as_str() {
            "general.type" | "clip.projector_type" => {}
            "clip.vision.feed_forward_length" => {
                old.set(key, 0u32);
            }
            _ => {
                old.set(key, value);
            }
        }
    }
    old.set("clip.has_text_encoder", false)
        .set("clip.has_qwen2vl_merger", true);
    old.set("clip.use_silu", false).set("clip.use_gelu", false);
    for (name, ty, shape, bytes) in tensors {
        let name = match name.contains(".ffn_up.") {
            true => name.replace(".ffn_up.", ".ffn_down."),
            false => name.replace(".ffn_down.", ".ffn_up."),
        };
        old.add_tensor(name, &shape, ty, bytes);
    }
    old.add_tensor(
        "v.position_embd.weight",
        &[10, 10],
        TensorType::F32,
        vec![0; 400],
    );
    let (input, output) = (folder.join("old.gguf"), folder.join("new.gguf"));
    old.write_to(&input).expect("written");
    let done = repair(&input, &output, &plain(), &mut quiet).expect("repaired");
    assert!(
        done.notes.iter().any(|note| note.contains("swapped")),
        "{:?}",
        done.notes
    );
    assert_eq!(by_name(content(&output)), by_name(content(&projector)));
    assert_eq!(clip_keys(content(&output)), clip_keys(content(&projector)));
}

#[test]
fn a_projector_of_llava_1_6_keeps_its_tiles_and_the_row_that_ends_their_lines() {
    let folder = Folder::new("tiles");
    let (_, projector) = pair("llava-next");
    let (metadata, tensors) = content(&projector);
    let mut old = Writer::new();
    for (key, value) in metadata {
        match key.as_str() {
            "general.type" | "clip.projector_type" => {}
            _ => {
                old.set(key, value);
            }
        }
    }
    for (name, ty, shape, bytes) in tensors {
        let name = name.replace("model.image_newline", "v.image_newline");
        old.add_tensor(name, &shape, ty, bytes);
    }
    let (input, output) = (folder.join("old.gguf"), folder.join("new.gguf"));
    old.write_to(&input).expect("written");
    repair(&input, &output, &plain(), &mut quiet).expect("repaired");
    let (made, tensors) = (content(&output), by_name(content(&output)));
    let has = |wanted: &str| tensors.iter().any(|(name, ..)| name == wanted);
    assert!(has("model.image_newline") && !has("v.image_newline"));
    let expected = clip_keys(content(&projector));
    let made = clip_keys(made);
    let about_tiles = |key: &str| key.contains("image_") || key.contains("mm_patch_merge_type");
    for entry in expected.iter().filter(|(key, _)| about_tiles(key)) {
        assert!(made.contains(entry), "{entry:?}");
    }
}
