//! What the Qwen vision encoders are described by: mostly the shapes of their tensors, since several
//! converters wrote wrong sizes into metadata.

use ocelli_image::{Budget, Grid, Normalization, Patches, RgbImage, patchify, resize};
use ocelli_tensor::Heads;

use crate::config::Keys;
use crate::{Error, Scope};

/// Patches that become one token on each axis.
const MERGE: usize = 2;
/// Most tokens of a picture unless the file says otherwise: HF's `longest_edge` of 16384 tokens.
const MOST_TOKENS: u64 = 16_384;

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

impl VisionConfig {
    /// `least_tokens` is the family's smallest picture.
    pub(super) fn read(
        keys: &Keys<'_>,
        root: &Scope<'_>,
        least_tokens: u64,
    ) -> Result<Self, Error> {
        let shape = |name: &str, dims: usize| -> Result<Vec<usize>, Error> {
            match root.shape(name) {
                Some(shape) if shape.len() == dims => {
                    Ok(shape.iter().map(|n| *n as usize).collect())
                }
                Some(shape) => Err(keys.invalid(format!(
                    "tensor '{name}' has shape {shape:?}, need {dims} dimensions"
                ))),
                None => Err(keys.invalid(format!("missing tensor '{name}'"))),
            }
        };
        let kernel = shape("v.patch_embd.weight", 4)?;
        let (patch, width) = (kernel[0], kernel[3]);
        check_patch(keys, patch)?;
        let merger = shape("mm.0.weight", 2)?;
        check_merge(keys, &merger, width)?;
        let query = keys.count("attention.head_count", 1024)?;
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
            mlp_hidden: shape("v.blk.0.ffn_up.weight", 2)?[1],
            output: shape("mm.2.weight", 2)?[1],
            patch,
            norm_eps: keys.eps("attention.layer_norm_epsilon", "layer_norm_epsilon")?,
            normalization: read_normalization(keys)?,
            budget: read_budget(keys, (patch * MERGE) as u32, least_tokens)?,
        };
        check_layers(keys, root, &config)?;
        Ok(config)
    }

    /// Width of a merged block: four patches side by side.
    pub(super) fn block(&self) -> usize {
        MERGE * MERGE * self.width
    }

    pub(super) fn grid(&self, width: u32, height: u32, budget: &Budget) -> Result<Grid, Error> {
        Ok(Grid::for_image(
            width,
            height,
            budget,
            self.patch as u32,
            MERGE as u32,
        )?)
    }

    pub(super) fn preprocess(
        &self,
        frames: &[RgbImage],
        budget: &Budget,
    ) -> Result<Patches, Error> {
        let Some(first) = frames.first() else {
            return Err(Error::NoFrames);
        };
        let grid = self.grid(first.width, first.height, budget)?;
        let patch = self.patch as u32;
        let resized: Vec<RgbImage> = frames
            .iter()
            .map(|frame| resize(frame, grid.w * patch, grid.h * patch))
            .collect();
        Ok(patchify(
            &resized,
            patch,
            2,
            MERGE as u32,
            &self.normalization,
        ))
    }
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

fn check_merge(keys: &Keys<'_>, merger: &[usize], width: usize) -> Result<(), Error> {
    let merge = keys.u32("spatial_merge_size")?.unwrap_or(MERGE as u32) as usize;
    if merge != MERGE || merger[0] != MERGE * MERGE * width {
        return Err(keys.invalid(format!(
            "merge {merge} inconsistent with mm.0.weight (expects {MERGE}x{MERGE} patches of {width} in, has {})",
            merger[0]
        )));
    }
    Ok(())
}

fn check_layers(keys: &Keys<'_>, root: &Scope<'_>, config: &VisionConfig) -> Result<(), Error> {
    let stated = keys.count("block_count", 1024)?;
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

fn read_normalization(keys: &Keys<'_>) -> Result<Normalization, Error> {
    let read = |name: &str| -> Result<[f32; 3], Error> {
        let values = keys
            .metadata()
            .f32_array(&keys.key(name))?
            .ok_or_else(|| keys.invalid(format!("{name} is missing")))?;
        let Some(&[r, g, b]) = values.first_chunk::<3>() else {
            return Err(keys.invalid(format!("{name} has {} values, need 3", values.len())));
        };
        Ok([r, g, b])
    };
    let (mean, std) = (read("image_mean")?, read("image_std")?);
    for (i, value) in mean.iter().enumerate() {
        if !value.is_finite() {
            return Err(keys.invalid(format!("image_mean[{i}] is {value}, need a finite number")));
        }
    }
    for (i, value) in std.iter().enumerate() {
        if !(value.is_finite() && *value > 0.0) {
            return Err(keys.invalid(format!(
                "image_std[{i}] is {value}, need a finite number above 0"
            )));
        }
    }
    Ok(Normalization { mean, std })
}

fn read_budget(keys: &Keys<'_>, factor: u32, least_tokens: u64) -> Result<Budget, Error> {
    let area = u64::from(factor) * u64::from(factor);
    let least = keys
        .u32("image_min_pixels")?
        .map_or(least_tokens * area, u64::from);
    let most = keys
        .u32("image_max_pixels")?
        .map_or(MOST_TOKENS * area, u64::from);
    Budget::new(factor, least, most).map_err(|error| keys.invalid(format!("size rule: {error}")))
}
