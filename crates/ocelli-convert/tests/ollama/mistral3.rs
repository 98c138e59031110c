//! Mistral 3: other names, keys and order of rows.

use ocelli_convert::split;
use ocelli_gguf::Writer;

use crate::common::{Folder, by_key, by_name, clip_keys, content, pair, quiet};
use crate::{renamed, replacing};

/// Names of a projector's tensors in Ollama's files.
const NAMES: [(&str, &str); 9] = [
    ("v.patch_embd.", "v.patch_conv."),
    ("v.pre_ln.", "v.encoder_norm."),
    (".ln1.", ".attn_norm."),
    (".ln2.", ".ffn_norm."),
    (".attn_out.", ".attn_output."),
    ("mm.input_norm.", "mm.norm."),
    ("mm.patch_merger.", "mm.patch_merger.merging_layer."),
    ("mm.1.", "mm.linear_1."),
    ("mm.2.", "mm.linear_2."),
];

/// The golden pair of Mistral 3 as one file of Ollama: other names, keys and order of rows.
fn ollama_file() -> Vec<u8> {
    let (text, projector) = pair("mistral3");
    let mut file = Writer::new();
    for (key, value) in content(&text).0 {
        let own = key
            .replace("scaling.yarn_beta", "scaling.beta")
            .replace("scaling.yarn_log_multiplier", "scaling.mscale_all_dim")
            .replace("attention.temperature_scale", "rope.scaling_beta");
        file.set(own, value);
    }
    file.set("tokenizer.ggml.pre", "default")
        .set("mistral3.spatial_merge_size", 2u32);
    for key in ["attention.head_count", "image_size", "patch_size"] {
        let found = content(&projector).0;
        let own = format!("clip.vision.{key}");
        let value = found.into_iter().find(|(known, _)| *known == own);
        file.set(format!("mistral3.vision.{key}"), value.expect("a key").1);
    }
    for (name, ty, shape, bytes) in content(&text).1 {
        file.add_tensor(name, &shape, ty, bytes);
    }
    for (name, ty, shape, bytes) in content(&projector).1 {
        let is_turned = name.contains("attn_q.") || name.contains("attn_k.");
        let bytes = match is_turned {
            false => bytes,
            true => in_halves(&bytes, shape[1] as usize, 2),
        };
        file.add_tensor(renamed(&name, &NAMES), &shape, ty, bytes);
    }
    file.to_bytes().expect("a valid file")
}

/// Rows of each head from alternating pairs to halves side by side.
fn in_halves(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let (row, head_rows) = (bytes.len() / rows, rows / heads);
    let heads = bytes.chunks(head_rows * row);
    heads
        .flat_map(|head| {
            let every_second = |first: usize| head.chunks(row).skip(first).step_by(2);
            every_second(0).chain(every_second(1)).flatten().copied()
        })
        .collect()
}

#[test]
fn a_merged_mistral3_file_of_ollama_is_split_into_a_current_pair() {
    let folder = Folder::new("ollama-mistral3");
    let (text, projector) = pair("mistral3");
    let input = folder.join("blob.gguf");
    std::fs::write(&input, ollama_file()).expect("written");
    let done = split(&input, &folder.join(""), &replacing(), &mut quiet).expect("split");
    let (new_text, new_projector) = (content(&done.files[0]), content(&done.files[1]));
    assert_eq!(by_name(new_projector.clone()), by_name(content(&projector)));
    assert_eq!(clip_keys(new_projector), clip_keys(content(&projector)));
    assert_eq!(by_key(new_text.clone()), by_key(content(&text)));
    assert_eq!(by_name(new_text), by_name(content(&text)));
}
