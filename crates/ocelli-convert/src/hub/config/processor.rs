//! What the processor of pictures does: sizes that a file states, and settings that none can.

use std::path::Path;

use serde_json::Value;

use super::super::settings::{Settings, read_json};
use super::{Family, TextConfig, VisionConfig};
use crate::Error;

/// Files with the settings of the processor of pictures.
pub(super) const PROCESSOR_FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
/// Most tokens of a picture that readers take where a file states no size.
const USUAL_MOST: u64 = 16_384;
/// Pillow's numbers of filters.
const BILINEAR: u32 = 2;
const BICUBIC: u32 = 3;

/// Least and most pixels of a picture, where they are not those that readers take for Qwen's families.
pub(super) fn pixel_bounds(
    folder: &Path,
    family: Family,
    patch: usize,
) -> Result<Option<[u32; 2]>, Error> {
    let usual_least = if family.is_qwen3_vl() { 64 } else { 4 };
    let area = (2 * patch as u64).pow(2);
    let usual = [usual_least * area, USUAL_MOST * area];
    with_processor(folder, |processor| {
        let size = processor.inside("size");
        let bound = |own: &str, name: &str, usual: u64| -> Result<u64, Error> {
            let stated = match (processor.u32(own)?, size) {
                (None, Some(size)) => size.u32(name)?,
                (own, _) => own,
            };
            Ok(stated.map_or(usual, u64::from))
        };
        let bounds = [
            bound("min_pixels", "shortest_edge", usual[0])?,
            bound("max_pixels", "longest_edge", usual[1])?,
        ];
        let fits = |bound: u64| u32::try_from(bound).ok();
        Ok(match bounds.map(fits) {
            [Some(least), Some(most)] if bounds != usual => Some([least, most]),
            _ => None,
        })
    })
    .map(Option::flatten)
}

/// Refuses settings under which pictures come out otherwise than Ocelli makes them.
pub(super) fn check(folder: &Path, text: &TextConfig, vision: &VisionConfig) -> Result<(), Error> {
    with_processor(folder, |processor| {
        for key in ["do_resize", "do_rescale", "do_normalize"] {
            if processor.bool(key)? == Some(false) {
                return Err(processor.error(key, false, true));
            }
        }
        if let Some(factor) = processor.f32("rescale_factor")?
            && (factor * 255.0 - 1.0).abs() > 1e-4
        {
            return Err(processor.error("rescale_factor", factor, "1/255"));
        }
        let filter = match text.family.is_gemma3() {
            true => BILINEAR,
            false => BICUBIC,
        };
        equal(processor, "resample", filter)?;
        match text.family {
            Family::Llava => check_square(processor, vision),
            family if family.is_gemma3() || family.is_still() => Ok(()),
            _ => {
                equal(processor, "patch_size", vision.patch as u32)?;
                equal(processor, "merge_size", 2)?;
                equal(processor, "temporal_patch_size", 2)
            }
        }
    })
    .map(|_| ())
}

/// The middle square of LLaVA-1.5 is as large as its encoder's pictures.
fn check_square(processor: Settings<'_>, vision: &VisionConfig) -> Result<(), Error> {
    let Some(still) = vision.still else {
        return Ok(());
    };
    if processor.bool("do_center_crop")? == Some(false) {
        return Err(processor.error("do_center_crop", false, true));
    }
    let side = still.image_size as u32;
    for (name, keys) in [
        ("size", &["shortest_edge"][..]),
        ("crop_size", &["height", "width"]),
    ] {
        match processor.inside(name) {
            Some(inner) => keys.iter().try_for_each(|key| equal(inner, key, side))?,
            None => equal(processor, name, side)?,
        }
    }
    Ok(())
}

fn equal(settings: Settings<'_>, key: &str, need: u32) -> Result<(), Error> {
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
    find(folder, |settings| match settings.get("image_mean") {
        Some(_) => read(settings).map(Some),
        None => Ok(None),
    })
}

/// What the first file with settings of a processor has of something.
pub(super) fn find<T>(
    folder: &Path,
    read: impl Fn(Settings<'_>) -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    for file in PROCESSOR_FILES {
        let Some(value) = read_json::<Value>(folder, file)? else {
            continue;
        };
        let root = Settings {
            file,
            value: &value,
        };
        let found = read(root.inside("image_processor").unwrap_or(root))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
