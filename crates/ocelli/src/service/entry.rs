//! A model that can be asked for, and its files.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{Options, Source};

/// A model that can be asked for.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// The name to ask for it by.
    pub name: String,
    /// Where it is.
    pub source: Source,
    /// How it is opened.
    pub options: Options,
}

impl ModelEntry {
    /// Bytes of its files, as far as that can be told without opening them.
    pub fn file_bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let text = match &self.source {
            Source::Demo => crate::demo::bytes(),
            Source::File(path) => size(path),
        };
        text + self.options.projector.as_deref().map_or(0, size)
    }

    /// The files that would be opened now, including a projector that is found beside the text
    /// model; of a split model, the first part. If they cannot be opened, the files that were
    /// named. Empty for the built-in model.
    pub fn files(&self) -> Vec<PathBuf> {
        let Source::File(path) = &self.source else {
            return Vec::new();
        };
        let projector = self.options.projector.as_deref();
        let Ok(files) = ocelli_store::open(path, projector) else {
            return [Some(path.as_path()), projector]
                .into_iter()
                .flatten()
                .map(Path::to_owned)
                .collect();
        };
        let firsts = std::iter::once(&files.text).chain(&files.projector);
        firsts
            .filter_map(|file| file.paths().first().cloned())
            .collect()
    }

    /// When its file was last changed; for the built-in model, when the program was.
    pub fn modified(&self) -> Option<SystemTime> {
        let file = match &self.source {
            Source::Demo => std::env::current_exe().ok()?,
            Source::File(path) => path.clone(),
        };
        std::fs::metadata(file).ok()?.modified().ok()
    }
}
