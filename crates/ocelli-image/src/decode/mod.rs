//! Files to pictures: what format it is, whether it may be decoded, and the way to one RGB picture.
//!
//! Each format's module gives the size from the header first ([`check_size`] runs on it before a pixel is
//! decoded), then the first picture of the file, or all frames of an [`Animation`].

mod animation;
mod bmp;
mod canvas;
mod gif;
mod jpeg;
mod lzw;
mod png;
mod png_frames;
mod png_text;
mod sniff;
mod webp;

use std::path::Path;
use std::time::Instant;

use crate::{Error, Orientation, RgbImage, read_bytes};

pub use animation::{Animation, MAX_ANIMATION_FRAMES, MAX_ANIMATION_PIXELS};

/// What a file may ask for. Checked before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels of a decoded picture (default 268 million, the 2^28 of a 16384 x 16384 picture).
    pub pixels: u64,
    /// Most pixels of one side (default 16384).
    pub side: u32,
    /// Most bytes of the file (default 256 MiB; a server should say 20 MiB).
    pub encoded_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pixels: 1 << 28,
            side: 16_384,
            encoded_bytes: 256 << 20,
        }
    }
}

/// How to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// What a file may ask for.
    pub limits: Limits,
    /// The colour behind transparent pixels (default white, as the reference processors do it).
    pub background: [u8; 3],
    /// When decoding gives up with [`Error::TooSlow`] (default never).
    pub deadline: Option<Instant>,
}

impl DecodeOptions {
    /// Decoders call this every few thousand pixels.
    fn check_time(&self) -> Result<(), Error> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::TooSlow),
            _ => Ok(()),
        }
    }
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            background: [255; 3],
            deadline: None,
        }
    }
}

/// A file format that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
    /// WebP, lossy or lossless; of an animation the first frame.
    WebP,
    /// GIF; of an animation the first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
}

impl Format {
    /// The format that these first bytes announce.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        sniff::format(bytes)
    }

    /// The media type, as in `image/png`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
        })
    }
}

/// A decoded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The picture as it is meant to be seen: upright, transparency flattened.
    pub image: RgbImage,
    /// Width in the file, before the orientation was applied.
    pub stored_width: u32,
    /// Height in the file, before the orientation was applied.
    pub stored_height: u32,
    /// What was applied to the stored rows.
    pub orientation: Orientation,
    /// The file's format.
    pub format: Format,
}

/// What a format's decoder hands over: the picture as stored.
struct Stored {
    image: RgbImage,
    orientation: Option<Orientation>,
}

/// What a format's header states: the picture as stored.
struct Stated {
    width: u32,
    height: u32,
    orientation: Option<Orientation>,
    /// Bytes that decoding takes at its height, the file apart.
    working_bytes: u64,
}

/// `bytes_per_pixel` for every pixel of a picture.
fn working_bytes((width, height): (u32, u32), bytes_per_pixel: u64) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(bytes_per_pixel)
}

/// What a file's header says of its (first) picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Width as displayed, after the orientation was applied.
    pub width: u32,
    /// Height as displayed, after the orientation was applied.
    pub height: u32,
    /// What will be applied to the stored rows.
    pub orientation: Orientation,
    /// The file's format.
    pub format: Format,
    /// Bytes of memory that decoding takes at its height, the file apart: the picture, and what its format
    /// needs beside it.
    pub working_bytes: u64,
}

/// Reads a file's size and orientation without decoding a pixel. Damage further in shows only in [`read`].
///
/// # Errors
/// As [`read`], for what the header says.
pub fn read_header(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<ImageHeader, Error> {
    header(&read_allowed(path.as_ref(), options)?, options)
}

/// As [`read_header`], for the content of a file.
///
/// # Errors
/// As [`decode`], for what the header says.
pub fn header(bytes: &[u8], options: &DecodeOptions) -> Result<ImageHeader, Error> {
    let format = check_file(bytes, options)?;
    let stated = match format {
        Format::Png => png::stated(bytes, options),
        Format::Jpeg => jpeg::stated(bytes, options),
        Format::WebP => webp::stated(bytes, options),
        Format::Gif => gif::stated(bytes, options),
        Format::Bmp => bmp::stated(bytes, options),
    }?;
    let orientation = stated.orientation.unwrap_or_default();
    let (width, height) = match orientation.swaps_sides() {
        true => (stated.height, stated.width),
        false => (stated.width, stated.height),
    };
    Ok(ImageHeader {
        width,
        height,
        orientation,
        format,
        // Turning a picture makes a second one.
        working_bytes: match orientation {
            Orientation::Upright => stated.working_bytes,
            _ => stated.working_bytes.max(working_bytes((width, height), 6)),
        },
    })
}

/// Decodes the (first) picture of a file.
///
/// Samples of 16 bits keep their upper 8. Colour profiles and gamma are not applied, as in the
/// reference processors.
///
/// # Errors
/// Everything that [`Error`] names except what concerns paths and budgets. A truncated file is
/// always an error.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let format = check_file(bytes, options)?;
    options.check_time()?;
    let stored = match format {
        Format::Png => png::decode(bytes, options),
        Format::Jpeg => jpeg::decode(bytes, options),
        Format::WebP => webp::decode(bytes, options),
        Format::Gif => gif::decode(bytes, options),
        Format::Bmp => bmp::decode(bytes, options),
    }?;
    let orientation = stored.orientation.unwrap_or_default();
    Ok(Picture {
        stored_width: stored.image.width,
        stored_height: stored.image.height,
        orientation,
        format,
        image: orientation.apply(stored.image),
    })
}

/// The format of a file that is not larger than allowed.
fn check_file(bytes: &[u8], options: &DecodeOptions) -> Result<Format, Error> {
    let limit = options.limits.encoded_bytes;
    if bytes.len() as u64 > limit {
        return Err(Error::FileTooLarge {
            bytes: bytes.len() as u64,
            limit,
        });
    }
    Format::of(bytes).ok_or_else(|| Error::NotAnImage {
        looks_like: sniff::looks_like(bytes),
    })
}

/// Reads and decodes a file.
///
/// # Errors
/// [`Error::Read`] if the path cannot be read, else as [`decode`]. No more than the allowed bytes are read.
pub fn read(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Picture, Error> {
    decode(&read_allowed(path.as_ref(), options)?, options)
}

/// No more than the allowed bytes of a file.
fn read_allowed(path: &Path, options: &DecodeOptions) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let limit = options.limits.encoded_bytes;
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > limit {
        return Err(Error::FileTooLarge { bytes: size, limit });
    }
    read_bytes(path, limit).map_err(failed)
}

/// Refuses a size that the limits do not allow. Decoders call this with the header's numbers.
fn check_size(width: u32, height: u32, limits: &Limits) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { width, height });
    }
    if u64::from(width) * u64::from(height) > limits.pixels {
        return Err(Error::TooManyPixels {
            width,
            height,
            limit: limits.pixels,
        });
    }
    if width.max(height) > limits.side {
        return Err(Error::SideTooLong {
            width,
            height,
            limit: limits.side,
        });
    }
    Ok(())
}

/// `colour` with opacity `alpha` over an opaque background: `alpha` and its rest weighed in
/// 255ths, rounded to nearest, in the reference's integer arithmetic.
fn flatten(colour: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    if alpha == 255 {
        return colour;
    }
    let (over, under) = (u32::from(alpha), 255 - u32::from(alpha));
    std::array::from_fn(|channel| {
        let sum = over * u32::from(colour[channel]) + under * u32::from(background[channel]);
        let scaled = (sum << 7) + (0x80 << 7);
        ((((scaled >> 8) + scaled) >> 8) >> 7) as u8
    })
}
