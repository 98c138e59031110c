//! The text model under current names and keys.

use ocelli_gguf::{Gguf, Metadata, Value};
use ocelli_models::{is_vision, normalise};

use super::{Entries, Part, in_file_order};
use crate::Error;
use crate::encode::Output;
use crate::merge::{copy, is_mark};
use crate::still_repair;

/// The text model of a file, alone or merged.
pub(crate) fn text(file: &Gguf) -> Result<Part<'_>, Error> {
    let table = normalise(file, ocelli_models::Part::Text)?;
    let tensors: Vec<Output<'_>> = in_file_order(file, &table)
        .into_iter()
        .filter(|(_, tensor)| !is_vision(tensor.name()))
        .map(|(name, tensor)| Output {
            name,
            ..copy(file, tensor)
        })
        .collect();
    let (metadata, mut notes) = text_metadata(file)?;
    notes.extend_from_slice(table.notes());
    Ok(Part {
        metadata,
        tensors,
        notes,
    })
}

fn text_metadata(file: &Gguf) -> Result<(Entries, Vec<String>), Error> {
    let old = file.metadata();
    let old_arch = old.required_str("general.architecture")?;
    let arch = match old_arch {
        "qwen25vl" => "qwen2vl",
        same => same,
    };
    let vision = format!("{old_arch}.vision.");
    let mut metadata: Entries = Vec::new();
    for (key, value) in old.iter() {
        let is_other = key.starts_with("split.")
            || key.starts_with("clip.")
            || key.starts_with(&vision)
            || is_mark(key)
            || key.ends_with(".rope.mrope_section")
            || key.ends_with(".rope.dimension_sections");
        match key
            .strip_prefix(old_arch)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            _ if is_other => {}
            Some(rest) if arch == "mistral3" => {
                let current = still_repair::text_key(rest);
                metadata.extend(current.map(|key| (format!("{arch}.{key}"), value.clone())));
            }
            None if arch == "mistral3" && key == "tokenizer.ggml.pre" => {
                metadata.push((key.to_owned(), "tekken".into()));
            }
            Some(rest) => metadata.push((format!("{arch}.{rest}"), value.clone())),
            None if key == "general.architecture" => metadata.push((key.to_owned(), arch.into())),
            None => metadata.push((key.to_owned(), value.clone())),
        }
    }
    let mut set = |key: &str, value: Value| {
        let key = format!("{arch}.{key}");
        if !metadata.iter().any(|(known, _)| *known == key) {
            metadata.push((key, value));
        }
    };
    if let Some(sections) = sections(old, old_arch)? {
        set("rope.dimension_sections", sections.into());
    }
    if arch == "gemma3" {
        for (key, value) in gemma3_defaults(old)? {
            set(key, value);
        }
    }
    let taps = old.u32_array(&format!("{vision}deepstack_visual_indexes"))?;
    if let Some(taps) = taps {
        set("n_deepstack_layers", Value::U32(taps.len() as u32));
    }
    if let Some(experts) = file.tensor("blk.0.ffn_gate_exps.weight")
        && let &[_, hidden, _] = experts.shape()
    {
        set("expert_feed_forward_length", Value::U32(hidden as u32));
    }
    let mut notes = Vec::new();
    if arch != old_arch {
        notes.push(format!("architecture '{old_arch}' is written as '{arch}'"));
    }
    Ok((metadata, notes))
}

/// What merged Gemma 3 files state under other names, or leave out.
fn gemma3_defaults(old: &Metadata) -> Result<Vec<(&'static str, Value)>, Error> {
    let mut defaults = vec![("attention.layer_norm_rms_epsilon", Value::F32(1e-6))];
    for (own, name) in [
        ("gemma3.rope.global.freq_base", "rope.freq_base"),
        ("gemma3.rope.local.freq_base", "rope.freq_base_swa"),
    ] {
        defaults.extend(old.f32(own)?.map(|base| (name, Value::F32(base))));
    }
    let has_scaling = old.get("gemma3.rope.scaling.factor").is_some();
    let is_long = old.u64("gemma3.context_length")?.unwrap_or(0) >= 131_072;
    let is_large = old.u64("gemma3.block_count")?.unwrap_or(0) >= 34;
    if !has_scaling && is_long && is_large {
        defaults.push(("rope.scaling.type", "linear".into()));
        defaults.push(("rope.scaling.factor", Value::F32(8.0)));
    }
    Ok(defaults)
}

/// Rope sections padded to four, under either name; the usual ones where a family needs them and a
/// file has none.
fn sections(metadata: &Metadata, arch: &str) -> Result<Option<Vec<i32>>, Error> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let found = match metadata.i32_array(&key("dimension_sections"))? {
        Some(found) => Some(found),
        None => metadata.i32_array(&key("mrope_section"))?,
    };
    let usual = match arch {
        "qwen2vl" | "qwen25vl" => Some(vec![16, 24, 24]),
        "qwen3vl" | "qwen3vlmoe" => Some(vec![24, 20, 20]),
        _ => None,
    };
    Ok(found.or(usual).map(|mut sections| {
        sections.resize(sections.len().max(4), 0);
        sections
    }))
}
