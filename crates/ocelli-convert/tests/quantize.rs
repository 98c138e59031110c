//! Quantising follows the recipes and gives the bytes of the reference.

mod common;

use std::path::Path;

use common::{Folder, content, pair, plain, quiet};
use ocelli_convert::{
    Existing, FileType, QuantizeOptions, Quantized, RewriteOptions, VisionTensors, merge, quantize,
    split,
};
use ocelli_gguf::{Gguf, Value, Writer};
use ocelli_quant::TensorType;

fn quantized(input: &Path, output: &Path, file_type: FileType) -> Quantized {
    let options = QuantizeOptions::default();
    quantize(input, output, file_type, &options, &mut quiet).expect("quantised")
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
        quantized(&input, &output, file_type);
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
    let done = quantized(&text, &first, FileType::Q8_0);
    assert!(
        done.notes.is_empty() && done.bytes_after < done.bytes_before,
        "{done:?}"
    );
    let done = quantized(&first, &second, FileType::Q4_0);
    assert!(done.notes[0].contains("were Q8_0 already"), "{done:?}");
}

#[test]
fn vision_tensors_of_a_merged_file_are_kept_unless_asked_for() {
    let folder = Folder::new("merged-quantised");
    let (text, projector) = pair("qwen3vl");
    let (merged, out) = (folder.join("m.gguf"), folder.join("q.gguf"));
    merge(&text, &projector, &merged, &plain(), &mut quiet).expect("merged");
    let ty = |path: &Path, name: &str| {
        Gguf::open(path)
            .expect("a sound file")
            .tensor(name)
            .expect(name)
            .ty()
    };
    quantized(&merged, &out, FileType::Q8_0);
    assert_eq!(ty(&out, "blk.0.ffn_up.weight"), TensorType::Q8_0);
    assert_eq!(ty(&out, "mm.0.weight"), ty(&projector, "mm.0.weight"));
    // What came out can be split, and the projector is still the original.
    let replacing = RewriteOptions {
        existing: Existing::Replace,
        ..plain()
    };
    let done = split(&out, folder.path(), &replacing, &mut quiet).expect("split");
    assert_eq!(content(&done.files[1]), content(&projector));
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
