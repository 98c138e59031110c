//! Everything that can be wrong with a picture or with the sizes asked for.

use std::path::PathBuf;

use crate::Format;

/// Why a picture was refused. The texts name the facts and no paths but the user's own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened or read: the path is wrong, not the picture.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The first bytes belong to none of the supported formats.
    #[error(
        "not a supported image (PNG, JPEG, WebP, GIF, BMP){}",
        hint(looks_like)
    )]
    NotAnImage {
        /// What the bytes look like instead, if that can be told.
        looks_like: Option<&'static str>,
    },
    /// The file itself is larger than allowed.
    #[error("image file has {bytes} bytes, limit {limit}")]
    FileTooLarge {
        /// Size of the file, or the number of bytes after which reading stopped.
        bytes: u64,
        /// `Limits::encoded_bytes`.
        limit: u64,
    },
    /// The header announces more pixels than allowed; nothing was decoded.
    #[error("image is {width}x{height} ({} MP), limit {} MP", megapixels(u64::from(*width) * u64::from(*height)), megapixels(*limit))]
    TooManyPixels {
        /// Stored width.
        width: u32,
        /// Stored height.
        height: u32,
        /// `Limits::pixels`.
        limit: u64,
    },
    /// One side is longer than allowed; nothing was decoded.
    #[error("image is {width}x{height}, limit {limit} pixels a side")]
    SideTooLong {
        /// Stored width.
        width: u32,
        /// Stored height.
        height: u32,
        /// `Limits::side`.
        limit: u32,
    },
    /// An animation has too many frames, or too many for its size; nothing was decoded.
    #[error(
        "animation has {frames} frames of {width}x{height}, limit {} frames and {} MP in all",
        crate::MAX_ANIMATION_FRAMES,
        megapixels(crate::MAX_ANIMATION_PIXELS)
    )]
    LongAnimation {
        /// Frames that were found or announced.
        frames: usize,
        /// Width of the frames.
        width: u32,
        /// Height of the frames.
        height: u32,
    },
    /// The header announces a picture without pixels.
    #[error("image is {width}x{height}, need at least 1x1")]
    NoPixels {
        /// Stored width.
        width: u32,
        /// Stored height.
        height: u32,
    },
    /// The file ends before the picture does.
    #[error("image data truncated ({format})")]
    Truncated {
        /// The file's format.
        format: Format,
    },
    /// The file contradicts its own format.
    #[error("corrupt {format}: {what}")]
    Corrupt {
        /// The file's format.
        format: Format,
        /// What is wrong.
        what: &'static str,
    },
    /// A pixel names a colour that the palette does not have.
    #[error("corrupt palette: index {index}, the {format} palette has {colours} colours")]
    CorruptPalette {
        /// The file's format.
        format: Format,
        /// The index that was found.
        index: u8,
        /// The number of colours the palette has.
        colours: usize,
    },
    /// The file is sound but uses a part of its format that is not supported.
    #[error("unsupported {format} feature: {feature}")]
    Unsupported {
        /// The file's format.
        format: Format,
        /// The feature by its usual name.
        feature: &'static str,
    },
    /// One side is so much longer than the other that no size rule applies.
    #[error("aspect ratio {ratio}:1 exceeds {limit}:1")]
    Aspect {
        /// Long side over short side, rounded up.
        ratio: u32,
        /// [`crate::MAX_ASPECT`].
        limit: u32,
    },
    /// [`crate::DecodeOptions::deadline`] passed.
    #[error("takes too long to decode. Save it smaller, or with fewer scans")]
    TooSlow,
    /// A video without frames, or with one.
    #[error(
        "video has {found} frames, need at least 2{}",
        if *found == 1 { ". A single picture is given as an image" } else { "" }
    )]
    Frames {
        /// Frames that there are.
        found: u64,
    },
    /// A budget that allows no size at all, or one without bound.
    #[error("image budget: {0}")]
    Budget(String),
    /// Pixel data and size do not belong together.
    #[error("{width}x{height} RGB needs {need} bytes, found {found}", need = u64::from(*width) * u64::from(*height) * 3)]
    PixelCount {
        /// Width that was given.
        width: u32,
        /// Height that was given.
        height: u32,
        /// Bytes that were given.
        found: usize,
    },
    /// Writing a PNG failed.
    #[error("cannot encode PNG: {0}")]
    Encode(String),
}

fn hint(looks_like: &Option<&'static str>) -> String {
    match looks_like {
        Some(name) => format!(": this looks like {name}"),
        None => String::new(),
    }
}

/// Pixels in millions with one decimal, rounded up so that a limit just exceeded shows.
fn megapixels(pixels: u64) -> String {
    let tenths = pixels.div_ceil(100_000);
    format!("{}.{}", tenths / 10, tenths % 10)
}
