//! PNG: every colour type and depth, Adam7, transparency.
//!
//! The chunks are walked here first. Only those that make the picture go on to the decoder,
//! so text, profile and animation chunks cost nothing, whatever they claim to unpack to.

use super::png_text::Held;
use super::{DecodeOptions, Stated, Stored, check_size, flatten, working_bytes};
use crate::{Error, Format, Orientation, RgbImage};

const FORMAT: Format = Format::Png;
const SIGNATURE_BYTES: usize = 8;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let header = Header::parse(bytes)?;
    check_size(header.width, header.height, &options.limits)?;
    let chunks = Chunks::parse(bytes)?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(chunks.picture));
    // Rows are the only large buffers inside the decoder: two of at most 16384 * 8 bytes.
    decoder.set_limits(png::Limits { bytes: 64 << 20 });
    // That of the compressed data too, which the decoder leaves out by default.
    decoder.ignore_checksums(false);
    let mut reader = decoder.read_info().map_err(|error| refused(&error))?;
    let colours = Colours::new(&header, reader.info(), chunks.opacity, options.background)?;
    let (width, height) = (header.width as usize, header.height as usize);
    let mut pixels = vec![0; width * height * 3];
    let mut row_pixels = Vec::with_capacity(width * 3);
    let mut place = Placement::new(header.interlaced, width, height);
    while let Some(row) = reader.next_row().map_err(|error| refused(&error))? {
        let Some((first, step, count)) = place.next_row() else {
            return Err(corrupt("more rows than the header announces"));
        };
        options.check_time()?;
        row_pixels.clear();
        colours.expand(row.data(), count, &mut row_pixels)?;
        if step == 1 {
            pixels[first * 3..][..count * 3].copy_from_slice(&row_pixels);
        } else {
            for (i, pixel) in row_pixels.chunks_exact(3).enumerate() {
                pixels[(first + i * step) * 3..][..3].copy_from_slice(pixel);
            }
        }
    }
    if place.next_row().is_some() {
        return Err(Error::Truncated { format: FORMAT });
    }
    Ok(Stored {
        image: RgbImage::new(header.width, header.height, pixels)?,
        orientation: chunks.held.orientation(),
    })
}

/// The size, and how the camera was held; no pixel is unpacked.
pub(super) fn stated(bytes: &[u8], options: &DecodeOptions) -> Result<Stated, Error> {
    let header = Header::parse(bytes)?;
    check_size(header.width, header.height, &options.limits)?;
    Ok(Stated {
        width: header.width,
        height: header.height,
        orientation: Chunks::parse(bytes)?.held.orientation(),
        working_bytes: working_bytes((header.width, header.height), 3),
    })
}

pub(super) fn corrupt(what: &'static str) -> Error {
    Error::Corrupt {
        format: FORMAT,
        what,
    }
}

/// The decoder's errors in our words.
pub(super) fn refused(error: &png::DecodingError) -> Error {
    match error {
        png::DecodingError::IoError(source)
            if source.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Error::Truncated { format: FORMAT }
        }
        png::DecodingError::LimitsExceeded => corrupt("a chunk is too large"),
        _ => corrupt("the image data does not decode"),
    }
}

pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    bits: u8,
    interlaced: bool,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let chunk = bytes
            .get(SIGNATURE_BYTES..SIGNATURE_BYTES + 21)
            .ok_or(Error::Truncated { format: FORMAT })?;
        if chunk[..8] != *b"\0\0\0\x0dIHDR" {
            return Err(corrupt("the first chunk is not IHDR"));
        }
        let word = |at: usize| {
            u32::from_be_bytes([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]])
        };
        Ok(Self {
            width: word(8),
            height: word(12),
            bits: chunk[16],
            interlaced: chunk[20] != 0,
        })
    }
}

/// The file reduced to what is used.
struct Chunks<'a> {
    /// A PNG of the chunks that hold the picture.
    picture: Vec<u8>,
    /// The body of `tRNS`.
    opacity: Option<&'a [u8]>,
    held: Held,
}

impl<'a> Chunks<'a> {
    /// A file without its last chunk is truncated, even if all rows are there.
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let truncated = Error::Truncated { format: FORMAT };
        let mut found = Self {
            picture: bytes[..SIGNATURE_BYTES].to_vec(),
            opacity: None,
            held: Held::default(),
        };
        let mut rest = &bytes[SIGNATURE_BYTES..];
        loop {
            let Some((head, body)) = rest.split_first_chunk::<8>() else {
                return Err(truncated);
            };
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            // Four more bytes are the checksum.
            let Some(after) = length.checked_add(4).and_then(|end| body.get(end..)) else {
                return Err(truncated);
            };
            let whole = &rest[..rest.len() - after.len()];
            match &head[4..] {
                b"IHDR" | b"PLTE" | b"IDAT" => found.picture.extend_from_slice(whole),
                b"IEND" => {
                    found.picture.extend_from_slice(whole);
                    return Ok(found);
                }
                b"tRNS" => found.opacity = Some(&body[..length]),
                b"eXIf" => found.held.exif = Orientation::from_exif(&body[..length]),
                b"tEXt" | b"zTXt" | b"iTXt" => found.held.read(whole),
                // An upper-case first letter says that the picture cannot be shown without this chunk.
                [b'A'..=b'Z', ..] => return Err(corrupt("an unknown critical chunk")),
                _ => {}
            }
            rest = after;
        }
    }
}

/// Where each decoded row goes, row by row in file order.
struct Placement {
    passes: &'static [Pass],
    pass: usize,
    line: usize,
    width: usize,
    height: usize,
}

/// First column and row and the distances between them.
struct Pass(usize, usize, usize, usize);

const WHOLE: [Pass; 1] = [Pass(0, 0, 1, 1)];
const ADAM7: [Pass; 7] = [
    Pass(0, 0, 8, 8),
    Pass(4, 0, 8, 8),
    Pass(0, 4, 4, 8),
    Pass(2, 0, 4, 4),
    Pass(0, 2, 2, 4),
    Pass(1, 0, 2, 2),
    Pass(0, 1, 1, 2),
];

impl Placement {
    fn new(interlaced: bool, width: usize, height: usize) -> Self {
        let passes: &[Pass] = if interlaced { &ADAM7 } else { &WHOLE };
        Self {
            passes,
            pass: 0,
            line: 0,
            width,
            height,
        }
    }

    /// The next row's first pixel, the distance between its pixels and their number.
    fn next_row(&mut self) -> Option<(usize, usize, usize)> {
        loop {
            let &Pass(x, y, step_x, step_y) = self.passes.get(self.pass)?;
            let row = y + self.line * step_y;
            if x < self.width && row < self.height {
                self.line += 1;
                return Some((
                    row * self.width + x,
                    step_x,
                    (self.width - x).div_ceil(step_x),
                ));
            }
            self.pass += 1;
            self.line = 0;
        }
    }
}

/// How samples become opaque 8-bit RGB.
struct Colours {
    kind: png::ColorType,
    bits: u8,
    /// `[colours, 3]`, transparency already flattened.
    palette: Vec<[u8; 3]>,
    /// The one sample value (grey) or triple (RGB) that is transparent.
    transparent: Option<[u16; 3]>,
    background: [u8; 3],
}

impl Colours {
    fn new(
        header: &Header,
        info: &png::Info<'_>,
        opacity: Option<&[u8]>,
        background: [u8; 3],
    ) -> Result<Self, Error> {
        let mut palette = Vec::new();
        if info.color_type == png::ColorType::Indexed {
            let colours = info.palette.as_deref().ok_or(corrupt("no palette"))?;
            let opacity = opacity.unwrap_or_default();
            for (index, colour) in colours.chunks_exact(3).enumerate() {
                let alpha = opacity.get(index).copied().unwrap_or(255);
                palette.push(flatten(
                    [colour[0], colour[1], colour[2]],
                    alpha,
                    background,
                ));
            }
        }
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let transparent = match (info.color_type, opacity) {
            (png::ColorType::Grayscale, Some(bytes)) if bytes.len() >= 2 => {
                Some([word(bytes, 0); 3])
            }
            (png::ColorType::Rgb, Some(bytes)) if bytes.len() >= 6 => {
                Some([0, 2, 4].map(|at| word(bytes, at)))
            }
            _ => None,
        };
        Ok(Self {
            kind: info.color_type,
            bits: header.bits,
            palette,
            transparent,
            background,
        })
    }

    /// Appends the first `count` pixels of a row of packed samples as RGB.
    fn expand(&self, row: &[u8], count: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let samples = count * self.kind.samples();
        if (samples * usize::from(self.bits)).div_ceil(8) > row.len() {
            return Err(corrupt("a row is too short"));
        }
        match (self.kind, self.bits) {
            (png::ColorType::Rgb, 8) if self.transparent.is_none() => {
                out.extend_from_slice(&row[..samples])
            }
            (png::ColorType::Indexed, bits) => {
                for index in Packed::new(row, bits).take(count) {
                    let colours = self.palette.len();
                    let colour = self.palette.get(usize::from(index));
                    let colour = colour.ok_or(Error::CorruptPalette {
                        format: FORMAT,
                        index,
                        colours,
                    })?;
                    out.extend_from_slice(colour);
                }
            }
            (png::ColorType::Grayscale, bits @ (1 | 2 | 4)) => {
                let scale = 255 / ((1 << bits) - 1);
                for sample in Packed::new(row, bits).take(count) {
                    out.extend_from_slice(
                        &self.opaque([u16::from(sample); 3], [sample * scale; 3]),
                    );
                }
            }
            (_, 16) => {
                let words = row[..samples * 2].chunks_exact(2);
                let words = words.map(|word| u16::from_be_bytes([word[0], word[1]]));
                self.expand_samples(words, |sample| (sample >> 8) as u8, out);
            }
            _ => self.expand_samples(
                row[..samples].iter().map(|&s| u16::from(s)),
                |sample| sample as u8,
                out,
            ),
        }
        Ok(())
    }

    /// Whole samples, `to_byte` being the narrowing to 8 bits.
    fn expand_samples(
        &self,
        mut samples: impl Iterator<Item = u16>,
        to_byte: impl Fn(u16) -> u8,
        out: &mut Vec<u8>,
    ) {
        let mut next = || samples.next();
        while let Some(first) = next() {
            let (second, third, fourth);
            match self.kind {
                png::ColorType::Grayscale | png::ColorType::GrayscaleAlpha => {
                    (second, third) = (first, first)
                }
                _ => (second, third) = (next().unwrap_or(0), next().unwrap_or(0)),
            }
            let colour = [first, second, third];
            let bytes = colour.map(&to_byte);
            out.extend_from_slice(&match self.kind {
                png::ColorType::GrayscaleAlpha | png::ColorType::Rgba => {
                    fourth = next().unwrap_or(0);
                    flatten(bytes, to_byte(fourth), self.background)
                }
                _ => self.opaque(colour, bytes),
            });
        }
    }

    /// The pixel, or the background if its samples are the transparent ones.
    fn opaque(&self, samples: [u16; 3], bytes: [u8; 3]) -> [u8; 3] {
        if self.transparent == Some(samples) {
            self.background
        } else {
            bytes
        }
    }
}

/// Samples of 1, 2, 4 or 8 bits, the first in the highest bits.
struct Packed<'a> {
    row: &'a [u8],
    bits: u8,
    next: usize,
}

impl<'a> Packed<'a> {
    fn new(row: &'a [u8], bits: u8) -> Self {
        Self { row, bits, next: 0 }
    }
}

impl Iterator for Packed<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let bits = usize::from(self.bits);
        let at = self.next * bits;
        self.next += 1;
        let byte = *self.row.get(at / 8)?;
        let shifted = byte >> (8 - bits - at % 8);
        Some(if bits == 8 {
            shifted
        } else {
            shifted & ((1 << bits) - 1)
        })
    }
}
