//! Videos that were opened, wherever their frames are.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ocelli_image::{Animation, DecodeOptions, Format, RgbImage, decode, read};

use super::Wrong;
use super::animation::Ticks;
use super::ffmpeg::Film;
use crate::ImageSource;

/// A video that was opened: how many frames it has is known, and none is decoded.
pub(super) enum Opened<'a> {
    Frames(&'a [ImageSource]),
    Animation(Animation<'a>, Ticks),
    Film(Film<'a>),
}

impl Opened<'_> {
    /// Moments of which some are chosen, and how many of them there are in a second.
    pub(super) fn moments(&self) -> (u64, f64) {
        match self {
            Self::Frames(frames) => (frames.len() as u64, 0.0),
            Self::Animation(_, ticks) => (ticks.count(), ticks.per_second()),
            Self::Film(film) => (film.frames, film.fps),
        }
    }

    /// Frames, and how many of them there are in a second on average.
    pub(super) fn frames(&self) -> (u64, f64) {
        match self {
            Self::Animation(animation, ticks) => {
                let frames = animation.delays().len();
                (frames as u64, frames as f64 / ticks.seconds())
            }
            _ => self.moments(),
        }
    }

    /// Shows what is seen at some moments, which ascend.
    pub(super) fn each(
        &self,
        moments: &[u64],
        options: &DecodeOptions,
        see: &mut dyn FnMut(RgbImage) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        match self {
            Self::Frames(frames) => frames.iter().enumerate().try_for_each(|(index, source)| {
                let picture = match source {
                    ImageSource::File(path) => read(path, options),
                    ImageSource::Bytes(bytes) => decode(bytes, options),
                };
                let picture = picture.map_err(|error| {
                    let wrong = Wrong::from(error);
                    let what = format!("frame {}: {}", index + 1, wrong.what);
                    Wrong { what, ..wrong }
                })?;
                see(picture.image)
            }),
            Self::Animation(animation, ticks) => ticks.each(animation, moments, see),
            Self::Film(film) => film.each(moments, see),
        }
    }
}

/// The content of a file that this program reads itself; none for what ffmpeg reads.
pub(super) fn read_animation(path: &Path) -> Result<Option<Vec<u8>>, Wrong> {
    let failed = |error| Wrong::path(format_args!("cannot read: {error}"));
    // Asked before opening, which would wait for the writer of a pipe.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !(metadata.is_file() || metadata.is_dir()) {
        return Err(Wrong::path("this is no regular file; '-' reads a pipe"));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(Wrong::bad("the file is empty (0 bytes)"));
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let head = Read::by_ref(&mut file).take(64).read_to_end(&mut bytes);
    head.map_err(failed)?;
    if Format::of(&bytes).is_none() {
        return Ok(None);
    }
    let limit = DecodeOptions::default().limits.encoded_bytes;
    let rest = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    rest.map_err(failed)?;
    Ok(Some(bytes))
}

/// A video in memory, in a file for as long as ffmpeg needs one.
pub(super) struct Kept {
    pub(super) path: PathBuf,
}

impl Kept {
    pub(super) fn write(bytes: &[u8]) -> Result<Self, Wrong> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let failed =
            |error: std::io::Error| Wrong::path(format_args!("cannot keep it in a file: {error}"));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ocelli-video-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Never somebody else's file.
        let mut file = File::create_new(&path).map_err(failed)?;
        let kept = Self { path };
        file.write_all(bytes).map_err(failed)?;
        Ok(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Left over files are the system's to clean.
        let _ = std::fs::remove_file(&self.path);
    }
}
