//! APNG: the frames of an animated PNG, composed.
//!
//! As for still PNGs, only the chunks that make pictures go on to the decoder.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use super::animation::{See, Survey, check_frames, shown_for};
use super::canvas::{Canvas, Mix, Place};
use super::png::{Header, corrupt, refused};
use super::{DecodeOptions, check_size};
use crate::{Error, Format};

const TRUNCATED: Error = Error::Truncated {
    format: Format::Png,
};

/// What is known of an animation before a frame is unpacked; none for a still picture.
pub(super) fn survey(bytes: &[u8], options: &DecodeOptions) -> Result<Option<Survey>, Error> {
    let header = Header::parse(bytes)?;
    check_size(header.width, header.height, &options.limits)?;
    let chunks = Chunks::parse(bytes)?;
    let Some(announced) = chunks.announced else {
        return Ok(None);
    };
    check_frames(announced, header.width, header.height)?;
    if chunks.delays.len() < announced || announced == 0 {
        return Err(corrupt("fewer frames than the header announces"));
    }
    Ok(Some(Survey {
        width: header.width,
        height: header.height,
        delays: chunks.delays[..announced].to_vec(),
    }))
}

/// Shows every frame as it is seen: on what earlier ones left.
pub(super) fn frames(bytes: &[u8], options: &DecodeOptions, see: See<'_>) -> Result<(), Error> {
    let chunks = Chunks::parse(bytes)?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(chunks.pictures));
    decoder.set_limits(png::Limits { bytes: 64 << 20 });
    // That of the compressed data too, which the decoder leaves out by default.
    decoder.ignore_checksums(false);
    decoder.set_transformations(
        png::Transformations::normalize_to_color8() | png::Transformations::ALPHA,
    );
    let mut reader = decoder.read_info().map_err(|error| refused(&error))?;
    let (width, height) = (reader.info().width, reader.info().height);
    check_size(width, height, &options.limits)?;
    let size = reader
        .output_buffer_size()
        .ok_or(corrupt("the picture is too large"))?;
    let mut pixels = vec![0; size];
    let mut canvas = Canvas::new(width, height);
    if !chunks.first_is_default {
        // A picture for programs that show no animations.
        reader
            .next_frame(&mut pixels)
            .map_err(|error| refused(&error))?;
    }
    for index in 0..chunks.announced.unwrap_or(1) {
        let shown = reader
            .next_frame(&mut pixels)
            .map_err(|error| refused(&error))?;
        let control = reader.info().frame_control;
        let control = control.ok_or(corrupt("a frame without its control chunk"))?;
        let place = Place {
            x: control.x_offset,
            y: control.y_offset,
            width: control.width,
            height: control.height,
        };
        canvas
            .check(&place)
            .ok_or(corrupt("a frame outside the picture"))?;
        let before = (control.dispose_op == png::DisposeOp::Previous).then(|| canvas.clone());
        let samples = shown.color_type.samples();
        let pixels = with_colours(&pixels[..shown.buffer_size()], samples)?;
        let mix = match control.blend_op {
            png::BlendOp::Source => Mix::Replace,
            png::BlendOp::Over => Mix::Over,
        };
        canvas.draw(&place, &pixels, mix);
        if see(index, &canvas.flattened(options.background)?) == ControlFlow::Break(()) {
            return Ok(());
        }
        match (before, control.dispose_op) {
            (Some(before), _) => canvas = before,
            (None, png::DisposeOp::Background) => canvas.clear(&place),
            _ => {}
        }
    }
    Ok(())
}

/// Red, green, blue and opacity of pixels of 2 samples (grey, opacity) or 4.
fn with_colours(pixels: &[u8], samples: usize) -> Result<Cow<'_, [u8]>, Error> {
    match samples {
        4 => Ok(Cow::Borrowed(pixels)),
        2 => {
            let pairs = pixels.as_chunks::<2>().0.iter();
            Ok(pairs
                .flat_map(|&[grey, alpha]| [grey, grey, grey, alpha])
                .collect())
        }
        _ => Err(corrupt("pixels of an unknown kind")),
    }
}

/// The file reduced to what is used.
struct Chunks {
    /// A PNG of the chunks that hold pictures.
    pictures: Vec<u8>,
    /// Frames that `acTL` announces; none in a still picture.
    announced: Option<usize>,
    /// From each `fcTL`.
    delays: Vec<Duration>,
    /// Whether the picture that every program shows is the first frame.
    first_is_default: bool,
}

impl Chunks {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (signature, mut rest) = bytes.split_at_checked(8).ok_or(TRUNCATED)?;
        let mut found = Self {
            pictures: signature.to_vec(),
            announced: None,
            delays: Vec::new(),
            first_is_default: false,
        };
        let mut has_picture = false;
        loop {
            let (head, body) = rest.split_first_chunk::<8>().ok_or(TRUNCATED)?;
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            // Four more bytes are the checksum.
            let after = length.checked_add(4).and_then(|end| body.get(end..));
            let after = after.ok_or(TRUNCATED)?;
            let (whole, body) = (&rest[..rest.len() - after.len()], &body[..length]);
            match &head[4..] {
                b"IDAT" => has_picture = true,
                b"acTL" if !has_picture && body.len() == 8 => {
                    let frames = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
                    found.announced = Some(frames as usize);
                }
                b"fcTL" if body.len() == 26 => {
                    found.first_is_default |= !has_picture;
                    found.delays.push(delay(body));
                }
                b"IHDR" | b"PLTE" | b"tRNS" | b"fdAT" | b"IEND" => {}
                b"acTL" | b"fcTL" => return Err(corrupt("an animation chunk of the wrong size")),
                [b'A'..=b'Z', ..] => return Err(corrupt("an unknown critical chunk")),
                _ => {
                    rest = after;
                    continue;
                }
            }
            found.pictures.extend_from_slice(whole);
            if head[4..] == *b"IEND" {
                return Ok(found);
            }
            rest = after;
        }
    }
}

/// How long a frame is shown, from its control chunk: a fraction of a second; 0 below stands for 100.
fn delay(body: &[u8]) -> Duration {
    let word = |at: usize| u64::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let (over, under) = (word(20), word(22));
    let under = if under == 0 { 100 } else { under };
    shown_for(Duration::from_micros(over * 1_000_000 / under))
}
