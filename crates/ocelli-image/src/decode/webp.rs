//! WebP: lossy, lossless, with opacity; of an animation the first frame.
//!
//! The RIFF chunks are walked here first: every size in the file is checked before the decoder sees it, and
//! a file shorter than it says is known as cut off.

use image_webp::WebPDecoder;

use super::{DecodeOptions, Stored, check_size, flatten};
use crate::{Error, Format, Orientation, RgbImage};

const FORMAT: Format = Format::WebP;
const TRUNCATED: Error = Error::Truncated { format: FORMAT };

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let mut survey = Survey {
        options,
        orientation: None,
    };
    let size = word(bytes, 4)? as usize;
    let body = size
        .checked_add(8)
        .and_then(|end| bytes.get(12..end))
        .ok_or(TRUNCATED)?;
    survey.chunks(body, 0)?;
    let mut decoder = WebPDecoder::new(std::io::Cursor::new(&bytes[..size + 8]))
        .map_err(|error| refused(&error))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, &options.limits)?;
    decoder.set_memory_limit(
        usize::try_from(options.limits.pixels.saturating_mul(4)).unwrap_or(usize::MAX),
    );
    let mut pixels = vec![
        0;
        decoder
            .output_buffer_size()
            .ok_or(corrupt("the picture is too large"))?
    ];
    decoder
        .read_image(&mut pixels)
        .map_err(|error| refused(&error))?;
    if decoder.has_alpha() {
        pixels = pixels
            .chunks_exact(4)
            .flat_map(|rgba| flatten([rgba[0], rgba[1], rgba[2]], rgba[3], options.background))
            .collect();
    }
    Ok(Stored {
        image: RgbImage::new(width, height, pixels)?,
        orientation: survey.orientation,
    })
}

fn corrupt(what: &'static str) -> Error {
    Error::Corrupt {
        format: FORMAT,
        what,
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = bytes.get(at..at + 4).ok_or(TRUNCATED)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The decoder's errors in our words. The file as a whole is complete when it runs, so that a chunk
/// that ends too early is a contradiction.
fn refused(error: &image_webp::DecodingError) -> Error {
    match error {
        image_webp::DecodingError::UnsupportedFeature(_) => Error::Unsupported {
            format: FORMAT,
            feature: "frames that depend on others",
        },
        image_webp::DecodingError::IoError(_) => corrupt("the image data ends too early"),
        _ => corrupt("the image data does not decode"),
    }
}

/// What is looked for in the chunks.
struct Survey<'a> {
    options: &'a DecodeOptions,
    orientation: Option<Orientation>,
}

impl Survey<'_> {
    fn chunks(&mut self, mut rest: &[u8], depth: u32) -> Result<(), Error> {
        while rest.len() >= 8 {
            let length = word(rest, 4)? as usize;
            let body = length
                .checked_add(8)
                .and_then(|end| rest.get(8..end))
                .ok_or(TRUNCATED)?;
            self.chunk(&rest[..4], body, depth)?;
            // Chunks start at even places; the last one may lack its padding.
            rest = rest
                .get(8 + length.next_multiple_of(2)..)
                .unwrap_or_default();
        }
        Ok(())
    }

    fn chunk(&mut self, name: &[u8], body: &[u8], depth: u32) -> Result<(), Error> {
        let limits = &self.options.limits;
        let u24 = |at: usize| {
            u32::from(body[at]) | u32::from(body[at + 1]) << 8 | u32::from(body[at + 2]) << 16
        };
        match name {
            b"VP8X" if body.len() >= 10 => check_size(u24(4) + 1, u24(7) + 1, limits),
            b"VP8 " if body.len() >= 10 => {
                let side =
                    |at: usize| u32::from(u16::from_le_bytes([body[at], body[at + 1]]) & 0x3fff);
                check_size(side(6), side(8), limits)
            }
            b"VP8L" if body.len() >= 5 => {
                let packed = word(body, 1)?;
                check_size((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1, limits)
            }
            b"ANMF" if body.len() >= 16 && depth == 0 => {
                check_size(u24(6) + 1, u24(9) + 1, limits)?;
                self.chunks(&body[16..], depth + 1)
            }
            b"EXIF" => {
                self.orientation = self.orientation.or(Orientation::from_exif(body));
                Ok(())
            }
            b"VP8X" | b"VP8 " | b"VP8L" | b"ANMF" => Err(corrupt("a chunk is too short")),
            _ => Ok(()),
        }
    }
}
