//! Checkpoints that are broken, or say what no file can state, are refused by name and leave nothing behind.

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, copy_of, crc32, f16, quiet};
use ocelli_convert::convert;
use serde_json::Value as Json;

/// Converting a broken checkpoint fails with this text and leaves nothing behind.
fn fails(name: &str, spoil: impl FnOnce(&Path), need: &str) {
    let folder = Folder::new(&format!("bad-{}", crc32(need.as_bytes())));
    let checkpoint = copy_of(name, &folder);
    spoil(&checkpoint);
    let out = Folder::new(&format!("bad-out-{}", crc32(need.as_bytes())));
    let error = convert(&checkpoint, out.path(), &f16(), &mut quiet)
        .expect_err(need)
        .to_string();
    assert!(error.contains(need), "{error}");
    assert_eq!(out.files(), [""; 0]);
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).expect("read");
    fs::write(path, change(text)).expect("written");
}

#[test]
fn tokens_that_take_white_space_beside_them_are_refused_where_the_template_writes_them() {
    let with = |content: &'static str, flag: &'static str| {
        move |path: &Path| {
            edit(&path.join("tokenizer.json"), |text| {
                let mut tokenizer: Json = serde_json::from_str(&text).expect("JSON");
                let tokens = tokenizer["added_tokens"].as_array_mut().expect("tokens");
                let mut found = tokens.iter_mut().filter(|it| it["content"] == content);
                found.next().expect("a token")[flag] = Json::Bool(true);
                tokenizer.to_string()
            });
        }
    };
    let place = "which the chat template writes, with";
    let need = |token: &str, flag: &str| format!("\"<|{token}|>\", {place} {flag}");
    fails(
        "llama",
        with("<|eot_id|>", "rstrip"),
        &need("eot_id", "rstrip"),
    );
    fails(
        "llama",
        with("<|start_header_id|>", "lstrip"),
        &need("start_header_id", "lstrip"),
    );
    let first = need("begin_of_text", "single_word");
    fails("llama", with("<|begin_of_text|>", "single_word"), &first);
}

#[test]
fn incomplete_folders_are_refused_with_what_is_missing() {
    let remove =
        |file: &'static str| move |path: &Path| fs::remove_file(path.join(file)).expect("removed");
    fails(
        "qwen3vl-moe",
        remove("config.json"),
        "not a Hugging Face model folder",
    );
    fails(
        "qwen3vl-moe",
        remove("model.safetensors.index.json"),
        "model.safetensors.index.json not found",
    );
    fails(
        "qwen3vl-moe",
        remove("model-00002-of-00002.safetensors"),
        "model-00002-of-00002.safetensors, which",
    );
    fails(
        "qwen2.5vl",
        remove("model.safetensors"),
        "found no tensors, need config.json and *.safetensors",
    );
    fails(
        "qwen2.5vl",
        remove("tokenizer.json"),
        "tokenizer.json not found",
    );
    fails(
        "qwen2.5vl",
        remove("processor_config.json"),
        "image_mean in processor_config.json or preprocessor_config.json",
    );
}

#[test]
fn settings_that_do_not_fit_the_tensors_are_refused_by_name_and_shape() {
    let set = |from: &'static str, to: &'static str| {
        move |path: &Path| edit(&path.join("config.json"), |text| text.replacen(from, to, 1))
    };
    fails(
        "llama",
        set("\"llama\"", "\"mamba\""),
        "found 'mamba', need one of qwen2_vl",
    );
    fails(
        "llama",
        set("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        "'layers.2.input_layernorm.weight' not found",
    );
    fails(
        "llama",
        set("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
        "9 tensors that this architecture does not have",
    );
    fails(
        "llama",
        set("\"intermediate_size\": 96", "\"intermediate_size\": 95"),
        "found shape [96, 32], need [95, 32]",
    );
    fails(
        "llama",
        set("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": \"x\""),
        "rms_norm_eps: found \"x\", need a number",
    );
    fails(
        "llama",
        set("\"vocab_size\": 576", "\"vocab_size\": 550"),
        "need [550, 32]",
    );
    fails(
        "llama",
        set("{", "{\"quantization_config\": {},"),
        "a checkpoint that is quantised already",
    );
}

#[test]
fn damaged_tensor_files_are_refused() {
    let path = |folder: &Path| folder.join("model.safetensors");
    let cut = |folder: &Path| {
        let bytes = fs::read(path(folder)).expect("read");
        fs::write(path(folder), &bytes[..bytes.len() - 8]).expect("written");
    };
    fails("llama", cut, "download incomplete?");
    let pointer =
        |folder: &Path| fs::write(path(folder), "version https://git-lfs").expect("written");
    fails("llama", pointer, "Git LFS pointer");
    let huge = |folder: &Path| fs::write(path(folder), [0xff; 64]).expect("written");
    fails("llama", huge, "in a file of 64");
    let integers = |folder: &Path| {
        let mut bytes = fs::read(path(folder)).expect("read");
        let at = bytes
            .windows(6)
            .position(|window| window == b"\"BF16\"")
            .expect("a type");
        bytes[at..at + 6].copy_from_slice(b"\"I16\" ");
        fs::write(path(folder), bytes).expect("written");
    };
    fails(
        "llama",
        integers,
        "found I16 elements, need F32, F16 or BF16",
    );
}

#[test]
fn values_that_a_half_cannot_hold_are_refused() {
    let spoil = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path).expect("read");
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        bytes[8 + header..8 + header + 2].copy_from_slice(&0x4780u16.to_le_bytes());
        fs::write(path, bytes).expect("written");
    };
    // The first tensor of the file is the output projection.
    fails(
        "llama",
        spoil,
        "as F16: found 65536, need magnitudes below 65520",
    );
}

#[test]
fn settings_that_no_file_can_state_are_refused_by_name() {
    for (name, change, message) in [
        (
            "gemma3",
            "/text_config/final_logit_softcapping",
            "final_logit_softcapping: found 30, need null",
        ),
        (
            "gemma3",
            "/text_config/attn_logit_softcapping",
            "attn_logit_softcapping: found 30, need null",
        ),
        (
            "llava",
            "/vision_feature_layer",
            "vision_feature_layer: found 30, need",
        ),
        (
            "llava-next",
            "/image_grid_pinpoints",
            "image_grid_pinpoints: found 30, need pairs of numbers",
        ),
        (
            "mistral3",
            "/spatial_merge_size",
            "spatial_merge_size: found 30, need 1 to 16",
        ),
        (
            "gemma3",
            "/mm_tokens_per_image",
            "mm_tokens_per_image: found 30, need",
        ),
    ] {
        let folder = Folder::new("settings");
        let checkpoint = copy_of(name, &folder);
        edit(&checkpoint.join("config.json"), |text| {
            let mut config: Json = serde_json::from_str(&text).expect("JSON");
            let (parent, key) = change.rsplit_once('/').expect("a path");
            config.pointer_mut(parent).expect("an object")[key] = Json::from(30);
            config.to_string()
        });
        let error = convert(&checkpoint, folder.path(), &f16(), &mut quiet).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}
