//! Merging and splitting lose nothing, quantising follows the recipes, repairing gives current files.

mod common;

use std::num::NonZero;

use common::{Content, Folder, content, golden, quiet};
use ocelli_convert::{
    FileType, QuantizeOptions, RewriteOptions, VisionTensors, merge, quantize, repair, split,
};
use ocelli_gguf::{Gguf, Value, Writer};
use ocelli_quant::TensorType;

fn pair(name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    (
        golden(&format!("{name}/text.gguf")),
        golden(&format!("{name}/mmproj.gguf")),
    )
}

fn plain() -> RewriteOptions {
    RewriteOptions::default()
}

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

/// The values of the reference vectors: 256 of them, in two rows.
fn vector_file() -> Vec<u8> {
    let row = (0..256).map(|i| ((37 * i) % 101 - 50) as f32 / 16.0);
    let row: Vec<u8> = row.flat_map(f32::to_le_bytes).collect();
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "qwen2")
        .set("qwen2.block_count", 1u32);
    writer
        .set("split.count", 1u16)
        .set("general.name", "vectors");
    writer.add_tensor(
        "blk.0.attn_q.weight",
        &[256, 2],
        TensorType::F32,
        [row.clone(), row].concat(),
    );
    writer.add_tensor("blk.0.attn_norm.weight", &[4], TensorType::F32, vec![7; 16]);
    writer.to_bytes().expect("a valid file")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

#[test]
fn quantised_rows_are_the_reference_vectors() {
    let folder = Folder::new("vectors");
    let input = folder.join("in.gguf");
    std::fs::write(&input, vector_file()).expect("written");
    for (file_type, id, start) in [
        (
            FileType::Q8_0,
            7,
            "4d2681df3d9af856b41270cd2b89e745a2005ebb1977d53390ee4caa0866c3217fdc",
        ),
        (FileType::Q4_0, 2, "4036e046acf258bd1379df358be046acf268"),
        (
            FileType::Q5_1,
            9,
            "743240c2a4a52d6db07b37e3af6a26d29d5905c18c48f4b0",
        ),
        (
            FileType::Q4_K_S,
            14,
            "de1e2c2afefffffcfffdfefecfdcfffea0156bc1278cd3489e045ab0167bc2378de349ae056ab1267cd2389de459af15268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df359be156ac1268c9df359be157ac1268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df3156ac1268cd2489df459b0157bc1378ce348ae046ab0267bd2379de359ae156a",
        ),
    ] {
        let output = folder.join(&format!("{file_type}.gguf"));
        quantize(
            &input,
            &output,
            file_type,
            &QuantizeOptions::default(),
            &mut quiet,
        )
        .expect("quantised");
        let file = Gguf::open(&output).expect("a sound file");
        let tensor = file.tensor("blk.0.attn_q.weight").expect("kept its name");
        let (bytes, start) = (file.data(tensor), hex(start));
        assert_eq!(bytes[..start.len()], start, "{file_type}");
        assert_eq!(
            bytes[..bytes.len() / 2],
            bytes[bytes.len() / 2..],
            "{file_type}"
        );
        let norm = file.tensor("blk.0.attn_norm.weight").expect("kept");
        assert_eq!(
            (norm.ty(), file.data(norm)),
            (TensorType::F32, &[7; 16][..])
        );
        let keys: Vec<&str> = file.metadata().iter().map(|(key, _)| key).collect();
        let needed = [
            "general.architecture",
            "qwen2.block_count",
            "general.name",
            "general.quantization_version",
            "general.file_type",
        ];
        assert_eq!(keys, needed);
        assert_eq!(
            file.metadata().get("general.file_type"),
            Some(&Value::U32(id))
        );
    }
}

#[test]
fn quantising_twice_is_allowed_and_said() {
    let folder = Folder::new("twice");
    let (text, _) = pair("qwen3vl");
    let (first, second) = (folder.join("q8.gguf"), folder.join("q4.gguf"));
    let done = quantize(
        &text,
        &first,
        FileType::Q8_0,
        &QuantizeOptions::default(),
        &mut quiet,
    )
    .expect("once");
    assert!(
        done.notes.is_empty() && done.bytes_after < done.bytes_before,
        "{done:?}"
    );
    let done = quantize(
        &first,
        &second,
        FileType::Q4_0,
        &QuantizeOptions::default(),
        &mut quiet,
    )
    .expect("twice");
    assert!(done.notes[0].contains("were Q8_0 already"), "{done:?}");
}

#[test]
fn vision_tensors_of_a_merged_file_are_kept_unless_asked_for() {
    let folder = Folder::new("merged-quantised");
    let (text, projector) = pair("qwen3vl");
    let (merged, out) = (folder.join("m.gguf"), folder.join("q.gguf"));
    merge(&text, &projector, &merged, &plain(), &mut quiet).expect("merged");
    let ty = |path: &std::path::Path, name: &str| {
        Gguf::open(path)
            .expect("a sound file")
            .tensor(name)
            .expect(name)
            .ty()
    };
    quantize(
        &merged,
        &out,
        FileType::Q8_0,
        &QuantizeOptions::default(),
        &mut quiet,
    )
    .expect("quantised");
    assert_eq!(ty(&out, "blk.0.ffn_up.weight"), TensorType::Q8_0);
    assert_eq!(ty(&out, "mm.0.weight"), ty(&projector, "mm.0.weight"));
    // What came out can be split, and the projector is still the original.
    let done = split(
        &out,
        folder.path(),
        &RewriteOptions {
            existing: ocelli_convert::Existing::Replace,
            ..plain()
        },
        &mut quiet,
    );
    assert_eq!(content(&done.expect("split").files[1]), content(&projector));
    let all = QuantizeOptions {
        vision: VisionTensors::Quantize,
        ..QuantizeOptions::default()
    };
    let both = folder.join("both.gguf");
    quantize(&merged, &both, FileType::Q8_0, &all, &mut quiet).expect("quantised");
    assert_eq!(ty(&both, "mm.0.weight"), TensorType::Q8_0);
    assert_eq!(
        ty(&both, "v.patch_embd.weight"),
        ty(&projector, "v.patch_embd.weight")
    );
}

/// Tensors by name, for files whose order does not matter.
fn by_name((_, mut tensors): Content) -> Vec<(String, String, Vec<u64>, Vec<u8>)> {
    tensors.sort();
    tensors
}

/// All keys of a projector but those about the file itself.
fn clip_keys((metadata, _): Content) -> Vec<(String, Value)> {
    let mut keys: Vec<_> = metadata
        .into_iter()
        .filter(|(key, _)| key.starts_with("clip.") && key != "clip.vision.feed_forward_length")
        .collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    keys
}

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
        let ty = TensorType::ALL
            .into_iter()
            .find(|known| known.name() == ty)
            .expect("a type");
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

/// A name of a current Qwen3-VL projector as Ollama's merged files have it.
fn ollama_name(name: &str) -> String {
    let mut name = name.to_owned();
    for (from, to) in [
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
    ] {
        name = name.replace(from, to);
    }
    name
}

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
    let ty = |name: &str| {
        TensorType::ALL
            .into_iter()
            .find(|known| known.name() == name)
            .expect("a type")
    };
    for (name, kind, shape, bytes) in content(&text).1 {
        file.add_tensor(name, &shape, ty(&kind), bytes);
    }
    let tensors = content(&projector).1;
    let frame = |name: &str| tensors.iter().find(|tensor| tensor.0 == name).expect(name);
    for (name, kind, shape, bytes) in &tensors {
        let ty = ty(kind);
        match name.as_str() {
            "v.patch_embd.weight" => {
                let area = ty.row_bytes((shape[0] * shape[1]) as usize).expect("whole");
                let second = &frame("v.patch_embd.weight.1").3;
                let frames = bytes.chunks(area).zip(second.chunks(area));
                let packed: Vec<u8> = frames.flat_map(|(a, b)| [a, b].concat()).collect();
                let packed_shape = [shape[0], shape[1], 2, 3 * shape[3]];
                file.add_tensor("v.patch_embed.weight", &packed_shape, ty, packed);
            }
            "v.patch_embd.weight.1" => {}
            _ if name.contains("attn_qkv") => {
                let third = shape.last().expect("a shape") / 3;
                let mut own = shape.clone();
                *own.last_mut().expect("a shape") = third;
                for (letter, part) in ["q", "k", "v"].iter().zip(bytes.chunks(bytes.len() / 3)) {
                    let name = name.replace("attn_qkv", &format!("attn_{letter}"));
                    file.add_tensor(name, &own, ty, part.to_vec());
                }
            }
            _ => {
                file.add_tensor(ollama_name(name), shape, ty, bytes.clone());
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
    let done = split(
        &input,
        &folder.join(""),
        &RewriteOptions {
            existing: ocelli_convert::Existing::Replace,
            ..plain()
        },
        &mut quiet,
    );
    let done = done.expect("split");
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

/// The golden pair of Mistral 3 as one file of Ollama: other names, keys and order of rows.
fn ollama_mistral3() -> Vec<u8> {
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
    let ty = |name: &str| {
        let mut all = TensorType::ALL.into_iter();
        all.find(|known| known.name() == name).expect("a type")
    };
    for (name, kind, shape, bytes) in content(&text).1 {
        file.add_tensor(name, &shape, ty(&kind), bytes);
    }
    for (name, kind, shape, bytes) in content(&projector).1 {
        let mut own = name.clone();
        for (from, to) in [
            ("v.patch_embd.", "v.patch_conv."),
            ("v.pre_ln.", "v.encoder_norm."),
            (".ln1.", ".attn_norm."),
            (".ln2.", ".ffn_norm."),
            (".attn_out.", ".attn_output."),
            ("mm.input_norm.", "mm.norm."),
            ("mm.patch_merger.", "mm.patch_merger.merging_layer."),
            ("mm.1.", "mm.linear_1."),
            ("mm.2.", "mm.linear_2."),
        ] {
            own = own.replace(from, to);
        }
        let is_turned = name.contains("attn_q.") || name.contains("attn_k.");
        let bytes = match is_turned {
            false => bytes,
            true => in_halves(&bytes, shape[1] as usize, 2),
        };
        file.add_tensor(own, &shape, ty(&kind), bytes);
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
    std::fs::write(&input, ollama_mistral3()).expect("written");
    let options = RewriteOptions {
        existing: ocelli_convert::Existing::Replace,
        ..plain()
    };
    let done = split(&input, &folder.join(""), &options, &mut quiet).expect("split");
    let (new_text, new_projector) = (content(&done.files[0]), content(&done.files[1]));
    assert_eq!(by_name(new_projector.clone()), by_name(content(&projector)));
    assert_eq!(clip_keys(new_projector), clip_keys(content(&projector)));
    let sorted = |path| {
        let mut keys = content(path).0;
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        keys
    };
    assert_eq!(sorted(&done.files[0]), sorted(&text));
    assert_eq!(by_name(new_text), by_name(content(&text)));
}
