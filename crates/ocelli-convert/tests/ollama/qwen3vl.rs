//! Qwen3-VL: queries, keys and values apart, both frames of the patch weights in one tensor.

use ocelli_convert::split;
use ocelli_gguf::{Gguf, Writer};

use crate::common::{Folder, by_name, clip_keys, content, pair, quiet};
use crate::{renamed, replacing};

/// Names of a projector's tensors in Ollama's files. Weights of the patches are renamed where their
/// frames are joined.
const NAMES: [(&str, &str); 13] = [
    ("v.patch_embd.bias", "v.patch_embed.bias"),
    ("v.position_embd.", "v.pos_embed."),
    (".ln1.", ".norm1."),
    (".ln2.", ".norm2."),
    (".ffn_up.", ".mlp.linear_fc1."),
    (".ffn_down.", ".mlp.linear_fc2."),
    ("v.post_ln.", "v.merger.norm."),
    ("mm.0.", "v.merger.linear_fc1."),
    ("mm.2.", "v.merger.linear_fc2."),
    ("v.deepstack.1.fc", "v.deepstack_merger.0.linear_fc"),
    ("v.deepstack.2.fc", "v.deepstack_merger.1.linear_fc"),
    ("v.deepstack.1.", "v.deepstack_merger.0."),
    ("v.deepstack.2.", "v.deepstack_merger.1."),
];

/// The golden pair of Qwen3-VL as one file of Ollama.
fn ollama_file() -> Vec<u8> {
    let (text, projector) = pair("qwen3vl");
    let mut file = Writer::new();
    for (key, value) in content(&text).0 {
        match key.as_str() {
            "qwen3vl.n_deepstack_layers" => {}
            "qwen3vl.rope.dimension_sections" => {
                file.set("qwen3vl.rope.mrope_section", vec![6i32, 5, 5]);
            }
            _ => {
                file.set(key, value);
            }
        }
    }
    for (key, value) in content(&projector).0 {
        if let Some(rest) = key.strip_prefix("clip.vision.")
            && rest != "is_deepstack_layers"
        {
            file.set(format!("qwen3vl.vision.{rest}"), value);
        }
    }
    file.set("qwen3vl.vision.deepstack_visual_indexes", vec![1i32, 2]);
    for (name, ty, shape, bytes) in content(&text).1 {
        file.add_tensor(name, &shape, ty, bytes);
    }
    let tensors = content(&projector).1;
    let frame = |name: &str| tensors.iter().find(|tensor| tensor.0 == name).expect(name);
    for (name, ty, shape, bytes) in &tensors {
        match name.as_str() {
            "v.patch_embd.weight" => {
                let area = ty.row_bytes((shape[0] * shape[1]) as usize).expect("whole");
                let second = &frame("v.patch_embd.weight.1").3;
                let frames = bytes.chunks(area).zip(second.chunks(area));
                let packed: Vec<u8> = frames.flat_map(|(a, b)| [a, b].concat()).collect();
                let packed_shape = [shape[0], shape[1], 2, 3 * shape[3]];
                file.add_tensor("v.patch_embed.weight", &packed_shape, *ty, packed);
            }
            "v.patch_embd.weight.1" => {}
            _ if name.contains("attn_qkv") => {
                let third = shape.last().expect("a shape") / 3;
                let mut own = shape.clone();
                *own.last_mut().expect("a shape") = third;
                for (letter, part) in ["q", "k", "v"].iter().zip(bytes.chunks(bytes.len() / 3)) {
                    let name = name.replace("attn_qkv", &format!("attn_{letter}"));
                    file.add_tensor(name, &own, *ty, part.to_vec());
                }
            }
            _ => {
                file.add_tensor(renamed(name, &NAMES), shape, *ty, bytes.clone());
            }
        }
    }
    file.to_bytes().expect("a valid file")
}

#[test]
fn a_merged_file_of_ollama_is_split_into_a_current_pair() {
    let folder = Folder::new("ollama");
    let (text, projector) = pair("qwen3vl");
    let input = folder.join("blob.gguf");
    std::fs::write(&input, ollama_file()).expect("written");
    let done = split(&input, &folder.join(""), &replacing(), &mut quiet).expect("split");
    assert_eq!(
        by_name(content(&done.files[1])),
        by_name(content(&projector))
    );
    assert_eq!(
        clip_keys(content(&done.files[1])),
        clip_keys(content(&projector))
    );
    let file = Gguf::open(&done.files[0]).expect("a sound file");
    let sections = file
        .metadata()
        .required_i32_array("qwen3vl.rope.dimension_sections");
    assert_eq!(sections.expect("sections"), [6, 5, 5, 0]);
    assert_eq!(
        file.metadata()
            .required_u32("qwen3vl.n_deepstack_layers")
            .expect("taps"),
        2
    );
    assert!(
        file.metadata()
            .iter()
            .all(|(key, _)| !key.contains(".vision."))
    );
    assert_eq!(by_name(content(&done.files[0])), by_name(content(&text)));
}
