//! Encoders of still pictures under current names and keys. Ollama's merged `mistral3` files: rows
//! of the encoder's queries and keys in pairs, sizes under `clip.vision.`, and the text model's
//! keys as llama.cpp's converter writes them. Projectors of LLaVA-1.5 and LLaVA-1.6 of any age: each
//! product of the MLPs under its own name, no layers that are not run; how tiles are cut stays as it is.

use ocelli_gguf::{Gguf, TensorInfo, Value};
use ocelli_models::NameTable;

use crate::Error;
use crate::encode::Output;
use crate::merge::copy;
use crate::source::{Joined, Stored};

const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What projectors say about tiles, below their prefix.
const TILES: [&str; 3] = [
    "image_grid_pinpoints",
    "image_aspect_ratio",
    "mm_patch_merge_type",
];

/// Keys of the text model: Ollama's and the current ones.
const TEXT_KEYS: [(&str, &str); 4] = [
    ("rope.scaling.beta_fast", "rope.scaling.yarn_beta_fast"),
    ("rope.scaling.beta_slow", "rope.scaling.yarn_beta_slow"),
    (
        "rope.scaling.mscale_all_dim",
        "rope.scaling.yarn_log_multiplier",
    ),
    ("rope.scaling_beta", "attention.temperature_scale"),
];
/// Keys of the text model that belong to the projector, or say the usual.
const NOT_TEXT: [&str; 4] = [
    "spatial_merge_size",
    "image_token_index",
    "mm.projector_bias",
    "rope.scaling.mscale",
];

/// The current name of a text model's key below its architecture; none for keys that are left out.
pub(crate) fn text_key(rest: &str) -> Option<&str> {
    if NOT_TEXT.contains(&rest) {
        return None;
    }
    let found = TEXT_KEYS.iter().find(|(old, _)| *old == rest);
    Some(found.map_or(rest, |(_, current)| current))
}

/// The encoders that this module knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pixtral,
    Llava,
}

impl Kind {
    /// The encoder of a vision part, if it is one of these.
    pub(crate) fn of(table: &NameTable) -> Option<Self> {
        let has = |name: &str| table.in_file(name).is_some();
        match has("v.pre_ln.weight") {
            true if has("mm.1.weight") => Some(Self::Pixtral),
            true if has("mm.0.weight") && has("v.class_embd") => Some(Self::Llava),
            _ => None,
        }
    }

    pub(crate) fn projector_type(self) -> &'static str {
        match self {
            Self::Pixtral => "pixtral",
            Self::Llava => "mlp",
        }
    }
}

/// The tensors in current order of rows.
pub(crate) fn tensors<'a>(
    file: &'a Gguf,
    table: &NameTable,
    named: Vec<(String, &'a TensorInfo)>,
) -> Result<Vec<Output<'a>>, Error> {
    let heads = heads(file, table)?;
    let in_halves = table
        .in_file("v.blk.0.ln1.weight")
        .is_some_and(|name| name.contains("attn_norm"));
    let turned = |name: &str| name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight");
    let written = |(name, tensor): (String, &'a TensorInfo)| match in_halves && turned(&name) {
        true => paired(file, (name, tensor), heads as usize),
        false => Ok(Output {
            name,
            ..copy(file, tensor)
        }),
    };
    named.into_iter().map(written).collect()
}

fn heads(file: &Gguf, table: &NameTable) -> Result<u32, Error> {
    let key = format!("{}.attention.head_count", table.prefix());
    Ok(file.metadata().required_u32(&key)?)
}

/// The metadata below `clip.`; sizes by the shapes of the tensors.
pub(crate) fn metadata(
    file: &Gguf,
    table: &NameTable,
    kind: Kind,
    tensors: &[Output<'_>],
) -> Result<Vec<(String, Value)>, Error> {
    let metadata = file.metadata();
    let key = |name: &str| format!("{}.{name}", table.prefix());
    let shape = |name: &str| -> Result<Vec<u64>, Error> {
        let found = tensors.iter().find(|tensor| tensor.name == name);
        let shape = found.map(|tensor| tensor.shape.clone());
        shape
            .filter(|shape| shape.len() >= 2)
            .ok_or_else(|| Error::BadMerged {
                file: file.name().to_owned(),
                problem: format!("tensor '{name}' not found, or of another rank"),
            })
    };
    let kernel = shape("v.patch_embd.weight")?;
    let (patch, width) = (kernel[0], *kernel.last().unwrap_or(&1));
    let number = |n: u64| Value::U32(n as u32);
    let stated = |name: &str, usual: u32| metadata.u32(&key(name)).map(|n| n.unwrap_or(usual));
    let colours = |name: &str, usual: [f32; 3]| -> Result<Value, Error> {
        let found = metadata.f32_array(&key(name))?;
        Ok(found.unwrap_or_else(|| usual.to_vec()).into())
    };
    let image_size = if kind == Kind::Llava { 336 } else { 1540 };
    let eps = metadata.f32(&key("attention.layer_norm_epsilon"))?;
    let mut clip = vec![
        ("has_vision_encoder", true.into()),
        ("projector_type", kind.projector_type().into()),
        function(file, kind)?,
        ("vision.projection_dim", number(shape("mm.2.weight")?[1])),
        (
            "vision.image_size",
            stated("image_size", image_size)?.into(),
        ),
        ("vision.patch_size", number(patch)),
        ("vision.embedding_length", number(width)),
        (
            "vision.feed_forward_length",
            number(shape("v.blk.0.ffn_up.weight")?[1]),
        ),
        ("vision.block_count", number(table.layers("v.blk") as u64)),
        ("vision.attention.head_count", heads(file, table)?.into()),
        ("vision.image_mean", colours("image_mean", CLIP_MEAN)?),
        ("vision.image_std", colours("image_std", CLIP_STD)?),
        (
            "vision.attention.layer_norm_epsilon",
            eps.unwrap_or(1e-5).into(),
        ),
    ];
    if kind == Kind::Pixtral {
        let merge = shape("mm.patch_merger.weight").map_or(1, |s| (s[0] / width.max(1)).isqrt());
        clip.extend((merge > 1).then(|| ("vision.spatial_merge_size", number(merge))));
        clip.extend(unusual(file, table)?);
    }
    let clip = clip.into_iter();
    Ok(clip
        .map(|(key, value)| (format!("clip.{key}"), value))
        .chain(about_tiles(file, table))
        .collect())
}

/// What the file says about tiles.
fn about_tiles(file: &Gguf, table: &NameTable) -> Vec<(String, Value)> {
    let stated = |name: &&str| {
        let value = file.metadata().get(&format!("{}.{name}", table.prefix()))?;
        Some((format!("clip.vision.{name}"), value.clone()))
    };
    TILES.iter().filter_map(stated).collect()
}

/// The function of the encoder's MLPs; merged files leave it out.
fn function(file: &Gguf, kind: Kind) -> Result<(&'static str, Value), Error> {
    let is_gelu = file.metadata().bool("clip.use_gelu")?.unwrap_or(false);
    Ok(match kind {
        Kind::Pixtral if !is_gelu => ("use_silu", true.into()),
        _ => ("use_gelu", is_gelu.into()),
    })
}

/// Numbers of Pixtral that files state only where they are not as in published models.
fn unusual(file: &Gguf, table: &NameTable) -> Result<Vec<(&'static str, Value)>, Error> {
    let metadata = file.metadata();
    let base = match metadata.f32(&format!("{}.rope.freq_base", table.prefix()))? {
        Some(base) => Some(base),
        None => metadata.f32("clip.rope.freq_base")?,
    };
    let eps = metadata.f32(&format!("{}.projector.layer_norm_epsilon", table.prefix()))?;
    let longest = metadata.u32(&format!("{}.longest_edge", table.prefix()))?;
    let longest = longest.map(|longest| ("vision.longest_edge", longest.into()));
    let base = base.filter(|base| *base != 10_000.0);
    let base = base.map(|base| ("rope.freq_base", base.into()));
    let eps = eps.map(|eps| ("vision.projector.layer_norm_epsilon", eps.into()));
    Ok(base.into_iter().chain(eps).chain(longest).collect())
}

/// Rows of each head from halves side by side to alternating pairs; bytes of a row stay as they are.
fn paired<'a>(
    file: &'a Gguf,
    (name, tensor): (String, &'a TensorInfo),
    heads: usize,
) -> Result<Output<'a>, Error> {
    let (row, rows) = (tensor.row_elements(), tensor.rows());
    if heads == 0 || !rows.is_multiple_of(2 * heads) {
        return Err(Error::BadMerged {
            file: file.name().to_owned(),
            problem: format!(
                "tensor '{}' has {rows} rows, need a multiple of {} (pairs of {heads} heads)",
                tensor.name(),
                2 * heads
            ),
        });
    }
    let half = rows / heads / 2;
    let from = |to: usize| {
        let (head, place) = (to / (2 * half), to % (2 * half));
        (head * 2 + place % 2) * half + place / 2
    };
    let moved = (0..rows).map(|to| Stored::part(file, tensor, from(to) * row, row));
    Ok(Output {
        source: Box::new(Joined(moved.collect())),
        name,
        ..copy(file, tensor)
    })
}
