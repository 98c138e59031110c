//! One naming for tensors: files of every origin are normalised here, and only here.

use std::collections::BTreeMap;

use ocelli_gguf::Gguf;

/// Which name in the file each normalised name stands for, and what was assumed on the way.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    in_file: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl NameTable {
    /// The name in the file, if the file has the tensor.
    pub fn in_file(&self, name: &str) -> Option<&str> {
        self.in_file.get(name).map(String::as_str)
    }

    /// `(normalised, in the file)` of every tensor.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.in_file
            .iter()
            .map(|(name, in_file)| (name.as_str(), in_file.as_str()))
    }

    /// What was assumed or left out, for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The highest number after `prefix.` plus one: how many layers the names speak of.
    pub fn layers(&self, prefix: &str) -> usize {
        self.in_file
            .keys()
            .filter_map(|name| name.strip_prefix(prefix)?.strip_prefix('.'))
            .filter_map(|rest| rest.split('.').next()?.parse::<usize>().ok())
            .max()
            .map_or(0, |last| last.saturating_add(1))
    }
}

/// Part of a pair that a table is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `token_embd`, `blk.*`, `output*`.
    Text,
    /// `v.*`, `mm.*`.
    Vision,
}

/// Tensors that carry nothing a model needs: they are left out, with a note.
const IGNORED_TEXT: [&str; 4] = ["rope_freqs.weight", "cls_out.", "nextn.", ".input_scale"];
const IGNORED_VISION: [&str; 2] = ["a.", ".input_scale"];

/// Normalises a file's names.
pub fn normalise(gguf: &Gguf, part: Part) -> NameTable {
    let mut table = NameTable::default();
    for info in gguf.tensors() {
        let name = info.name();
        let is_vision = ["v.", "mm.", "a."].iter().any(|p| name.starts_with(p));
        if is_vision != (part == Part::Vision) {
            continue;
        }
        let ignored = match part {
            Part::Text => IGNORED_TEXT.iter().any(|i| name.contains(i)),
            Part::Vision => {
                name.starts_with(IGNORED_VISION[0]) || name.ends_with(IGNORED_VISION[1])
            }
        };
        if ignored {
            table
                .notes
                .push(format!("tensor '{name}' is not needed and was left out"));
            continue;
        }
        table.in_file.insert(name.to_owned(), name.to_owned());
    }
    table
}
