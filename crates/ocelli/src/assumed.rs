//! What the normaliser assumed about files of old or foreign layouts.

use ocelli_gguf::Gguf;
use ocelli_models::{Part, normalise};

/// What was assumed or left out of these parts of a file. Files that cannot be normalised say so
/// when they are loaded.
pub(crate) fn assumed(file: &Gguf, parts: &[Part]) -> Vec<String> {
    let mut notes = Vec::new();
    for part in parts {
        if let Ok(names) = normalise(file, *part) {
            notes.extend_from_slice(names.notes());
        }
    }
    notes
}
