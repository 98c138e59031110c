//! What the tests share: folders of their own, checkpoints and golden files, contents of files to compare.

#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod changed;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ocelli_convert::{ConvertOptions, FileType, Progress, RewriteOptions};
use ocelli_gguf::{Gguf, Value};
use ocelli_quant::TensorType;

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ocelli-convert-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of all files, also hidden ones, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("listed")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Both files as F16.
pub(crate) fn f16() -> ConvertOptions {
    ConvertOptions {
        text_type: FileType::F16,
        projector_type: FileType::F16,
        ..ConvertOptions::default()
    }
}

pub(crate) fn plain() -> RewriteOptions {
    RewriteOptions::default()
}

/// Reports of progress that nobody reads.
pub(crate) fn quiet(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The checkpoints beside the tests.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// The project's golden files.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/goldens")
        .join(name)
}

/// Text model and projector of a golden pair.
pub(crate) fn pair(name: &str) -> (PathBuf, PathBuf) {
    (
        golden(&format!("{name}/text.gguf")),
        golden(&format!("{name}/mmproj.gguf")),
    )
}

/// A copy of a checkpoint that a test may break.
pub(crate) fn copy_of(name: &str, folder: &Folder) -> PathBuf {
    let target = folder.join(name);
    fs::create_dir_all(&target).expect("a folder");
    for entry in fs::read_dir(data(name)).expect("listed") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, target.join(path.file_name().expect("a name"))).expect("copied");
    }
    target
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

type Metadata = Vec<(String, Value)>;
type Tensors = Vec<(String, TensorType, Vec<u64>, Vec<u8>)>;

/// Everything a file holds: metadata in order, tensors in order with type, shape and bytes.
pub(crate) type Content = (Metadata, Tensors);

pub(crate) fn content(path: &Path) -> Content {
    let file = Gguf::open(path).expect("a sound file");
    let metadata = file
        .metadata()
        .iter()
        .map(|(key, value)| (key.to_owned(), value.clone()));
    let tensors = file.tensors().iter().map(|tensor| {
        let bytes = file.data(tensor).to_vec();
        (
            tensor.name().to_owned(),
            tensor.ty(),
            tensor.shape().to_vec(),
            bytes,
        )
    });
    (metadata.collect(), tensors.collect())
}

/// Tensors by name, for files whose order does not matter.
pub(crate) fn by_name((_, mut tensors): Content) -> Tensors {
    tensors.sort();
    tensors
}

/// Metadata by key, for files whose order does not matter.
pub(crate) fn by_key((mut metadata, _): Content) -> Metadata {
    metadata.sort_by(|a, b| a.0.cmp(&b.0));
    metadata
}

/// What a projector's keys say of the model. A size that the reference writes wrong is left out.
pub(crate) fn clip_keys(content: Content) -> Metadata {
    let mut metadata = by_key(content);
    metadata
        .retain(|(key, _)| key.starts_with("clip.") && key != "clip.vision.feed_forward_length");
    metadata
}
