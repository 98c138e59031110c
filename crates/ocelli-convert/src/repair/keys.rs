//! The projector's metadata: current keys, and sizes by the tensors' shapes.

use ocelli_gguf::{Array, Gguf, Metadata, Value};
use ocelli_models::NameTable;

use super::{Entries, Generation};
use crate::Error;
use crate::encode::Output;
use crate::hub::FullLayers;
use crate::projector::IMAGE_PATCHES;

/// Keys of old converters that say nothing, or nothing that the written ones do not.
const DROPPED: [&str; 12] = [
    "clip.has_text_encoder",
    "clip.has_qwen2vl_merger",
    "clip.has_llava_projector",
    "clip.is_qwen2_5",
    "clip.use_glu_mlp",
    "clip.use_rms_norm",
    "clip.use_gelu",
    "clip.use_silu",
    "clip.vision.fullatt_block_indexes",
    "clip.vision.feature_layer",
    "clip.vision.image_grid_pinpoints",
    "clip.vision.mm_patch_merge_type",
];

pub(super) fn projector_metadata(
    file: &Gguf,
    table: &NameTable,
    generation: Generation,
    tensors: &[Output<'_>],
) -> Result<Entries, Error> {
    let old = file.metadata();
    let mut metadata: Entries = general(file)?;
    let sizes = Sizes::of(file, tensors)?;
    let key = |name: &str| format!("{}.{name}", table.prefix());
    let heads = old.required_u32(&key("attention.head_count"))?;
    let eps = old
        .f32(&key("attention.layer_norm_epsilon"))?
        .unwrap_or(1e-6);
    let [mean, std] = normalization(old, table.prefix(), generation)?;
    let image_size = match sizes.positions {
        Some(positions) => positions.isqrt() * sizes.patch,
        None => {
            let usual = IMAGE_PATCHES as u64 * sizes.patch;
            old.u64(&key("image_size"))?.unwrap_or(usual)
        }
    };
    let mut set = |key: &str, value: Value| metadata.push((format!("clip.{key}"), value));
    let number = |n: u64| Value::U32(n as u32);
    set("has_vision_encoder", true.into());
    set("projector_type", generation.projector_type().into());
    set("vision.projection_dim", number(sizes.output));
    set("vision.image_size", number(image_size));
    set("vision.patch_size", number(sizes.patch));
    set("vision.embedding_length", number(sizes.width));
    set("vision.feed_forward_length", number(sizes.mlp_hidden));
    set("vision.block_count", number(sizes.layers));
    set("vision.attention.head_count", heads.into());
    set("vision.image_mean", mean.into());
    set("vision.image_std", std.into());
    set("vision.attention.layer_norm_epsilon", eps.into());
    let image = (&sizes, image_size);
    for (key, value) in own_keys(generation, (old, table.prefix()), image, tensors)? {
        set(key, value);
    }
    // What else a projector's own file says is kept.
    for (key, value) in old.iter() {
        let is_known = metadata.iter().any(|(known, _)| known == key);
        if key.starts_with("clip.") && !is_known && !DROPPED.contains(&key) {
            metadata.push((key.to_owned(), value.clone()));
        }
    }
    Ok(metadata)
}

/// Keys that only one generation has.
fn own_keys(
    generation: Generation,
    (old, prefix): (&Metadata, &str),
    (sizes, image_size): (&Sizes, u64),
    tensors: &[Output<'_>],
) -> Result<Vec<(&'static str, Value)>, Error> {
    let mut keys = Vec::new();
    let mut set = |key: &'static str, value: Value| keys.push((key, value));
    match generation {
        Generation::Qwen2 => {}
        Generation::Gemma3 => {
            set("use_gelu", true.into());
            if let Some(pool) = pool(old, image_size / sizes.patch)? {
                set("vision.projector.scale_factor", Value::U32(pool as u32));
            }
        }
        Generation::Qwen25 => {
            set("use_silu", true.into());
            match full_layers(old, prefix, sizes.layers)? {
                FullLayers::Every(layers) => set("vision.n_wa_pattern", layers.into()),
                FullLayers::Listed(layers) => set("vision.fullatt_block_indexes", layers.into()),
            }
        }
        Generation::Qwen3 => {
            set("use_gelu", true.into());
            set("vision.spatial_merge_size", 2u32.into());
            let is_tap = |layer: u64| {
                let name = format!("v.deepstack.{layer}.fc1.weight");
                tensors.iter().any(|tensor| tensor.name == name)
            };
            let taps: Vec<bool> = (0..sizes.layers).map(is_tap).collect();
            set(
                "vision.is_deepstack_layers",
                Value::Array(Array::Bool(taps)),
            );
        }
    }
    Ok(keys)
}

/// `general.*` of the projector: its own, those kept in a merged file, or the name of the text model.
pub(super) fn general(file: &Gguf) -> Result<Entries, Error> {
    const MOVED: &str = "ocelli.merged.projector.";
    let old = file.metadata();
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::from("clip")),
        ("general.type".to_owned(), Value::from("mmproj")),
    ];
    let is_own = old.required_str("general.architecture")? == "clip";
    for (key, value) in old.iter() {
        let moved = key.strip_prefix(MOVED);
        let own = match (is_own, moved) {
            (_, Some(moved)) => moved,
            (true, None) if !key.starts_with("clip.") && !key.starts_with("split.") => key,
            (false, None) if key == "general.name" => key,
            _ => continue,
        };
        if !metadata.iter().any(|(known, _)| known == own) {
            metadata.push((own.to_owned(), value.clone()));
        }
    }
    Ok(metadata)
}

/// Sizes by the tensors' shapes: old converters wrote wrong ones into the metadata.
struct Sizes {
    patch: u64,
    width: u64,
    mlp_hidden: u64,
    output: u64,
    layers: u64,
    positions: Option<u64>,
}

impl Sizes {
    fn of(file: &Gguf, tensors: &[Output<'_>]) -> Result<Self, Error> {
        let shape = |name: &str| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            tensor.map(|tensor| tensor.shape.as_slice())
        };
        let missing = |name: &str| Error::BadMerged {
            file: file.name().to_owned(),
            problem: format!("tensor '{name}' not found, or of another rank"),
        };
        let matrix = |name: &str| match shape(name) {
            Some(&[inputs, outputs]) => Ok((inputs, outputs)),
            _ => Err(missing(name)),
        };
        let (patch, width) = match shape("v.patch_embd.weight") {
            Some(&[patch, _, _, width]) => (patch, width),
            _ => return Err(missing("v.patch_embd.weight")),
        };
        let layer = |name: &str| {
            name.strip_prefix("v.blk.")?
                .split('.')
                .next()?
                .parse::<u64>()
                .ok()
        };
        let highest = tensors
            .iter()
            .filter_map(|tensor| layer(&tensor.name))
            .max();
        Ok(Self {
            patch,
            width,
            mlp_hidden: matrix("v.blk.0.ffn_up.weight")?.1,
            output: match matrix("mm.input_projection.weight") {
                // Stored with one row for each value of the encoder.
                Ok((outputs, _)) => outputs,
                Err(_) => matrix("mm.2.weight")?.1,
            },
            layers: highest.map_or(0, |highest| highest.saturating_add(1)),
            positions: matrix("v.position_embd.weight").ok().map(|(_, rows)| rows),
        })
    }
}

/// Mean and standard deviation: the file's, else the family's.
fn normalization(
    metadata: &Metadata,
    prefix: &str,
    generation: Generation,
) -> Result<[Vec<f32>; 2], Error> {
    let read = |name: &str| metadata.f32_array(&format!("{prefix}.{name}"));
    if let (Some(mean), Some(std)) = (read("image_mean")?, read("image_std")?) {
        return Ok([mean, std]);
    }
    Ok(match generation {
        Generation::Qwen3 | Generation::Gemma3 => [vec![0.5; 3], vec![0.5; 3]],
        Generation::Qwen2 | Generation::Qwen25 => [
            vec![0.481_454_66, 0.457_827_5, 0.408_210_73],
            vec![0.268_629_54, 0.261_302_6, 0.275_777_1],
        ],
    })
}

/// Patches on each side of a cell of Gemma 3, where it is not the usual 4; merged files state tokens.
fn pool(metadata: &Metadata, side: u64) -> Result<Option<u64>, Error> {
    let stated = metadata.u64("clip.vision.projector.scale_factor")?;
    let mut tokens = metadata.u64("gemma3.mm.tokens_per_image")?;
    if tokens.is_none() {
        tokens = metadata.u64("gemma3.mm_tokens_per_image")?;
    }
    let by_tokens = tokens.map(|tokens| side / tokens.isqrt().max(1));
    Ok(stated.or(by_tokens).filter(|pool| *pool != 4))
}

/// Which layers see the whole picture.
fn full_layers(metadata: &Metadata, prefix: &str, layers: u64) -> Result<FullLayers, Error> {
    if let Some(indexes) = metadata.u32_array(&format!("{prefix}.fullatt_block_indexes"))? {
        return Ok(FullLayers::of(&indexes, layers as u32));
    }
    let pattern = metadata.u32(&format!("{prefix}.n_wa_pattern"))?;
    Ok(FullLayers::Every(pattern.unwrap_or(8)))
}
