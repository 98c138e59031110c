//! What the processor of videos does. No key of a file says it, so it must be what videos are run with.
//!
//! How many tokens all frames may have together (`max_video_tokens`) and whether frames are left out
//! (`do_sample_frames`) are options of a run, not settings of a model.

use std::path::Path;

use serde_json::Value;

use super::super::settings::{Settings, read_json};
use super::processor::{check_steps, equal, pixels, usual_pixels, with_processor};
use super::{Family, VisionConfig};
use crate::Error;

/// The file with settings of videos beside one with those of pictures.
const OWN_FILE: &str = "video_preprocessor_config.json";
/// The file with settings of both, which counts where there are two.
const SHARED_FILE: &str = "processor_config.json";

const FRAMES_A_SECOND: f32 = 2.0;
const LEAST_FRAMES: u32 = 4;
const MOST_FRAMES: u32 = 768;
const BICUBIC: u32 = 3;

/// Least and most tokens of a frame, or pair of frames, of Qwen2-VL and Qwen2.5-VL.
const FRAME_TOKENS: [u64; 2] = [128, 768];
/// Least and most pixels, in areas of a token, of all frames of Qwen3-VL together: those of released models.
const VOLUME_AREAS: [u64; 2] = [4, 2 * 12_288];

/// Refuses settings under which videos come out otherwise than Ocelli makes them.
pub(super) fn check(folder: &Path, family: Family, vision: &VisionConfig) -> Result<(), Error> {
    if !family.has_videos() {
        return Ok(());
    }
    let shared = read_json::<Value>(folder, SHARED_FILE)?;
    let shared = shared.as_ref().and_then(|value| {
        let file = SHARED_FILE;
        Settings { file, value }.inside("video_processor")
    });
    if let Some(settings) = shared {
        return check_settings(folder, family, vision, settings);
    }
    match read_json::<Value>(folder, OWN_FILE)? {
        Some(value) => {
            let (file, value) = (OWN_FILE, &value);
            check_settings(folder, family, vision, Settings { file, value })
        }
        None => Ok(()),
    }
}

fn check_settings(
    folder: &Path,
    family: Family,
    vision: &VisionConfig,
    settings: Settings<'_>,
) -> Result<(), Error> {
    check_steps(settings)?;
    for (key, need) in [
        ("resample", BICUBIC),
        ("patch_size", vision.patch as u32),
        ("merge_size", 2),
        ("temporal_patch_size", 2),
        ("min_frames", LEAST_FRAMES),
        ("max_frames", MOST_FRAMES),
    ] {
        equal(settings, key, need)?;
    }
    if let Some(found) = settings.f32("fps")?
        && found != FRAMES_A_SECOND
    {
        return Err(settings.error("fps", found, FRAMES_A_SECOND));
    }
    if let Some(found) = settings.u32("num_frames")? {
        let need = format!("null: {FRAMES_A_SECOND} frames a second");
        return Err(settings.error("num_frames", found, need));
    }
    for (key, pictures) in [("image_mean", &vision.mean), ("image_std", &vision.std)] {
        if let Some(found) = settings.f32s(key)?
            && found != *pictures
        {
            let need = format!("{pictures:?}, as for pictures");
            return Err(settings.error(key, format!("{found:?}"), need));
        }
    }
    check_sizes(folder, family, vision, settings)
}

/// The sizes must be those that videos are run at. The reference takes those of pictures where a
/// checkpoint has none for videos, as released models before Qwen3-VL, and saves them so: then they
/// say nothing about videos, also where those of pictures were changed since.
fn check_sizes(
    folder: &Path,
    family: Family,
    vision: &VisionConfig,
    settings: Settings<'_>,
) -> Result<(), Error> {
    let area = (2 * vision.patch as u64).pow(2);
    let areas = match family.is_qwen3_vl() {
        true => VOLUME_AREAS,
        false => FRAME_TOKENS,
    };
    let usual = areas.map(|areas| areas * area);
    let found = pixels(settings, usual)?;
    if found == usual {
        return Ok(());
    }
    let of_released = usual_pixels(family, vision.patch);
    let of_pictures = with_processor(folder, |processor| pixels(processor, of_released))?;
    if found == of_released || of_pictures == Some(found) {
        return Ok(());
    }
    let span = |[least, most]: [u64; 2]| format!("{least} to {most} pixels");
    let need = match of_pictures {
        Some(pictures) => format!("{}, or those of pictures: {}", span(usual), span(pictures)),
        None => span(usual),
    };
    Err(settings.error("size", span(found), need))
}
