//! Gemma 3: other names and keys, sizes of the projector under those of the model.

use ocelli_convert::split;
use ocelli_gguf::{Gguf, Value, Writer};

use crate::common::{Folder, content, pair, plain, quiet};
use crate::renamed;

/// Names of a projector's tensors in Ollama's files.
const NAMES: [(&str, &str); 10] = [
    ("v.patch_embd.", "v.patch_embedding."),
    ("v.position_embd.", "v.position_embedding."),
    ("v.post_ln.", "v.post_layernorm."),
    (".ln1.", ".layer_norm1."),
    (".ln2.", ".layer_norm2."),
    (".attn_out.", ".attn_output."),
    (".ffn_up.", ".mlp.fc1."),
    (".ffn_down.", ".mlp.fc2."),
    ("mm.input_projection.", "mm.mm_input_projection."),
    ("mm.soft_emb_norm.", "mm.mm_soft_emb_norm."),
];
const SIZES: [&str; 7] = [
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.layer_norm_epsilon",
    "image_size",
    "patch_size",
];

fn ollama_file(text: &Gguf, projector: &Gguf) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in text.metadata().iter() {
        let key = match key {
            "gemma3.rope.freq_base" => "gemma3.rope.global.freq_base",
            "gemma3.rope.freq_base_swa" => "gemma3.rope.local.freq_base",
            "gemma3.attention.layer_norm_rms_epsilon" => continue,
            same => same,
        };
        writer.set(key, value.clone());
    }
    for size in SIZES {
        let value = projector.metadata().get(&format!("clip.vision.{size}"));
        let value = value.expect("a size").clone();
        writer.set(format!("gemma3.vision.{size}"), value);
    }
    writer.set("gemma3.mm.tokens_per_image", 16u32);
    for tensor in text.tensors() {
        let (shape, ty) = (tensor.shape(), tensor.ty());
        writer.add_tensor(tensor.name(), shape, ty, text.data(tensor));
    }
    for tensor in projector.tensors() {
        let name = renamed(tensor.name(), &NAMES);
        let (shape, ty) = (tensor.shape(), tensor.ty());
        writer.add_tensor(&name, shape, ty, projector.data(tensor));
    }
    writer.to_bytes().expect("a valid file")
}

#[test]
fn merged_file_of_ollama_is_split_into_the_pair_it_was_made_of() {
    let folder = Folder::new("gemma3-ollama");
    let (text, projector) = pair("gemma3-mixed");
    let open = |path: &std::path::Path| Gguf::open(path).expect("a sound file");
    let merged = folder.join("m-merged.gguf");
    let file = ollama_file(&open(&text), &open(&projector));
    std::fs::write(&merged, file).expect("written");
    let done = split(&merged, folder.path(), &plain(), &mut quiet);
    let done = done.expect("split");
    for (made, own) in done.files.iter().zip([&text, &projector]) {
        let (made, own) = (content(made), content(own));
        assert_eq!(made.1, own.1, "tensors");
        let value = |key: &str| {
            made.0
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.clone())
        };
        for (key, expected) in &own.0 {
            let is_free = key.starts_with("general.") && key != "general.architecture";
            if !is_free {
                assert_eq!(value(key).as_ref(), Some(expected), "{key}");
            }
        }
    }
    let scale = content(&done.files[1]).0;
    let scale = scale
        .iter()
        .find(|(key, _)| key == "clip.vision.projector.scale_factor");
    assert_eq!(scale.map(|(_, value)| value.clone()), Some(Value::U32(2)));
}
