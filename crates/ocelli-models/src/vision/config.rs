//! What the Qwen vision encoders are described by: mostly the shapes of their tensors, since several
//! converters wrote wrong sizes into metadata.

use ocelli_image::{Budget, Filter, Normalization};
use ocelli_tensor::{Activation, Heads};

use crate::config::Keys;
use crate::{Error, Scope, VisionShape};

/// Patches that become one token on each axis.
const MERGE: usize = 2;
/// Most tokens of a picture unless the file says otherwise: HF's `longest_edge` of 16384 tokens.
const MOST_TOKENS: u64 = 16_384;

/// Largest mean of colours, which are from 0 to 1.
const MOST_MEAN: f32 = 1000.0;

/// Everything in a layer that has a bias in all generations.
pub(super) const BIASED: [&str; 6] = [
    "attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down",
];

#[derive(Clone, Debug)]
pub(super) struct VisionConfig {
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) heads: Heads,
    pub(super) mlp_hidden: usize,
    pub(super) output: usize,
    pub(super) patch: usize,
    pub(super) norm_eps: f32,
    pub(super) normalization: Normalization,
    pub(super) budget: Budget,
}

/// What a family's files leave out.
pub(super) struct Family {
    /// Fewest tokens of a picture.
    pub(super) least_tokens: u64,
    /// Colours of merged files; projectors state theirs.
    pub(super) normalization: Normalization,
}

/// Heads of every released Qwen tower; merged files may leave the number out.
const USUAL_HEADS: usize = 16;

/// What keeps the norms of every Qwen tower from dividing by zero.
const USUAL_EPS: f32 = 1e-6;

impl VisionConfig {
    pub(super) fn read(keys: &Keys<'_>, root: &Scope<'_>, family: &Family) -> Result<Self, Error> {
        let (patch, width) = kernel_shape(keys, root)?;
        check_patch(keys, patch)?;
        let [merged, _] = shape(keys, root, "mm.0.weight")?;
        check_merge(keys, merged, width)?;
        let is_merged = root.loader().names().is_merged_vision();
        let query = match keys.u32("attention.head_count")? {
            None if is_merged => USUAL_HEADS,
            _ => keys.count("attention.head_count", 1024)?,
        };
        if !width.is_multiple_of(4 * query) {
            return Err(keys.invalid(format!(
                "vision head_count {query} does not divide width {width} into heads of a multiple of 4"
            )));
        }
        let config = Self {
            width,
            layers: root.loader().names().layers("v.blk"),
            heads: Heads {
                query,
                key_value: query,
                dim: width / query,
            },
            // Several converters wrote a wrong width into the metadata.
            mlp_hidden: shape::<2>(keys, root, "v.blk.0.ffn_up.weight")?[1],
            output: shape::<2>(keys, root, "mm.2.weight")?[1],
            patch,
            norm_eps: keys.eps(
                "attention.layer_norm_epsilon",
                "layer_norm_epsilon",
                Some(USUAL_EPS),
            )?,
            normalization: match keys.metadata().get(&keys.key("image_mean")) {
                None if is_merged => family.normalization,
                _ => read_normalization(keys)?,
            },
            budget: read_budget(keys, (patch * MERGE) as u32, family.least_tokens)?,
        };
        check_layers(keys, root, &config)?;
        Ok(config)
    }

    /// Width of a merged block: four patches side by side.
    pub(super) fn block(&self) -> usize {
        MERGE * MERGE * self.width
    }

    pub(super) fn shape(&self, deepstack: usize, weight_bytes: usize) -> VisionShape {
        VisionShape {
            output_width: self.output,
            deepstack,
            layers: self.layers,
            weight_bytes,
            patch_size: self.patch as u32,
            merge: MERGE as u32,
            moments: 2,
            budget: self.budget,
            filter: Filter::Bicubic,
            normalization: self.normalization,
        }
    }
}

pub(super) fn shape<const N: usize>(
    keys: &Keys<'_>,
    root: &Scope<'_>,
    name: &str,
) -> Result<[usize; N], Error> {
    let Some(found) = root.shape(name) else {
        return Err(keys.invalid(format!("missing tensor '{name}'")));
    };
    let sizes: Result<[u64; N], _> = found.try_into();
    let wrong = |_| {
        keys.invalid(format!(
            "tensor '{name}' has shape {found:?}, need {N} dimensions"
        ))
    };
    Ok(sizes.map_err(wrong)?.map(|n| n as usize))
}

/// Side of a patch and width of the encoder.
fn kernel_shape(keys: &Keys<'_>, root: &Scope<'_>) -> Result<(usize, usize), Error> {
    if root.has("v.patch_embd.packed") {
        let [patch, _, _, channels] = shape(keys, root, "v.patch_embd.packed")?;
        return Ok((patch, channels / 3));
    }
    let [patch, _, _, width] = shape(keys, root, "v.patch_embd.weight")?;
    Ok((patch, width))
}

fn check_patch(keys: &Keys<'_>, patch: usize) -> Result<(), Error> {
    let stated = keys.u32("patch_size")?.unwrap_or(patch as u32) as usize;
    if stated != patch || !(2..=256).contains(&patch) {
        return Err(keys.invalid(format!(
            "patch_size {stated} but v.patch_embd.weight is made for {patch}; need 2..=256 and equal"
        )));
    }
    if let Some(size) = keys.u32("image_size")?
        && (size == 0 || !(size as usize).is_multiple_of(patch))
    {
        return Err(keys.invalid(format!(
            "image_size {size} is no multiple of patch_size {patch}"
        )));
    }
    Ok(())
}

fn check_merge(keys: &Keys<'_>, merged: usize, width: usize) -> Result<(), Error> {
    let merge = keys.u32("spatial_merge_size")?.unwrap_or(MERGE as u32) as usize;
    if merge != MERGE || merged != MERGE * MERGE * width {
        return Err(keys.invalid(format!(
            "merge {merge} inconsistent with mm.0.weight (expects {MERGE}x{MERGE} patches of {width} in, has {merged})"
        )));
    }
    Ok(())
}

fn check_layers(keys: &Keys<'_>, root: &Scope<'_>, config: &VisionConfig) -> Result<(), Error> {
    let stated = match keys.u32("block_count")? {
        Some(_) => keys.count("block_count", 1024)?,
        None => config.layers,
    };
    if !(1..=1024).contains(&config.layers) {
        return Err(keys.invalid(format!(
            "the tensors have {} vision layers, need 1..=1024",
            config.layers
        )));
    }
    if stated != config.layers {
        return Err(keys.invalid(format!(
            "block_count {stated} but the tensors have {} layers",
            config.layers
        )));
    }
    let taps = root.loader().names().layers("v.deepstack");
    if taps > config.layers {
        return Err(keys.invalid(format!(
            "deepstack on layer {} but there are {} layers",
            taps - 1,
            config.layers
        )));
    }
    Ok(())
}

pub(super) fn read_normalization(keys: &Keys<'_>) -> Result<Normalization, Error> {
    let read = |name: &str| -> Result<[f32; 3], Error> {
        let values = keys
            .metadata()
            .f32_array(&keys.key(name))?
            .ok_or_else(|| keys.invalid(format!("{name} is missing")))?;
        let &[r, g, b] = &values[..] else {
            return Err(keys.invalid(format!("{name} has {} values, need 3", values.len())));
        };
        Ok([r, g, b])
    };
    let (mean, std) = (read("image_mean")?, read("image_std")?);
    for (i, value) in mean.iter().enumerate() {
        if !(-MOST_MEAN..=MOST_MEAN).contains(value) {
            return Err(keys.invalid(format!(
                "image_mean[{i}] is {value}, need a number from -{MOST_MEAN} to {MOST_MEAN}"
            )));
        }
    }
    for (i, value) in std.iter().enumerate() {
        keys.sensible(&format!("image_std[{i}]"), *value)?;
    }
    Ok(Normalization { mean, std })
}

fn read_budget(keys: &Keys<'_>, factor: u32, least_tokens: u64) -> Result<Budget, Error> {
    let area = u64::from(factor) * u64::from(factor);
    // The edges of HF's settings, which merged files copy, are areas in truth.
    let first = |names: [&str; 3]| -> Result<Option<u64>, Error> {
        for name in names {
            if let Some(found) = keys.u32(name)? {
                return Ok(Some(found.into()));
            }
        }
        Ok(None)
    };
    let least = first(["image_min_pixels", "min_pixels", "shortest_edge"])?;
    let most = first(["image_max_pixels", "max_pixels", "longest_edge"])?;
    let least = least.unwrap_or(least_tokens * area);
    let most = most.unwrap_or(MOST_TOKENS * area);
    Budget::new(factor, least, most).map_err(|error| keys.invalid(format!("size rule: {error}")))
}

/// The function of the MLPs: what the file says, else the family's own.
pub(super) fn activation(keys: &Keys<'_>, usual: Activation) -> Result<Activation, Error> {
    let flag = |name: &str| keys.metadata().bool(&format!("clip.{name}"));
    let (gelu, silu) = (flag("use_gelu")?, flag("use_silu")?);
    match (gelu.unwrap_or(false), silu.unwrap_or(false)) {
        (true, true) => Err(keys.invalid("clip.use_gelu and clip.use_silu are both true")),
        (true, false) => Ok(Activation::GeluTanh),
        (false, true) => Ok(Activation::Silu),
        (false, false) => Ok(usual),
    }
}

/// [`activation`] of encoders whose checkpoints mean the exact GELU: converters write it as `use_gelu`.
pub(super) fn exact_activation(keys: &Keys<'_>, usual: Activation) -> Result<Activation, Error> {
    Ok(match activation(keys, usual)? {
        Activation::GeluTanh => Activation::GeluErf,
        other => other,
    })
}
