//! BMP: all Windows and OS/2 headers, 1 to 32 bits a pixel, masks, both run-length packings.

use super::{DecodeOptions, Stated, Stored, check_size, flatten, working_bytes};
use crate::{Error, Format, RgbImage};

const FORMAT: Format = Format::Bmp;
const TRUNCATED: Error = Error::Truncated { format: FORMAT };

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let header = Header::parse(bytes)?;
    check_size(header.width, header.height, &options.limits)?;
    let data = bytes.get(header.data..).ok_or(TRUNCATED)?;
    let mut image = match header.packing {
        Packing::Runs => {
            let indices = unpack_runs(data, &header)?;
            let palette = header.palette(bytes)?;
            indexed(&indices, &palette, &header)?
        }
        Packing::Plain | Packing::Masks(_) => plain(bytes, data, &header, options.background)?,
    };
    if !header.top_down {
        let stride = image.width as usize * 3;
        let (width, height) = (image.width, image.height);
        let pixels = image
            .pixels
            .chunks_exact(stride)
            .rev()
            .flatten()
            .copied()
            .collect();
        image = RgbImage::new(width, height, pixels)?;
    }
    Ok(Stored {
        image,
        orientation: None,
    })
}

/// The size; no pixel is unpacked.
pub(super) fn stated(bytes: &[u8], options: &DecodeOptions) -> Result<Stated, Error> {
    let header = Header::parse(bytes)?;
    check_size(header.width, header.height, &options.limits)?;
    Ok(Stated {
        width: header.width,
        height: header.height,
        orientation: None,
        // Rows from below are turned round in a second picture, and run lengths unpacked to indices.
        working_bytes: working_bytes((header.width, header.height), 7),
    })
}

fn corrupt(what: &'static str) -> Error {
    Error::Corrupt {
        format: FORMAT,
        what,
    }
}

fn unsupported(feature: &'static str) -> Error {
    Error::Unsupported {
        format: FORMAT,
        feature,
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = bytes.get(at..at + 2).ok_or(TRUNCATED)?;
    Ok(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn double_word(bytes: &[u8], at: usize) -> Result<u32, Error> {
    Ok(word(bytes, at)? | word(bytes, at + 2)? << 16)
}

enum Packing {
    Plain,
    /// Red, green, blue, alpha.
    Masks([u32; 4]),
    Runs,
}

struct Header {
    width: u32,
    height: u32,
    top_down: bool,
    bits: u32,
    packing: Packing,
    /// Where the palette starts, the number of its colours and the bytes of each.
    palette: (usize, usize, usize),
    /// Where the pixels start.
    data: usize,
}

const FILE_HEADER_BYTES: usize = 14;
const CORE_HEADER_BYTES: usize = 12;
const INFO_HEADER_BYTES: usize = 40;
/// Five bits for each colour, where a header names no masks.
const MASKS_OF_16_BITS: [u32; 4] = [0x7c00, 0x03e0, 0x001f, 0];

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let data = double_word(bytes, 10)? as usize;
        let size = double_word(bytes, FILE_HEADER_BYTES)? as usize;
        let after = FILE_HEADER_BYTES + size;
        if size == CORE_HEADER_BYTES {
            let bits = word(bytes, 24)?;
            let palette = (after, if bits <= 8 { 1 << bits } else { 0 }, 3);
            let (width, height) = (word(bytes, 18)?, word(bytes, 20)?);
            let header = Self {
                width,
                height,
                top_down: false,
                bits,
                packing: match bits {
                    16 => Packing::Masks(MASKS_OF_16_BITS),
                    _ => Packing::Plain,
                },
                palette,
                data,
            };
            return header.checked();
        }
        let (width, height) = (
            double_word(bytes, 18)? as i32,
            double_word(bytes, 22)? as i32,
        );
        if width < 0 {
            return Err(corrupt("the width is negative"));
        }
        let bits = word(bytes, 28)?;
        let compression = double_word(bytes, 30)?;
        let used = double_word(bytes, 46)? as usize;
        let packing = packing(bytes, size, bits)?;
        let palette_start = match &packing {
            // Short headers have the masks behind them.
            Packing::Masks(_) if size == INFO_HEADER_BYTES && compression == 6 => after + 16,
            Packing::Masks(_) if size == INFO_HEADER_BYTES && compression == 3 => after + 12,
            _ => after,
        };
        let colours = match bits {
            1..=8 if used == 0 => 1 << bits,
            1..=8 => used.min(256),
            _ => 0,
        };
        let (height, top_down) = (height.unsigned_abs(), height < 0);
        let palette = (palette_start, colours, 4);
        Self {
            width: width as u32,
            height,
            top_down,
            bits,
            packing,
            palette,
            data,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, Error> {
        if !matches!(self.bits, 1 | 2 | 4 | 8 | 16 | 24 | 32) {
            return Err(corrupt("bits a pixel are not 1, 2, 4, 8, 16, 24 or 32"));
        }
        if self.data < FILE_HEADER_BYTES + CORE_HEADER_BYTES {
            return Err(corrupt("the pixels start inside the header"));
        }
        Ok(self)
    }

    /// The palette as RGB: as many of its colours as lie before the pixels.
    fn palette(&self, bytes: &[u8]) -> Result<Vec<[u8; 3]>, Error> {
        let (start, colours, entry) = self.palette;
        let room = self.data.saturating_sub(start) / entry;
        let table = bytes
            .get(start..start + colours.min(room) * entry)
            .ok_or(TRUNCATED)?;
        Ok(table
            .chunks_exact(entry)
            .map(|bgr| [bgr[2], bgr[1], bgr[0]])
            .collect())
    }
}

/// How a header of `size` bytes says that its pixels are stored.
fn packing(bytes: &[u8], size: usize, bits: u32) -> Result<Packing, Error> {
    let compression = double_word(bytes, 30)?;
    match (compression, bits) {
        (0, 16) => Ok(Packing::Masks(MASKS_OF_16_BITS)),
        (0, _) => Ok(Packing::Plain),
        (1, 8) | (2, 4) if size != 64 => Ok(Packing::Runs),
        (3 | 6, 16 | 32) if size != 64 => {
            let mut masks = [0; 4];
            // Only the longer headers and kind 6 name opacity; the reference leaves that of 16 bits out.
            let has_opacity = bits == 32 && (size >= 56 || compression == 6);
            let count = if has_opacity { 4 } else { 3 };
            for (i, mask) in masks.iter_mut().enumerate().take(count) {
                *mask = double_word(bytes, FILE_HEADER_BYTES + INFO_HEADER_BYTES + 4 * i)?;
            }
            Ok(Packing::Masks(masks))
        }
        (4, _) => Err(unsupported("embedded JPEG")),
        (5, _) => Err(unsupported("embedded PNG")),
        _ => Err(corrupt("compression and bits a pixel do not fit")),
    }
}

/// Colour indices to pixels, rows in file order.
fn indexed(indices: &[u8], palette: &[[u8; 3]], header: &Header) -> Result<RgbImage, Error> {
    let mut pixels = Vec::with_capacity(indices.len() * 3);
    for &index in indices {
        let colour = palette.get(usize::from(index));
        let wrong = Error::CorruptPalette {
            format: FORMAT,
            index,
            colours: palette.len(),
        };
        pixels.extend_from_slice(colour.ok_or(wrong)?);
    }
    RgbImage::new(header.width, header.height, pixels)
}

/// Pixels without run lengths; each row fills whole 32-bit words.
fn plain(
    bytes: &[u8],
    data: &[u8],
    header: &Header,
    background: [u8; 3],
) -> Result<RgbImage, Error> {
    let (width, height) = (header.width as usize, header.height as usize);
    let stride = (width * header.bits as usize).div_ceil(32) * 4;
    let rows = data
        .get(..stride * height)
        .ok_or(TRUNCATED)?
        .chunks_exact(stride);
    if header.bits <= 8 {
        let palette = header.palette(bytes)?;
        let bits = header.bits as usize;
        let mask = ((1u16 << bits) - 1) as u8;
        let index = |row: &[u8], x: usize| row[x * bits / 8] >> (8 - bits - x * bits % 8) & mask;
        let indices: Vec<u8> = rows
            .flat_map(|row| (0..width).map(move |x| index(row, x)))
            .collect();
        return indexed(&indices, &palette, header);
    }
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in rows {
        match (&header.packing, header.bits) {
            (Packing::Masks(masks), bits) => {
                let channels = masks.map(Channel::new);
                for pixel in row.chunks_exact(bits as usize / 8).take(width) {
                    let value = pixel
                        .iter()
                        .rev()
                        .fold(0, |value, &byte| value << 8 | u32::from(byte));
                    let [red, green, blue, alpha] = channels.map(|channel| channel.byte(value));
                    let alpha = if masks[3] == 0 { 255 } else { alpha };
                    pixels.extend_from_slice(&flatten([red, green, blue], alpha, background));
                }
            }
            // The fourth byte of plain 32-bit pixels is unused: it is 0 in most files.
            (_, bits) => {
                for pixel in row.chunks_exact(bits as usize / 8).take(width) {
                    pixels.extend_from_slice(&[pixel[2], pixel[1], pixel[0]]);
                }
            }
        }
    }
    RgbImage::new(header.width, header.height, pixels)
}

/// One channel of a masked pixel.
#[derive(Clone, Copy)]
struct Channel {
    mask: u32,
    shift: u32,
}

impl Channel {
    fn new(mask: u32) -> Self {
        Self {
            mask,
            shift: mask.trailing_zeros() % 32,
        }
    }

    /// The channel of `pixel` on the scale 0 to 255, truncated.
    fn byte(self, pixel: u32) -> u8 {
        let most = u64::from(self.mask >> self.shift);
        let value = u64::from((pixel & self.mask) >> self.shift);
        (value * 255).checked_div(most).unwrap_or(0) as u8
    }
}

/// Undoes run lengths of 8 or 4 bits: `[height, width]` indices in file order, skipped ones 0.
fn unpack_runs(data: &[u8], header: &Header) -> Result<Vec<u8>, Error> {
    let (width, height) = (header.width as usize, header.height as usize);
    let nibbles = header.bits == 4;
    let mut indices = vec![0; width * height];
    let (mut x, mut y, mut at) = (0, 0, 0);
    loop {
        let &[count, value] = data
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(TRUNCATED)?;
        at += 2;
        let (literal, count) = match (count, value) {
            (0, 0) => {
                (x, y) = (0, y + 1);
                continue;
            }
            (0, 1) => return Ok(indices),
            (0, 2) => {
                let &[right, down] = data
                    .get(at..)
                    .and_then(<[u8]>::first_chunk)
                    .ok_or(TRUNCATED)?;
                (x, y, at) = (x + usize::from(right), y + usize::from(down), at + 2);
                continue;
            }
            (0, count) => (true, usize::from(count)),
            (count, _) => (false, usize::from(count)),
        };
        let bytes = if nibbles { count.div_ceil(2) } else { count };
        let source = if literal {
            data.get(at..at + bytes).ok_or(TRUNCATED)?
        } else {
            &data[at - 1..at]
        };
        for i in 0..count {
            let byte = match (literal, nibbles) {
                (true, true) => source[i / 2],
                (true, false) => source[i],
                (false, _) => source[0],
            };
            let index = match (nibbles, i % 2) {
                (true, 0) => byte >> 4,
                (true, _) => byte & 15,
                (false, _) => byte,
            };
            // What leaves the row or the picture is dropped, as everywhere.
            if x < width && y < height {
                indices[y * width + x] = index;
            }
            x += 1;
        }
        if literal {
            at += bytes.next_multiple_of(2);
        }
    }
}
