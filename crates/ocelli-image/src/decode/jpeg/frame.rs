//! The frame: size, components and their planes.

use super::{TRUNCATED, corrupt, transform, unsupported};
use crate::Error;

/// What a start-of-frame marker announces beyond baseline, extended and progressive Huffman coding.
pub(super) fn unsupported_coding(marker: u8) -> Option<&'static str> {
    match marker {
        0xc3 => Some("lossless coding"),
        0xc5..=0xc7 => Some("hierarchical coding"),
        0xc9 | 0xca => Some("arithmetic coding"),
        0xcb => Some("lossless coding"),
        0xcd..=0xcf => Some("hierarchical coding"),
        0xcc => Some("arithmetic coding"),
        0xf7 => Some("JPEG-LS coding"),
        _ => None,
    }
}

/// A start-of-frame segment.
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    progressive: bool,
    /// Identifier, horizontal and vertical sampling, quantisation table.
    components: Vec<[u8; 4]>,
}

impl Header {
    pub(super) fn parse(body: &[u8], progressive: bool) -> Result<Self, Error> {
        let short = || corrupt("the frame header is too short");
        let head = body.first_chunk::<6>().ok_or_else(short)?;
        match head[0] {
            8 => {}
            12 => return Err(unsupported("12 bits a sample")),
            _ => return Err(corrupt("bits a sample are not 8")),
        }
        let height = u32::from(u16::from_be_bytes([head[1], head[2]]));
        let width = u32::from(u16::from_be_bytes([head[3], head[4]]));
        if height == 0 {
            return Err(unsupported("height given after the picture (DNL)"));
        }
        let count = usize::from(head[5]);
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported("a number of colours other than 1, 3 or 4"));
        }
        let listed = body.get(6..6 + 3 * count).ok_or_else(short)?;
        let components: Vec<_> = listed
            .chunks_exact(3)
            .map(|c| [c[0], c[1] >> 4, c[1] & 15, c[2]])
            .collect();
        if components
            .iter()
            .any(|&[_, h, v, q]| !(1..=4).contains(&h) || !(1..=4).contains(&v) || q > 3)
        {
            return Err(corrupt("sampling or table of a component is out of range"));
        }
        Ok(Self {
            width,
            height,
            progressive,
            components,
        })
    }

    /// Bytes that decoding takes at its height: samples and, of a progressive file, twice as much for their
    /// coefficients; then samples and the picture.
    pub(super) fn working_bytes(&self) -> u64 {
        let most = |of: usize| self.components.iter().map(|c| c[of]).max().unwrap_or(1);
        let whole = u64::from(most(1)) * u64::from(most(2));
        let shares = self.components.iter().map(|c| u64::from(c[1] * c[2]));
        // Whole MCUs: up to 32 samples more on each side.
        let pixels = (u64::from(self.width) + 32) * (u64::from(self.height) + 32);
        let samples = (pixels * shares.sum::<u64>()).div_ceil(whole);
        let coefficients = if self.progressive { 2 * samples } else { 0 };
        samples + coefficients.max(3 * pixels)
    }
}

/// The picture while it is decoded.
pub(super) struct Frame {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) most_h: usize,
    pub(super) most_v: usize,
    /// MCUs of an interleaved scan: across and down.
    pub(super) mcus: (usize, usize),
}

/// One colour component.
pub(super) struct Component {
    pub(super) id: u8,
    pub(super) h: usize,
    pub(super) v: usize,
    pub(super) quantization_index: usize,
    /// In natural order; the table in force when the component's first scan began.
    pub(super) quantization: Option<[u16; 64]>,
    /// Samples that belong to the picture: across and down.
    pub(super) size: (usize, usize),
    /// Blocks that belong to the picture, which is what a scan of its own has.
    pub(super) blocks: (usize, usize),
    /// Blocks across in memory: whole MCUs.
    pub(super) stride: usize,
    /// Whether a scan brought its (first) coefficients.
    pub(super) seen: bool,
    /// `[blocks down, stride, 64]`, blocks in natural order: all of a progressive file, else some rows at a
    /// time. Flat, because only then its zeros come untouched from the system.
    pub(super) coefficients: Vec<i16>,
    /// `[blocks down * 8, stride * 8]` samples.
    pub(super) plane: Vec<u8>,
}

impl Frame {
    pub(super) fn new(header: Header) -> Result<Self, Error> {
        let most = |of: usize| {
            header
                .components
                .iter()
                .map(|c| usize::from(c[of]))
                .max()
                .unwrap_or(1)
        };
        let (most_h, most_v) = (most(1), most(2));
        let (width, height) = (header.width as usize, header.height as usize);
        let mcus = (width.div_ceil(8 * most_h), height.div_ceil(8 * most_v));
        let mut components = Vec::new();
        for &[id, h, v, quantization_index] in &header.components {
            let (h, v) = (usize::from(h), usize::from(v));
            if !most_h.is_multiple_of(h) || !most_v.is_multiple_of(v) {
                return Err(unsupported("fractional sampling"));
            }
            let size = ((width * h).div_ceil(most_h), (height * v).div_ceil(most_v));
            let (stride, rows) = (mcus.0 * h, mcus.1 * v);
            components.push(Component {
                id,
                h,
                v,
                quantization_index: usize::from(quantization_index),
                quantization: None,
                size,
                blocks: (size.0.div_ceil(8), size.1.div_ceil(8)),
                stride,
                seen: false,
                coefficients: if header.progressive {
                    vec![0; stride * rows * 64]
                } else {
                    Vec::new()
                },
                plane: vec![0; stride * rows * 64],
            });
        }
        let (width, height) = (header.width, header.height);
        Ok(Self {
            width,
            height,
            progressive: header.progressive,
            components,
            most_h,
            most_v,
            mcus,
        })
    }

    /// Makes the planes of a progressive file, and checks that no component is missing.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        for component in &mut self.components {
            if !component.seen {
                return Err(TRUNCATED);
            }
            if self.progressive {
                component.transform_rows(0)?;
                component.coefficients = Vec::new();
            }
        }
        Ok(())
    }
}

impl Component {
    /// Turns the coefficients in memory into samples; they start at block row `first`.
    pub(super) fn transform_rows(&mut self, first: usize) -> Result<(), Error> {
        let table = self
            .quantization
            .as_ref()
            .ok_or(corrupt("a quantisation table is missing"))?;
        let row_samples = self.stride * 64;
        let plane = &mut self.plane[first * row_samples..];
        let rows = (self.coefficients.len() / row_samples).min(plane.len() / row_samples);
        let (stride, coefficients) = (self.stride, self.coefficients.as_chunks::<64>().0);
        crate::parallel::for_each_chunk(
            &mut plane[..rows * row_samples],
            row_samples,
            |row, samples| {
                for (column, block) in coefficients[row * stride..][..stride].iter().enumerate() {
                    transform::block(block, table, &mut samples[column * 8..], stride * 8);
                }
            },
        );
        Ok(())
    }
}
