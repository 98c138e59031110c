//! Files built byte by byte, so that they can be wrong in any place.

#![allow(dead_code, reason = "each test uses some of it")]

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use ocelli_gguf::{Error, Gguf};
use ocelli_quant::TensorType;

/// The bytes of a file under construction.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    /// A header of version 3.
    pub(crate) fn new(tensors: u64, entries: u64) -> Self {
        Self::versioned(3, tensors, entries)
    }

    pub(crate) fn versioned(version: u32, tensors: u64, entries: u64) -> Self {
        Self(b"GGUF".to_vec())
            .u32(version)
            .u64(tensors)
            .u64(entries)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u32(self, n: u32) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    pub(crate) fn u64(self, n: u64) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    pub(crate) fn string(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// Key and type of a value; the value follows.
    pub(crate) fn key(self, key: &str, type_id: u32) -> Self {
        self.string(key).u32(type_id)
    }

    /// An array's key, types and length; the elements follow.
    pub(crate) fn array(self, key: &str, type_id: u32, length: u64) -> Self {
        self.key(key, 9).u32(type_id).u64(length)
    }

    pub(crate) fn tensor(self, name: &str, shape: &[u64], type_id: u32, offset: u64) -> Self {
        let start = self.string(name).u32(shape.len() as u32);
        shape
            .iter()
            .fold(start, |raw, &n| raw.u64(n))
            .u32(type_id)
            .u64(offset)
    }

    /// Pads to the default alignment and appends zeroes as data.
    pub(crate) fn data(mut self, bytes: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + bytes, 0);
        self
    }

    pub(crate) fn open(self) -> Result<Gguf, Error> {
        Gguf::from_bytes("model.gguf", Cow::Owned(self.0))
    }
}

/// A small file with metadata of every kind and three tensors, as a converter would write it.
pub(crate) fn small_model() -> Vec<u8> {
    let mut writer = ocelli_gguf::Writer::new();
    let tokens: Vec<String> = (0..40).map(|n| format!("tok\u{120}{n}")).collect();
    writer
        .set("general.architecture", "qwen3vl")
        .set("general.name", "Small")
        .set("qwen3vl.block_count", 2u32)
        .set("qwen3vl.attention.layer_norm_rms_epsilon", 1e-6f32)
        .set("qwen3vl.rope.dimension_sections", vec![8i32, 12, 12, 0])
        .set("tokenizer.ggml.add_bos_token", false)
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.scores", vec![0.5f32; 40])
        .set("test.u8", 200u8)
        .set("test.i8", -3i8)
        .set("test.u16", 60_000u16)
        .set("test.i16", -3i16)
        .set("test.i32", -70_000i32)
        .set("test.u64", 1u64 << 40)
        .set("test.i64", -1i64)
        .set("test.f64", 0.1f64)
        .set("test.bools", vec![true, false, true])
        .add_tensor(
            "token_embd.weight",
            &[64, 40],
            TensorType::Q8_0,
            vec![7; 40 * 68],
        )
        .add_tensor(
            "blk.0.attn_q.weight",
            &[64, 3],
            TensorType::Q4_0,
            vec![9; 3 * 36],
        )
        .add_tensor("output_norm.weight", &[5], TensorType::F32, vec![1; 20]);
    writer.to_bytes().expect("a valid file")
}

/// A fresh folder for one test.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

/// File and what its error must say.
pub(crate) type Case = (Raw, &'static str);

/// Each file is refused at once, in one line that names the file and says what it must.
#[track_caller]
pub(crate) fn refused(cases: Vec<Case>) {
    for (raw, need) in cases {
        let start = Instant::now();
        let size = raw.0.len();
        let error = raw.open().expect_err(need);
        let message = error.to_string();
        assert!(message.contains(need), "found `{message}`, need `{need}`");
        assert!(
            message.contains("model.gguf"),
            "`{message}` does not name the file"
        );
        assert!(
            !message.contains('\n'),
            "`{message}` has more than one line"
        );
        assert!(
            start.elapsed().as_millis() < 500,
            "{need}: {size} bytes took too long"
        );
    }
}
