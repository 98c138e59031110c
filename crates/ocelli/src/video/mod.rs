//! Videos: what a request says of them, and the way from a file or a list of pictures to what the encoder
//! takes.
//!
//! GIF, WebP and APNG are read by this program; every other file goes through the user's own `ffmpeg` and
//! `ffprobe`. Frames are brought to their size as they come, so that a video never lies in memory whole.

mod animation;
mod child;
mod clips;
mod cutter;
mod ffmpeg;
mod opened;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use clips::{Clips, Extent, Films, MOST_VIDEOS, Viewer, arrange};

use crate::{Error, ErrorKind, ImageSource};

/// Most frames of a video that are looked at.
pub const MOST_FRAMES: usize = 768;

/// Frames in a second: above zero, and a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fps(f64);

// No NaN can be in it.
impl Eq for Fps {}

impl Fps {
    /// What the models were trained with.
    pub const USUAL: Self = Self(2.0);

    /// So many frames a second.
    ///
    /// # Errors
    /// [`Error::Settings`] for zero, negative numbers, what is not finite, and more than 1000.
    pub fn new(fps: f64) -> Result<Self, Error> {
        match fps > 0.0 && fps <= 1000.0 {
            true => Ok(Self(fps)),
            false => Err(Error::Settings(format!(
                "fps: found {fps}, need a number above 0 and at most 1000"
            ))),
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// Where a video's frames are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoSource {
    /// A file: GIF, WebP or APNG, or whatever `ffmpeg` reads.
    File(PathBuf),
    /// The content of such a file.
    Bytes(Vec<u8>),
    /// Pictures of equal size that follow each other, so many a second. All of them are looked at.
    Frames(Vec<ImageSource>, Fps),
}

/// A video of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Where its frames are.
    pub source: VideoSource,
    /// Frames of a file that are looked at in a second.
    pub sampled: Fps,
    /// Most frames of a file that are looked at.
    pub most_frames: usize,
}

impl Video {
    /// A video at two frames a second.
    pub fn new(source: VideoSource) -> Self {
        Self {
            source,
            sampled: Fps::USUAL,
            most_frames: MOST_FRAMES,
        }
    }

    /// A video file at two frames a second.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(VideoSource::File(path.into()))
    }

    /// Its name for messages: the file, or the first picture.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.source {
            VideoSource::File(path) => Some(path.display().to_string()),
            VideoSource::Bytes(_) => None,
            VideoSource::Frames(frames, _) => match frames.first() {
                Some(ImageSource::File(path)) => Some(format!("{}, ...", path.display())),
                _ => None,
            },
        }
    }
}

/// The programs that read video files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ffmpeg {
    /// Folder with `ffmpeg` and `ffprobe`; `None` to look where programs are.
    pub folder: Option<PathBuf>,
    /// How long they may be silent before they are ended.
    pub timeout: Duration,
}

impl Default for Ffmpeg {
    fn default() -> Self {
        Self {
            folder: None,
            timeout: Duration::from_secs(60),
        }
    }
}

/// What is wrong with a video; which one it is comes later.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) kind: ErrorKind,
}

impl Wrong {
    /// A video that opens but is bad.
    fn bad(what: impl std::fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            kind: ErrorKind::Image,
        }
    }

    /// The same without a path that whoever sent the video does not know.
    fn without(self, path: &Path) -> Self {
        let path = path.display().to_string();
        let what = self.what.replace(&format!("file:{path}"), "the video");
        Self {
            what: what.replace(&path, "the video"),
            ..self
        }
    }

    /// A file or program that is not there or cannot be read.
    fn path(what: impl std::fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            kind: ErrorKind::Path,
        }
    }
}

impl From<ocelli_image::Error> for Wrong {
    fn from(error: ocelli_image::Error) -> Self {
        match error {
            ocelli_image::Error::Read { .. } => Self::path(error),
            _ => Self::bad(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_above_zero() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1001.0] {
            let error = Fps::new(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(
                error.to_string().contains("need a number above 0"),
                "{error}"
            );
        }
        assert_eq!(Fps::new(0.1).unwrap().get(), 0.1);
    }
}
