//! WebP: lossy, lossless, with opacity; of an animation the first frame, or all of them.
//!
//! The RIFF chunks are walked here first: every size in the file is checked before the decoder sees it, and
//! a file shorter than it says is known as cut off.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::time::Duration;

use image_webp::WebPDecoder;

use super::animation::{See, check_frames, shown_for};
use super::canvas::{Canvas, Mix, Place};
use super::{DecodeOptions, Stated, Stored, check_size, flatten, working_bytes};
use crate::{Error, Format, Orientation, RgbImage};

const FORMAT: Format = Format::WebP;
const TRUNCATED: Error = Error::Truncated { format: FORMAT };

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let (mut decoder, survey) = open(bytes, options)?;
    let (width, height) = decoder.dimensions();
    let mut pixels = buffer(&decoder)?;
    // The decoder's work is bounded by the picture's size; it cannot be stopped on the way.
    decoder
        .read_image(&mut pixels)
        .map_err(|error| refused(&error))?;
    options.check_time()?;
    Ok(Stored {
        image: flattened(&decoder, pixels, (width, height), options)?,
        orientation: survey.exif.or(survey.xmp),
    })
}

/// The size, and how the camera was held; no pixel is unpacked.
pub(super) fn stated(bytes: &[u8], options: &DecodeOptions) -> Result<Stated, Error> {
    let (decoder, survey) = open(bytes, options)?;
    let (width, height) = decoder.dimensions();
    Ok(Stated {
        width,
        height,
        orientation: survey.exif.or(survey.xmp),
        // The picture with its opacity, once inside the decoder and once as its result.
        working_bytes: working_bytes((width, height), 8),
    })
}

/// What is known of an animation before a frame is unpacked; none for a still picture.
pub(super) fn survey(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<Option<super::animation::Survey>, Error> {
    let (decoder, survey) = open(bytes, options)?;
    if !decoder.is_animated() {
        return Ok(None);
    }
    let (width, height) = decoder.dimensions();
    check_frames(survey.frames.len(), width, height)?;
    if survey.frames.is_empty() {
        return Err(corrupt("no picture in it"));
    }
    Ok(Some(super::animation::Survey {
        width,
        height,
        delays: survey.frames.iter().map(|frame| frame.delay).collect(),
    }))
}

/// Shows every frame as it is seen: on what earlier ones left.
///
/// Each frame is decoded as a picture of its own and composed here: the decoder's own composition mixes up
/// pixels of frames with and without opacity.
pub(super) fn frames(bytes: &[u8], options: &DecodeOptions, see: See<'_>) -> Result<(), Error> {
    let (decoder, survey) = open(bytes, options)?;
    let (width, height) = decoder.dimensions();
    let mut canvas = Canvas::new(width, height);
    for (index, frame) in survey.frames.iter().enumerate() {
        canvas
            .check(&frame.place)
            .ok_or(corrupt("a frame outside the picture"))?;
        canvas.draw(&frame.place, &frame.pixels(options)?, frame.mix);
        if see(index, &canvas.flattened(options.background)?) == ControlFlow::Break(()) {
            break;
        }
        if frame.is_taken_away {
            canvas.clear(&frame.place);
        }
    }
    Ok(())
}

/// A frame of an animation, still packed.
struct Frame<'a> {
    place: Place,
    mix: Mix,
    is_taken_away: bool,
    delay: Duration,
    /// Its opacity and pictures chunks.
    chunks: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the body of an `ANMF` chunk of 16 bytes and more.
    fn parse(body: &'a [u8]) -> Self {
        let u24 = |at: usize| {
            u32::from(body[at]) | u32::from(body[at + 1]) << 8 | u32::from(body[at + 2]) << 16
        };
        Self {
            place: Place {
                x: 2 * u24(0),
                y: 2 * u24(3),
                width: u24(6) + 1,
                height: u24(9) + 1,
            },
            mix: match body[15] & 2 {
                0 => Mix::Over,
                _ => Mix::Replace,
            },
            is_taken_away: body[15] & 1 == 1,
            delay: shown_for(Duration::from_millis(u64::from(u24(12)))),
            chunks: &body[16..],
        }
    }

    /// The frame alone: `[height, width, 4]`.
    fn pixels(&self, options: &DecodeOptions) -> Result<Vec<u8>, Error> {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        if self.chunks.starts_with(b"ALPH") {
            file.extend_from_slice(b"VP8X\x0a\0\0\0\x10\0\0\0");
            for side in [self.place.width - 1, self.place.height - 1] {
                file.extend_from_slice(&side.to_le_bytes()[..3]);
            }
        }
        file.extend_from_slice(self.chunks);
        let size = u32::try_from(file.len() - 8).map_err(|_| corrupt("a frame is too large"))?;
        file[4..8].copy_from_slice(&size.to_le_bytes());
        let (mut decoder, _) = open(&file, options)?;
        if decoder.dimensions() != (self.place.width, self.place.height) || decoder.is_animated() {
            return Err(corrupt("a frame of another size than announced"));
        }
        let mut pixels = buffer(&decoder)?;
        decoder
            .read_image(&mut pixels)
            .map_err(|error| refused(&error))?;
        if decoder.has_alpha() {
            return Ok(pixels);
        }
        let opaque = pixels.as_chunks::<3>().0.iter();
        Ok(opaque.flat_map(|&[r, g, b]| [r, g, b, 255]).collect())
    }
}

type Decoder<'a> = WebPDecoder<Cursor<&'a [u8]>>;

/// Walks the chunks, then opens the decoder.
fn open<'a>(
    bytes: &'a [u8],
    options: &'a DecodeOptions,
) -> Result<(Decoder<'a>, Survey<'a>), Error> {
    let mut survey = Survey {
        options,
        exif: None,
        xmp: None,
        frames: Vec::new(),
    };
    let size = word(bytes, 4)? as usize;
    let body = size
        .checked_add(8)
        .and_then(|end| bytes.get(12..end))
        .ok_or(TRUNCATED)?;
    survey.chunks(body, 0)?;
    let mut decoder =
        WebPDecoder::new(Cursor::new(&bytes[..size + 8])).map_err(|error| refused(&error))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, &options.limits)?;
    decoder.set_memory_limit(
        usize::try_from(options.limits.pixels.saturating_mul(4)).unwrap_or(usize::MAX),
    );
    Ok((decoder, survey))
}

fn buffer(decoder: &Decoder<'_>) -> Result<Vec<u8>, Error> {
    let size = decoder.output_buffer_size();
    Ok(vec![0; size.ok_or(corrupt("the picture is too large"))?])
}

fn flattened(
    decoder: &Decoder<'_>,
    mut pixels: Vec<u8>,
    (width, height): (u32, u32),
    options: &DecodeOptions,
) -> Result<RgbImage, Error> {
    if decoder.has_alpha() {
        pixels = pixels
            .chunks_exact(4)
            .flat_map(|rgba| flatten([rgba[0], rgba[1], rgba[2]], rgba[3], options.background))
            .collect();
    }
    RgbImage::new(width, height, pixels)
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
    /// How the camera was held, by each of the two that may say it.
    exif: Option<Orientation>,
    xmp: Option<Orientation>,
    frames: Vec<Frame<'a>>,
}

impl<'a> Survey<'a> {
    fn chunks(&mut self, mut rest: &'a [u8], depth: u32) -> Result<(), Error> {
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

    fn chunk(&mut self, name: &[u8], body: &'a [u8], depth: u32) -> Result<(), Error> {
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
                self.frames.push(Frame::parse(body));
                check_frames(self.frames.len(), 1, 1)?;
                self.chunks(&body[16..], depth + 1)
            }
            b"EXIF" => {
                self.exif = self.exif.or(Orientation::from_exif(body));
                Ok(())
            }
            b"XMP " => {
                self.xmp = self.xmp.or(Orientation::from_xmp(body));
                Ok(())
            }
            b"VP8X" | b"VP8 " | b"VP8L" | b"ANMF" => Err(corrupt("a chunk is too short")),
            _ => Ok(()),
        }
    }
}
