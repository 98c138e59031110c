//! JPEG: baseline, extended and progressive with Huffman coding; grey, YCbCr, RGB, CMYK and YCCK.
//!
//! Own code for one reason: the pixels equal those of libjpeg-turbo, which is behind the
//! reference processors, bit for bit; no decoder in Rust promises that. Its accurate integer transform
//! ([`transform`]), its smooth chroma enlargement and its fixed-point colours ([`render`]) are
//! reproduced, and an incomplete file is an error instead of a grey rest.
//!
//! ```text
//! markers (here) ─► scans: bits ─► coefficients (scan, huffman) ─► planes of samples (transform) ─► rows of RGB (render)
//! ```
//! Coefficients of a sequential file live for some rows only; a progressive one needs them all.

mod frame;
mod huffman;
mod render;
mod scan;
mod transform;

use super::{DecodeOptions, Stated, Stored, check_size};
use crate::{Error, Format, Orientation};
use frame::{Frame, unsupported_coding};
use huffman::Table;
use render::ColourSpace;

const FORMAT: Format = Format::Jpeg;
const TRUNCATED: Error = Error::Truncated { format: FORMAT };

/// Progressive files have about ten scans. Each may cost a walk over all coefficients whatever its
/// length, so that their number must have an end.
const MAX_SCANS: usize = 128;

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

/// Zigzag order: the place in the 8 x 8 block of each coefficient as the file has them.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let mut decoder = Decoder::default();
    let mut rest = Bytes { rest: bytes };
    loop {
        match rest.marker()? {
            marker::START | 0x01 | marker::FIRST_RESTART..=marker::LAST_RESTART => {}
            marker::END => break,
            marker => {
                let body = rest.segment()?;
                decoder.segment(marker, body, options)?;
                if marker == marker::SCAN {
                    rest.rest = decoder.scan(body, rest.rest, options)?;
                }
            }
        }
    }
    let mut frame = decoder.frame.ok_or(corrupt("no picture in it"))?;
    frame.finish()?;
    let space = ColourSpace::of(&frame, decoder.jfif, decoder.adobe_transform)?;
    Ok(Stored {
        image: render::to_rgb(&frame, space)?,
        orientation: decoder.held.orientation(),
    })
}

/// The size, and how the camera was held, as far as the first scan; no pixel is unpacked.
pub(super) fn stated(bytes: &[u8], options: &DecodeOptions) -> Result<Stated, Error> {
    let mut rest = Bytes { rest: bytes };
    let (mut size, mut held) = (None, Held::default());
    loop {
        match rest.marker()? {
            marker::START | 0x01 | marker::FIRST_RESTART..=marker::LAST_RESTART => {}
            marker::END | marker::SCAN => break,
            marker => {
                let body = rest.segment()?;
                match marker {
                    0xc0..=0xc2 => size = Some(frame::Header::parse(body, marker == 0xc2)?),
                    0xe1 => held.read(body),
                    _ => {
                        if let Some(feature) = unsupported_coding(marker) {
                            return Err(unsupported(feature));
                        }
                    }
                }
            }
        }
    }
    let frame = size.ok_or(corrupt("no picture in it"))?;
    check_size(frame.width, frame.height, &options.limits)?;
    Ok(Stated {
        width: frame.width,
        height: frame.height,
        orientation: held.orientation(),
        working_bytes: frame.working_bytes(),
    })
}

mod marker {
    pub(super) const START: u8 = 0xd8;
    pub(super) const END: u8 = 0xd9;
    pub(super) const SCAN: u8 = 0xda;
    pub(super) const FIRST_RESTART: u8 = 0xd0;
    pub(super) const LAST_RESTART: u8 = 0xd7;
}

/// What is left of a file or of a segment.
struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Goes behind the next marker; bytes before it do not matter, as in every decoder.
    fn marker(&mut self) -> Result<u8, Error> {
        loop {
            let at = self
                .rest
                .iter()
                .position(|&byte| byte == 0xff)
                .ok_or(TRUNCATED)?;
            let marker = *self.rest.get(at + 1).ok_or(TRUNCATED)?;
            // A marker may be filled up with 0xff in front.
            self.rest = &self.rest[at + if marker == 0xff { 1 } else { 2 }..];
            if marker != 0 && marker != 0xff {
                return Ok(marker);
            }
        }
    }

    /// The body of a segment; its length counts its own two bytes.
    fn segment(&mut self) -> Result<&'a [u8], Error> {
        let length = self.take(2).ok_or(TRUNCATED)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let length = length
            .checked_sub(2)
            .ok_or(corrupt("a segment without length"))?;
        self.take(length).ok_or(TRUNCATED)
    }
}

/// What the segments said so far.
#[derive(Default)]
struct Decoder {
    frame: Option<Frame>,
    /// In natural order.
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// MCUs between restart markers, 0 for none.
    restart_interval: usize,
    scans: usize,
    jfif: bool,
    adobe_transform: Option<u8>,
    held: Held,
}

/// How the camera was held, by the first segment of each kind that says it.
#[derive(Default)]
struct Held {
    exif: Option<Orientation>,
    xmp: Option<Orientation>,
}

impl Held {
    /// Reads the body of an `APP1` segment.
    fn read(&mut self, body: &[u8]) {
        if body.starts_with(b"Exif\0\0") {
            self.exif = self.exif.or(Orientation::from_exif(body));
        } else if let Some(packet) = body.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            self.xmp = self.xmp.or(Orientation::from_xmp(packet));
        }
    }

    fn orientation(&self) -> Option<Orientation> {
        self.exif.or(self.xmp)
    }
}

impl Decoder {
    fn segment(&mut self, marker: u8, body: &[u8], options: &DecodeOptions) -> Result<(), Error> {
        match marker {
            0xc0..=0xc2 => {
                if self.frame.is_some() {
                    return Err(corrupt("two frames"));
                }
                let header = frame::Header::parse(body, marker == 0xc2)?;
                check_size(header.width, header.height, &options.limits)?;
                self.frame = Some(Frame::new(header)?);
            }
            0xc4 => self.huffman_tables(body)?,
            0xdb => self.quantization_tables(body)?,
            0xdd => {
                let interval = body
                    .get(..2)
                    .ok_or(corrupt("the restart interval is too short"))?;
                self.restart_interval = usize::from(u16::from_be_bytes([interval[0], interval[1]]));
            }
            0xe0..=0xef => {
                // What describes the picture stands before its first scan, for the reference as for `stated`.
                if self.scans == 0 {
                    self.application(marker, body);
                }
            }
            _ => {
                if let Some(feature) = unsupported_coding(marker) {
                    return Err(unsupported(feature));
                }
            }
        }
        Ok(())
    }

    fn application(&mut self, marker: u8, body: &[u8]) {
        match marker {
            0xe0 if body.starts_with(b"JFIF\0") => self.jfif = true,
            0xe1 => self.held.read(body),
            0xee if body.starts_with(b"Adobe") => self.adobe_transform = body.get(11).copied(),
            _ => {}
        }
    }

    fn quantization_tables(&mut self, body: &[u8]) -> Result<(), Error> {
        let short = || corrupt("a quantisation table is too short");
        let mut bytes = Bytes { rest: body };
        while let Some(head) = bytes.take(1) {
            let (wide, index) = (head[0] >> 4 != 0, usize::from(head[0] & 15));
            let slot = self
                .quantization
                .get_mut(index)
                .ok_or(corrupt("quantisation table over 3"))?;
            let values = bytes.take(if wide { 128 } else { 64 }).ok_or_else(short)?;
            let mut table = [0; 64];
            for (i, &place) in ZIGZAG.iter().enumerate() {
                table[usize::from(place)] = match wide {
                    true => u16::from_be_bytes([values[2 * i], values[2 * i + 1]]),
                    false => u16::from(values[i]),
                };
            }
            *slot = Some(table);
        }
        Ok(())
    }

    fn huffman_tables(&mut self, body: &[u8]) -> Result<(), Error> {
        let short = || corrupt("a Huffman table is too short");
        let mut bytes = Bytes { rest: body };
        while let Some(head) = bytes.take(1) {
            let counts = bytes.take(16).ok_or_else(short)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = bytes.take(total).ok_or_else(short)?;
            let class = if head[0] >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let slot = class
                .get_mut(usize::from(head[0] & 15))
                .ok_or(corrupt("Huffman table over 3"))?;
            *slot = Some(Table::new(counts, symbols)?);
        }
        Ok(())
    }

    /// Decodes the scan that `header` describes; returns what follows it.
    fn scan<'a>(
        &mut self,
        header: &[u8],
        data: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<&'a [u8], Error> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(unsupported("more than 128 scans"));
        }
        let frame = self
            .frame
            .as_mut()
            .ok_or(corrupt("a scan before its frame"))?;
        let mut scan = scan::Scan::parse(header, frame, options)?;
        for member in &scan.members {
            let component = &mut frame.components[member.component];
            if component.quantization.is_none() {
                component.quantization = self.quantization[component.quantization_index];
            }
        }
        scan.restart_interval = self.restart_interval;
        scan.run(frame, &self.dc, &self.ac, data)
    }
}
