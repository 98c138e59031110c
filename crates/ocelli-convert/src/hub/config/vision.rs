//! Settings of the vision encoder, and how pictures are prepared for it.

use std::path::Path;

use super::super::settings::Settings;
use super::super::still;
use super::processor::{PROCESSOR_FILES, longest_side, pixel_bounds, with_processor};
use super::{Family, TextConfig, VisionConfig, Windows};
use crate::Error;

/// Base of the encoders' rotary frequencies, a constant of all readers.
const ROPE_BASE: f32 = 10_000.0;

pub(super) fn read_vision(
    folder: &Path,
    root: Settings<'_>,
    text: &TextConfig,
) -> Result<VisionConfig, Error> {
    let family = text.family;
    let Some(vision) = root.inside("vision_config") else {
        return Err(root.error("vision_config", "nothing", "the vision encoder's settings"));
    };
    if family.is_still() {
        let colours = normalization(folder)?;
        let longest = longest_side(folder, family)?;
        return still::read(root, vision, text, colours, longest);
    }
    for (key, need) in [
        ("spatial_merge_size", 2),
        ("temporal_patch_size", 2),
        ("in_channels", 3),
    ] {
        if let Some(found) = vision.u32(key)?
            && found != need
        {
            return Err(vision.error(key, found, need));
        }
    }
    check_fixed(vision, family)?;
    // Qwen2-VL alone calls the encoder's own width so, and its output `hidden_size`.
    let width = vision.count(match family {
        Family::Qwen2Vl => "embed_dim",
        _ => "hidden_size",
    })?;
    let mlp_hidden = match family {
        Family::Qwen2Vl => {
            let ratio = vision.f32("mlp_ratio")?.unwrap_or(4.0);
            (width as f32 * ratio) as usize
        }
        _ => vision.count("intermediate_size")?,
    };
    let layers = vision.count("depth")?;
    let (mean, std) = normalization(folder)?;
    Ok(VisionConfig {
        layers,
        width,
        heads: vision.count("num_heads")?,
        mlp_hidden,
        patch: vision.count("patch_size")?,
        positions: match family.is_qwen3_vl() {
            true => Some(vision.count("num_position_embeddings")?),
            false => None,
        },
        taps: match family.is_qwen3_vl() {
            true => read_taps(vision, layers)?,
            false => Vec::new(),
        },
        windows: match family {
            Family::Qwen25Vl => Some(Windows::read(vision, layers)?),
            _ => None,
        },
        pixels: pixel_bounds(folder, family, vision.count("patch_size")?)?,
        pool: None,
        norm_eps: None,
        mean,
        std,
        still: None,
        tiles: Vec::new(),
    })
}

/// Settings that the encoders of a family have one value of.
fn check_fixed(vision: Settings<'_>, family: Family) -> Result<(), Error> {
    let function = match family {
        Family::Qwen2Vl => "quick_gelu",
        Family::Qwen25Vl => "silu",
        _ => "gelu_pytorch_tanh",
    };
    if let Some(found) = vision.str("hidden_act")?
        && found != function
    {
        return Err(vision.error("hidden_act", found, function));
    }
    if let Some(rope) = vision.inside("rope_parameters")
        && let Some(base) = rope.f32("rope_theta")?
        && base != ROPE_BASE
    {
        return Err(vision.error("rope_theta", base, ROPE_BASE));
    }
    Ok(())
}

/// The layers whose rows go into the text model's layers.
fn read_taps(vision: Settings<'_>, layers: usize) -> Result<Vec<usize>, Error> {
    let key = "deepstack_visual_indexes";
    let taps = vision.u32s(key)?.unwrap_or_default();
    if let Some(tap) = taps.iter().find(|tap| **tap as usize >= layers) {
        return Err(vision.error(key, tap, format!("layers below {layers}")));
    }
    Ok(taps.into_iter().map(|tap| tap as usize).collect())
}

/// Mean and standard deviation of pixels from the processor's settings.
pub(in crate::hub) fn normalization(folder: &Path) -> Result<(Vec<f32>, Vec<f32>), Error> {
    let found = with_processor(folder, |processor| {
        let three = |key: &str| match processor.f32s(key)? {
            Some(values) if values.len() == 3 => Ok(values),
            found => Err(processor.error(key, format!("{found:?}"), "three numbers")),
        };
        Ok((three("image_mean")?, three("image_std")?))
    })?;
    let [first, second] = PROCESSOR_FILES;
    found.ok_or_else(|| Error::MissingFile {
        folder: folder.to_path_buf(),
        what: format!("image_mean in {first} or {second}"),
    })
}
