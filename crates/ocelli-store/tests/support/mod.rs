//! Tiny model files in a folder of their own that goes away with the test.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ocelli_gguf::Writer;
use ocelli_quant::TensorType;

/// A fresh folder under the system's temporary one.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ocelli-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a model and gives its path; `name` may have folders in it.
    pub(crate) fn add(&self, name: &str, model: &Writer<'_>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        model.write_to(&path).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tensor(writer: &mut Writer<'static>, name: &str, shape: &[u64], ty: TensorType) {
    let row = usize::try_from(shape[0]).expect("small");
    let rows: u64 = shape[1..].iter().product();
    let bytes = ty.row_bytes(row).expect("whole blocks") * usize::try_from(rows).expect("small");
    writer.add_tensor(name, shape, ty, vec![0_u8; bytes]);
}

/// A Qwen3-VL text model of this width that takes 2 deepstack layers.
pub(crate) fn text(width: u64) -> Writer<'static> {
    text_of("qwen3vl", width, Some(2))
}

pub(crate) fn text_of(architecture: &str, width: u64, deepstack: Option<u32>) -> Writer<'static> {
    let mut writer = Writer::new();
    let width_key = format!("{architecture}.embedding_length");
    writer.set("general.architecture", architecture);
    writer.set(width_key, u32::try_from(width).expect("small"));
    if let Some(layers) = deepstack {
        writer.set(format!("{architecture}.n_deepstack_layers"), layers);
    }
    tensor(
        &mut writer,
        "token_embd.weight",
        &[width, 4],
        TensorType::F32,
    );
    writer
}

/// A Qwen3-VL projector to this width with 2 deepstack layers, in F16.
pub(crate) fn projector(width: u64) -> Writer<'static> {
    projector_in(width, TensorType::F16)
}

pub(crate) fn projector_in(width: u64, ty: TensorType) -> Writer<'static> {
    let mut writer = projector_of("qwen3vl_merger");
    tensor(&mut writer, "mm.0.weight", &[32, 32], ty);
    tensor(&mut writer, "mm.2.weight", &[32, width], ty);
    for layer in [1, 3] {
        tensor(
            &mut writer,
            &format!("v.deepstack.{layer}.fc1.weight"),
            &[32, 32],
            ty,
        );
    }
    writer
}

/// A projector without projection.
pub(crate) fn projector_of(projector_type: &str) -> Writer<'static> {
    let mut writer = Writer::new();
    writer.set("general.architecture", "clip");
    writer.set("general.type", "mmproj");
    writer.set("clip.projector_type", projector_type);
    tensor(&mut writer, "v.post_ln.weight", &[8], TensorType::F32);
    writer
}

/// Adds an F32 tensor to a model.
pub(crate) fn with(mut writer: Writer<'static>, name: &str, shape: &[u64]) -> Writer<'static> {
    tensor(&mut writer, name, shape, TensorType::F32);
    writer
}

/// Gives a model its stated name.
pub(crate) fn named(mut writer: Writer<'static>, name: &str) -> Writer<'static> {
    writer.set("general.name", name);
    writer
}
