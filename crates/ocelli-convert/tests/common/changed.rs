//! Checkpoints of the tests with some settings changed, and what becomes of them.

use std::fs;
use std::path::Path;

use ocelli_convert::{ConvertOptions, FileType, convert};
use ocelli_gguf::{Gguf, Metadata};
use serde_json::{Value as Json, json};

use super::{Folder, copy_of, quiet};

/// A checkpoint of the tests with one setting changed; the pointer names file and key.
pub(crate) fn changed(name: &str, folder: &Folder, at: (&str, &str), value: Json) -> Converted {
    changed_all(name, folder, &[(at, value)])
}

/// The same with several; a file that is not there comes into being.
pub(crate) fn changed_all(
    name: &str,
    folder: &Folder,
    changes: &[((&str, &str), Json)],
) -> Converted {
    let checkpoint = copy_of(name, folder);
    for ((file, pointer), value) in changes {
        let path = checkpoint.join(file);
        let mut settings = match path.exists() {
            true => read(&path),
            false => json!({}),
        };
        let (parent, key) = pointer.rsplit_once('/').expect("a path");
        let parent = settings.pointer_mut(parent).expect("an object");
        parent[key] = value.clone();
        fs::write(&path, settings.to_string()).expect("written");
    }
    let options = ConvertOptions {
        text_type: FileType::F16,
        projector_type: FileType::F16,
        ..ConvertOptions::default()
    };
    convert(&checkpoint, folder.path(), &options, &mut quiet)
        .map(|made| made.projector.expect("a projector"))
        .map_err(|error| error.to_string())
}

pub(crate) type Converted = Result<std::path::PathBuf, String>;

pub(crate) fn read(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON")
}

pub(crate) fn metadata(path: &Path) -> Metadata {
    Gguf::open(path).expect("a sound file").metadata().clone()
}

/// The file with a processor's settings, and where in it they are.
pub(crate) fn processor(name: &str) -> (&'static str, &'static str) {
    match name {
        "qwen2vl" => ("preprocessor_config.json", ""),
        _ => ("processor_config.json", "/image_processor"),
    }
}
