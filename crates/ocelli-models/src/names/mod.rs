//! Names of tensors, normalised: architectures see one naming whatever tool wrote the file.
//!
//! A table of rules ([`rules`]) rewrites foreign names, a second table leaves out what carries nothing,
//! and [`projector`] says which projector a file holds when its keys are missing or wrong. Whatever was
//! assumed on the way is kept as a note.

mod projector;
mod rules;

use std::collections::BTreeMap;

use ocelli_gguf::Gguf;

use crate::Error;
pub(crate) use projector::{Projector, classify};

/// Which name in the file each normalised name stands for, and what was assumed on the way.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    in_file: BTreeMap<String, String>,
    notes: Vec<String>,
    prefix: String,
    depth: Option<usize>,
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

    /// What the part's metadata keys start with: `qwen3vl`, `clip.vision`, or `qwen25vl.vision`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many vision layers are run, where the file says that not all of them are.
    pub(crate) fn depth(&self) -> Option<usize> {
        self.depth
    }

    /// True for the vision part of a file that also holds the text model and states its sizes as the
    /// text model's own.
    pub(crate) fn is_merged_vision(&self) -> bool {
        self.prefix.ends_with(".vision") && self.prefix != CLIP
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

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Puts `name` in the table; a second tensor of one name keeps its own, so that it is found unused.
    fn insert(&mut self, name: String, in_file: &str) {
        let name = match self.in_file.contains_key(&name) {
            true => in_file.to_owned(),
            false => name,
        };
        self.in_file.insert(name, in_file.to_owned());
    }

    /// Exchanges two tensors, weight and bias.
    fn swap(&mut self, first: &str, second: &str) {
        for end in ["weight", "bias"] {
            let (first, second) = (format!("{first}.{end}"), format!("{second}.{end}"));
            let (a, b) = (self.in_file.remove(&first), self.in_file.remove(&second));
            self.in_file.extend(a.map(|a| (second, a)));
            self.in_file.extend(b.map(|b| (first, b)));
        }
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

const CLIP: &str = "clip.vision";

/// Normalises a file's names.
///
/// # Errors
/// When metadata that decides over names is of a wrong type.
pub fn normalise(gguf: &Gguf, part: Part) -> Result<NameTable, Error> {
    let architecture = gguf.metadata().required_str("general.architecture")?;
    match part {
        Part::Text => Ok(text(gguf, architecture)),
        Part::Vision => vision(gguf, architecture),
    }
}

/// Whether a tensor belongs to a vision encoder, a projector or an audio encoder, whichever file it is in.
pub fn is_vision(name: &str) -> bool {
    // The last ends lines of patches in LLaVA-1.6.
    ["v.", "mm.", "a.", "model.image_newline"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn text(gguf: &Gguf, architecture: &str) -> NameTable {
    let mut table = NameTable {
        prefix: architecture.to_owned(),
        ..NameTable::default()
    };
    for name in gguf.tensors().iter().map(|info| info.name()) {
        if is_vision(name) {
            continue;
        }
        // Only LLaMA's files mean these factors.
        let is_llama = matches!(architecture, "llama" | "mistral3");
        let has_unread_factors = name == "rope_freqs.weight" && !is_llama;
        if has_unread_factors || rules::is_ignored_text(name) {
            table.note(left_out(name));
        } else {
            table.insert(name.to_owned(), name);
        }
    }
    table
}

fn vision(gguf: &Gguf, architecture: &str) -> Result<NameTable, Error> {
    let metadata = gguf.metadata();
    let own = format!("{architecture}.vision");
    let is_own = metadata.iter().any(|(key, _)| key.starts_with(&own));
    let is_clip = metadata.iter().any(|(key, _)| key.starts_with(CLIP));
    let mut table = NameTable {
        prefix: if is_own && !is_clip {
            own
        } else {
            CLIP.to_owned()
        },
        ..NameTable::default()
    };
    let (projector, notes) = classify(gguf)?;
    notes.into_iter().for_each(|note| table.note(note));
    let taps = taps(gguf, &mut table)?;
    if projector == Projector::Llava {
        table.depth = feature_layer(gguf)?;
    }
    for name in gguf.tensors().iter().map(|info| info.name()) {
        // A projector's file holds nothing else; a merged one also holds the text model.
        if architecture != "clip" && !is_vision(name) {
            continue;
        }
        let is_unused = match projector {
            Projector::Qwen2Vl | Projector::Qwen25Vl => name == "v.position_embd.weight",
            Projector::Llava => name.starts_with("v.post_ln.") || is_behind(name, table.depth),
            _ => false,
        };
        if rules::is_ignored_vision(name) || is_unused {
            table.note(left_out(name));
            continue;
        }
        let normal = rules::rename(name, &taps);
        if let Some(note) = rules::note_of(name, &normal) {
            table.note(note);
        }
        table.insert(normal, name);
    }
    unswap_mlp(gguf, &mut table);
    Ok(table)
}

/// The layer of LLaVA's encoder whose rows are taken, counted from 1, where the file has layers behind it.
fn feature_layer(gguf: &Gguf) -> Result<Option<usize>, Error> {
    let invalid = |what| Error::Invalid {
        file: gguf.name().to_owned(),
        what,
    };
    let Some(layers) = gguf.metadata().i32_array("clip.vision.feature_layer")? else {
        return Ok(None);
    };
    match layers[..] {
        [layer @ 1..=1024] => Ok(Some(layer as usize)),
        _ => Err(invalid(format!(
            "clip.vision.feature_layer is {layers:?}, need one layer of 1..=1024"
        ))),
    }
}

/// True for tensors of layers that are not run.
fn is_behind(name: &str, depth: Option<usize>) -> bool {
    let layer = || name.strip_prefix("v.blk.")?.split('.').next()?.parse().ok();
    depth.is_some_and(|depth| layer().is_some_and(|layer: usize| layer >= depth))
}

/// The layers that deepstack mergers tap, for files that number the mergers themselves.
fn taps(gguf: &Gguf, table: &mut NameTable) -> Result<Vec<u32>, Error> {
    let key = format!("{}.deepstack_visual_indexes", table.prefix);
    if let Some(taps) = gguf.metadata().u32_array(&key)? {
        return Ok(taps);
    }
    let has = |start: &str| gguf.tensors().iter().any(|t| t.name().starts_with(start));
    if !has("v.deepstack_merger.") {
        return Ok(Vec::new());
    }
    // Of the released models; the last layer tells which.
    let taps = if has("v.blk.26.") {
        [8, 16, 24]
    } else {
        [5, 11, 17]
    };
    table.note(format!(
        "'{key}' is missing; deepstack on layers {taps:?} assumed"
    ));
    Ok(taps.to_vec())
}

fn left_out(name: &str) -> String {
    format!("tensor '{name}' is not needed and was left out")
}

/// Old converters wrote the two products of a plain MLP under each other's name; shapes tell.
fn unswap_mlp(gguf: &Gguf, table: &mut NameTable) {
    let shape = |table: &NameTable, name: &str| -> Option<[u64; 2]> {
        let info = gguf.tensor(table.in_file(name)?)?;
        info.shape().try_into().ok()
    };
    // Numbers come from the file: only those that are there are looked at.
    let downs: Vec<String> = table.in_file.keys().cloned().collect();
    for down in downs {
        let Some(layer) = down.strip_suffix("ffn_down.weight") else {
            continue;
        };
        let width = shape(table, &format!("{layer}attn_out.weight")).map(|s| s[1]);
        let found = shape(table, &down);
        if let (Some(width), Some([inputs, outputs])) = (width, found)
            && inputs == width
            && outputs != width
        {
            table.swap(&format!("{layer}ffn_up"), &format!("{layer}ffn_down"));
            table.note("'ffn_up' and 'ffn_down' of the vision layers are swapped".to_owned());
        }
    }
}
