//! Checkpoints in the layouts that are in use become what the reference's converter makes of them.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use common::{Folder, crc32, data, f16, quiet};
use ocelli_convert::{ConvertOptions, Error, Existing, FileType, convert};
use ocelli_gguf::{Array, Gguf, Value};
use serde_json::Value as Json;

fn options(text: FileType, projector: FileType) -> ConvertOptions {
    ConvertOptions {
        text_type: text,
        projector_type: projector,
        ..ConvertOptions::default()
    }
}

/// Converts a checkpoint with the types of its expectation and compares everything.
fn check(name: &str) {
    let folder = Folder::new(name);
    let text = fs::read(data(name).join("expected.json")).expect("read");
    let expected: Json = serde_json::from_slice(&text).expect("JSON");
    let ty = |index: usize| {
        let name = expected["types"][index].as_str();
        name.map_or(FileType::F16, |name| name.parse().expect("a type"))
    };
    let made = convert(
        &data(name),
        folder.path(),
        &options(ty(0), ty(1)),
        &mut quiet,
    );
    let made = made.unwrap_or_else(|error| panic!("{name}: {error}"));
    compare(&made.text, &expected["text"]);
    match expected.get("mmproj") {
        Some(mmproj) => compare(&made.projector.expect("a projector"), mmproj),
        None => assert_eq!(made.projector, None),
    }
}

fn compare(path: &Path, expected: &Json) {
    let file = Gguf::open(path).expect("a sound file");
    let tensors = expected["tensors"].as_object().expect("tensors");
    let mut names: Vec<&str> = file.tensors().iter().map(|t| t.name()).collect();
    let mut expected_names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    names.sort_unstable();
    expected_names.sort_unstable();
    assert_eq!(names, expected_names, "{}", path.display());
    for tensor in file.tensors() {
        let found =
            serde_json::json!([tensor.ty().name(), tensor.shape(), crc32(file.data(tensor))]);
        // Two computations of these factors differ in the last bits.
        if tensor.name() != "rope_freqs.weight" {
            assert_eq!(found, tensors[tensor.name()], "{}", tensor.name());
        }
    }
    for (key, value) in expected["metadata"].as_object().expect("metadata") {
        match key.as_str() {
            // A name is free; the reference repeats a wrong size of a converter; tokens like
            // <|fim_pad|> are control tokens for llama.cpp though the checkpoint does not say so.
            "general.name" | "clip.vision.feed_forward_length" | "tokenizer.ggml.token_type" => {}
            _ => {
                let found = file
                    .metadata()
                    .get(key)
                    .unwrap_or_else(|| panic!("{key} is missing"));
                assert!(is_same(found, value), "{key}: found {found}, need {value}");
            }
        }
    }
}

fn is_same(found: &Value, expected: &Json) -> bool {
    let (Value::Array(array), false) = (found, expected.is_string()) else {
        return match found {
            Value::String(text) => Some(text.as_str()) == expected.as_str(),
            Value::Bool(flag) => Some(*flag) == expected.as_bool(),
            Value::F32(x) => Some(*x) == expected.as_f64().map(|y| y as f32),
            number => expected.as_i64().map(|n| n.to_string()) == Some(number.to_string()),
        };
    };
    match (expected, array) {
        (Json::Array(list), array) => {
            let same = |(i, e): (usize, &Json)| array.get(i).is_some_and(|v| is_same(&v, e));
            list.len() == array.len() && list.iter().enumerate().all(same)
        }
        (_, Array::String(strings)) => {
            let joined = strings.iter().collect::<Vec<_>>().join("\n");
            expected["length"] == strings.len() && expected["crc"] == crc32(joined.as_bytes())
        }
        (_, Array::F32(numbers)) => {
            let written: Vec<String> = numbers.iter().map(|n| format!("{n:?}")).collect();
            let crc = crc32(written.join("\n").as_bytes());
            expected["length"] == numbers.len() && expected["crc"] == crc
        }
        _ => false,
    }
}

#[test]
fn experts_of_the_hub_in_two_parts_become_those_of_the_modelling_code() {
    check("qwen3vl-moe");
}

#[test]
fn a_checkpoint_of_current_modelling_code_is_converted() {
    check("qwen2.5vl");
}

#[test]
fn a_checkpoint_as_first_published_with_vocabulary_and_merges_apart_is_converted() {
    check("qwen2vl");
}

#[test]
fn mistral3_is_converted_with_its_encoders_rows_in_pairs() {
    check("mistral3");
}

#[test]
fn llava_is_converted_with_pieces_for_a_tokenizer_and_without_the_layers_behind_its_rows() {
    check("llava");
}

#[test]
fn llava_next_is_converted_with_its_tiles_and_the_row_that_ends_their_lines() {
    check("llava-next");
}

#[test]
fn settings_that_no_published_model_has_are_written_under_keys_of_their_own() {
    check("mistral3-mixed");
    check("llava-mixed");
    check("gemma3-layers");
}

#[test]
fn gemma3_as_published_is_converted_with_its_pieces_and_without_the_rows_behind_them() {
    check("gemma3");
}

#[test]
fn rows_of_llama_heads_alternate_and_its_frequency_factors_are_a_tensor() {
    check("llama");
    let folder = Folder::new("llama-factors");
    let made = convert(&data("llama"), folder.path(), &f16(), &mut quiet).expect("converted");
    let file = Gguf::open(&made.text).expect("a sound file");
    let tensor = file.tensor("rope_freqs.weight").expect("factors");
    let factors: Vec<f32> = file
        .data(tensor)
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    // Wavelengths of 6.3 up to 64 * 4 stay or are blended, those above 64 are slowed down eight times.
    assert_eq!((factors.len(), factors[0], factors[7]), (8, 1.0, 8.0));
    assert!(
        factors.windows(2).all(|pair| pair[0] <= pair[1]),
        "{factors:?}"
    );
}

#[test]
fn special_looking_tokens_are_control_and_others_that_were_added_are_the_users() {
    let folder = Folder::new("tokens");
    let made = convert(&data("qwen2vl"), folder.path(), &f16(), &mut quiet).expect("converted");
    let file = Gguf::open(&made.text).expect("a sound file");
    let tokens = file
        .metadata()
        .required_str_array("tokenizer.ggml.tokens")
        .expect("tokens");
    let types = file
        .metadata()
        .required_u32_array("tokenizer.ggml.token_type")
        .expect("types");
    let ty = |text: &str| types[tokens.iter().position(|token| token == text).expect(text)];
    assert_eq!(ty("<|image_pad|>"), 3);
    assert_eq!(ty("<|fim_pad|>"), 3);
    assert_eq!(ty("<think>"), 4);
    assert_eq!(ty("Ġthe"), 1);
    assert_eq!(ty("[PAD607]"), 5);
}

#[test]
fn a_mix_is_written_with_the_types_of_its_recipe() {
    let folder = Folder::new("mix");
    let options = options(FileType::Q4_K_M, FileType::Q8_0);
    let made = convert(&data("qwen2.5vl"), folder.path(), &options, &mut quiet).expect("converted");
    assert_eq!(made.text, folder.join("qwen2.5vl-Q4_K_M.gguf"));
    let file = Gguf::open(&made.text).expect("a sound file");
    let ty = |name: &str| file.tensor(name).expect(name).ty().name();
    // Rows of 32 hold no block of 256.
    assert_eq!(ty("blk.0.attn_q.weight"), "Q5_0");
    assert_eq!(ty("blk.0.attn_norm.weight"), "F32");
    assert_eq!(ty("output.weight"), "Q8_0");
    assert_eq!(
        file.metadata()
            .required_u32("general.file_type")
            .expect("a type"),
        15
    );
}

#[test]
fn a_stopped_conversion_leaves_nothing_behind() {
    let out = Folder::new("stopped");
    let mut calls = 0;
    let mut stop = |_: ocelli_convert::Progress<'_>| {
        calls += 1;
        match calls {
            30 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let error = convert(&data("qwen2.5vl"), out.path(), &f16(), &mut stop).expect_err("stopped");
    assert!(matches!(error, Error::Stopped), "{error}");
    assert_eq!(out.files(), [""; 0]);
}

#[test]
fn existing_files_are_kept_unless_replacing_is_wanted() {
    let out = Folder::new("existing");
    let other = out.join("mmproj-qwen2vl-F16.gguf");
    fs::write(&other, "mine").expect("written");
    let error = convert(&data("qwen2vl"), out.path(), &f16(), &mut quiet).expect_err("exists");
    assert!(error.to_string().contains("file exists"), "{error}");
    assert_eq!(out.files(), ["mmproj-qwen2vl-F16.gguf"]);
    let replacing = ConvertOptions {
        existing: Existing::Replace,
        ..f16()
    };
    convert(&data("qwen2vl"), out.path(), &replacing, &mut quiet).expect("converted");
    assert_eq!(out.files(), ["mmproj-qwen2vl-F16.gguf", "qwen2vl-F16.gguf"]);
    Gguf::open(&other).expect("replaced");
    let error =
        convert(&data("qwen2vl"), &out.join("none"), &f16(), &mut quiet).expect_err("no folder");
    assert!(
        error.to_string().contains("output folder not found"),
        "{error}"
    );
}

#[test]
fn progress_ends_at_all_bytes_of_both_files() {
    let out = Folder::new("progress");
    let mut seen = Vec::new();
    let mut watch = |progress: ocelli_convert::Progress<'_>| {
        seen.push((progress.bytes_done, progress.bytes_total));
        ControlFlow::Continue(())
    };
    let made = convert(&data("qwen2vl"), out.path(), &f16(), &mut watch).expect("converted");
    let bytes = |path: &Path| -> u64 {
        let file = Gguf::open(path).expect("a sound file");
        file.tensors().iter().map(|t| t.bytes() as u64).sum()
    };
    let total = bytes(&made.text) + bytes(&made.projector.expect("a projector"));
    assert_eq!(seen.last(), Some(&(total, total)));
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
}
