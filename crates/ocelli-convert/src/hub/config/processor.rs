//! What the processor of pictures does: sizes that a file states, and settings that none can.

use std::path::Path;

use serde_json::Value;

use super::super::settings::{Settings, read_json};
use super::super::still;
use super::{Family, TextConfig, VisionConfig};
use crate::Error;

/// Files with the settings of the processor of pictures. The reference reads the first that has them.
pub(super) const PROCESSOR_FILES: [&str; 2] = ["processor_config.json", "preprocessor_config.json"];
/// The file whose outermost settings say how many tokens stand for a picture.
const TOKENS_FILE: &str = PROCESSOR_FILES[0];
/// Most tokens of a picture that readers take where a file states no size.
const USUAL_MOST: u64 = 16_384;
/// Pillow's numbers of filters.
const BILINEAR: u32 = 2;
const BICUBIC: u32 = 3;
/// What the reference's processor of Pixtral takes where files leave it out.
const PIXTRAL_SIDE: usize = 1024;
const PIXTRAL_PATCH: u32 = 16;

/// Least and most pixels of a picture, where they are not those that readers take for Qwen's families.
pub(super) fn pixel_bounds(
    folder: &Path,
    family: Family,
    patch: usize,
) -> Result<Option<[u32; 2]>, Error> {
    let usual = usual_pixels(family, patch);
    with_processor(folder, |processor| {
        let bounds = pixels(processor, usual)?;
        let fits = |bound: u64| u32::try_from(bound).ok();
        Ok(match bounds.map(fits) {
            [Some(least), Some(most)] if bounds != usual => Some([least, most]),
            _ => None,
        })
    })
    .map(Option::flatten)
}

/// Least and most pixels of a picture of Qwen's families, as released models have them.
pub(super) fn usual_pixels(family: Family, patch: usize) -> [u64; 2] {
    let least = if family.is_qwen3_vl() { 64 } else { 4 };
    let area = (2 * patch as u64).pow(2);
    [least * area, USUAL_MOST * area]
}

/// Least and most pixels that a processor states, and the usual ones where it states none.
pub(super) fn pixels(settings: Settings<'_>, usual: [u64; 2]) -> Result<[u64; 2], Error> {
    let size = settings.inside("size");
    let bound = |own: &str, name: &str, usual: u64| -> Result<u64, Error> {
        let stated = match (settings.u32(own)?, size) {
            (None, Some(size)) => size.u32(name)?,
            (own, _) => own,
        };
        Ok(stated.map_or(usual, u64::from))
    };
    Ok([
        bound("min_pixels", "shortest_edge", usual[0])?,
        bound("max_pixels", "longest_edge", usual[1])?,
    ])
}

/// Refuses settings under which pictures come out otherwise than Ocelli makes them.
pub(super) fn check(folder: &Path, text: &TextConfig, vision: &VisionConfig) -> Result<(), Error> {
    with_processor(folder, |processor| {
        check_steps(processor)?;
        let filter = match text.family.is_gemma3() {
            true => BILINEAR,
            false => BICUBIC,
        };
        equal(processor, "resample", filter)?;
        match text.family {
            Family::Llava => check_square(processor, vision),
            Family::LlavaNext => check_tiles(processor, vision),
            family if family.is_gemma3() => check_whole(processor, vision),
            family if family.is_still() => match processor.bool("do_center_crop")? {
                Some(true) => Err(processor.error("do_center_crop", true, false)),
                _ => Ok(()),
            },
            _ => {
                equal(processor, "patch_size", vision.patch as u32)?;
                equal(processor, "merge_size", 2)?;
                equal(processor, "temporal_patch_size", 2)
            }
        }
    })?;
    match read_json::<Value>(folder, TOKENS_FILE)? {
        Some(value) => {
            let (file, value) = (TOKENS_FILE, &value);
            check_tokens(Settings { file, value }, text.family, vision)
        }
        None => Ok(()),
    }
}

/// What every family does to pixels.
pub(super) fn check_steps(processor: Settings<'_>) -> Result<(), Error> {
    for key in ["do_resize", "do_rescale", "do_normalize"] {
        if processor.bool(key)? == Some(false) {
            return Err(processor.error(key, false, true));
        }
    }
    match processor.f32("rescale_factor")? {
        Some(factor) if (factor * 255.0 - 1.0).abs() > 1e-4 => {
            Err(processor.error("rescale_factor", factor, "1/255"))
        }
        _ => Ok(()),
    }
}

/// Gemma's pictures are brought to the one size that its encoder has positions for. (Its settings
/// of pan and scan are not read by the reference either: only what a call asks for counts.)
fn check_whole(processor: Settings<'_>, vision: &VisionConfig) -> Result<(), Error> {
    let side = vision.positions.unwrap_or_default().isqrt() * vision.patch;
    let Some(size) = processor.inside("size") else {
        return equal(processor, "size", side as u32);
    };
    for key in ["height", "width"] {
        if size.u32(key)? != Some(side as u32) {
            let need = format!("height and width {side}, the encoder's image_size");
            return Err(processor.error("size", size.value, need));
        }
    }
    Ok(())
}

/// The longest side of Pixtral's pictures in pixels; CLIP's are squares.
pub(super) fn longest_side(folder: &Path, family: Family) -> Result<Option<usize>, Error> {
    if family.has_clip() {
        return Ok(None);
    }
    with_processor(folder, |processor| {
        let Some(size) = processor.inside("size") else {
            return match processor.get("size") {
                Some(_) => processor.count("size"),
                None => Ok(PIXTRAL_SIDE),
            };
        };
        if size.get("longest_edge").is_some() {
            return size.count("longest_edge");
        }
        match (size.u32("height")?, size.u32("width")?) {
            (Some(height), Some(width)) if height == width => size.count("height"),
            _ => Err(processor.error(
                "size",
                size.value,
                "longest_edge, or height and width alike",
            )),
        }
    })
}

/// How many tokens the text has for a picture must be what the encoder gives. The reference fails
/// where it is not.
fn check_tokens(root: Settings<'_>, family: Family, vision: &VisionConfig) -> Result<(), Error> {
    match family {
        Family::Gemma3 => {
            let side = vision.positions.unwrap_or_default().isqrt();
            let cells = side / (vision.pool.unwrap_or(1) as usize).max(1);
            equal(root, "image_seq_length", (cells * cells) as u32)
        }
        family if family.has_clip() => {
            equal(root, "patch_size", vision.patch as u32)?;
            // Rows that are counted in must be those that are left out again.
            let left_out = match root.str("vision_feature_select_strategy")? {
                Some("full") => 0,
                _ => 1,
            };
            equal(root, "num_additional_image_tokens", left_out)
        }
        family if family.is_still() => check_cell(root, vision),
        _ => Ok(()),
    }
}

/// Pixels of a side of what becomes one token: only the product counts, and the patches that the
/// processor of pictures states for itself do not.
fn check_cell(root: Settings<'_>, vision: &VisionConfig) -> Result<(), Error> {
    let (patch, merge) = (root.u32("patch_size")?, root.u32("spatial_merge_size")?);
    if patch.or(merge).is_none() {
        return Ok(());
    }
    let found = u64::from(patch.unwrap_or(PIXTRAL_PATCH)) * u64::from(merge.unwrap_or(1));
    let need = vision.patch * vision.still.map_or(1, |still| still.merge);
    match found == need as u64 {
        true => Ok(()),
        false => Err(root.error(
            "patch_size x spatial_merge_size",
            found,
            format!("{need}, as in config.json"),
        )),
    }
}

/// The middle square of LLaVA-1.5 is as large as its encoder's pictures.
fn check_square(processor: Settings<'_>, vision: &VisionConfig) -> Result<(), Error> {
    let Some(still) = vision.still else {
        return Ok(());
    };
    if processor.bool("do_center_crop")? == Some(false) {
        return Err(processor.error("do_center_crop", false, true));
    }
    check_sides(processor, still.image_size as u32)
}

/// The tiles of LLaVA-1.6 are as large as its encoder's pictures, and the processor cuts the same
/// ones as the model puts together again.
fn check_tiles(processor: Settings<'_>, vision: &VisionConfig) -> Result<(), Error> {
    let key = "image_grid_pinpoints";
    let listed = match processor.get(key) {
        Some(value) => still::pairs(value),
        None => Some(still::RELEASED_TILES.to_vec()),
    };
    if listed.as_ref() != Some(&vision.tiles) {
        let found = processor.get(key).map_or_else(
            || format!("nothing, which means {:?}", still::RELEASED_TILES),
            ToString::to_string,
        );
        let need = format!("{:?}, as in config.json", vision.tiles);
        return Err(processor.error(key, found, need));
    }
    let side = vision.still.map_or(0, |still| still.image_size);
    check_sides(processor, side as u32)
}

fn check_sides(processor: Settings<'_>, side: u32) -> Result<(), Error> {
    for (name, keys) in [
        ("size", &["shortest_edge", "height", "width"][..]),
        ("crop_size", &["height", "width"]),
    ] {
        match processor.inside(name) {
            Some(inner) => keys.iter().try_for_each(|key| equal(inner, key, side))?,
            None => equal(processor, name, side)?,
        }
    }
    Ok(())
}

/// Refuses another value than the one that is used; a file may leave it out.
pub(super) fn equal(settings: Settings<'_>, key: &str, need: u32) -> Result<(), Error> {
    match settings.u32(key)? {
        Some(found) if found != need => Err(settings.error(key, found, need)),
        _ => Ok(()),
    }
}

/// Reads from the settings of the processor of pictures, which say how pixels are normalised.
pub(super) fn with_processor<T>(
    folder: &Path,
    read: impl Fn(Settings<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    for file in PROCESSOR_FILES {
        let Some(value) = read_json::<Value>(folder, file)? else {
            continue;
        };
        let root = Settings {
            file,
            value: &value,
        };
        let processor = root.inside("image_processor").unwrap_or(root);
        if processor.get("image_mean").is_some() {
            return read(processor).map(Some);
        }
    }
    Ok(None)
}
