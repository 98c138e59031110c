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
