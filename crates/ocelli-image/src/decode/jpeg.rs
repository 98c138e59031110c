//! JPEG: baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeOptions, Stored, check_size};
use crate::{Error, Format, Orientation, RgbImage};

const FORMAT: Format = Format::Jpeg;
const TRUNCATED: Error = Error::Truncated { format: FORMAT };

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let survey = survey(bytes)?;
    check_size(survey.width, survey.height, &options.limits)?;
    let side = options.limits.side as usize;
    let settings = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(std::io::Cursor::new(bytes), settings);
    let pixels = decoder
        .decode()
        .map_err(|_| corrupt("the image data does not decode"))?;
    Ok(Stored {
        image: RgbImage::new(survey.width, survey.height, pixels)?,
        orientation: survey.orientation,
    })
}

fn corrupt(what: &'static str) -> Error {
    Error::Corrupt {
        format: FORMAT,
        what,
    }
}

struct Survey {
    width: u32,
    height: u32,
    orientation: Option<Orientation>,
}

/// Walks the markers to the end of the image.
fn survey(bytes: &[u8]) -> Result<Survey, Error> {
    let mut found = Survey {
        width: 0,
        height: 0,
        orientation: None,
    };
    let mut at = 2;
    loop {
        at += bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(|&b| b == 0xff))
            .ok_or(TRUNCATED)?;
        let marker = *bytes.get(at + 1).ok_or(TRUNCATED)?;
        match marker {
            0 | 0xd0..=0xd8 | 0x01 => at += 2,
            0xff => at += 1,
            0xd9 => return Ok(found),
            _ => {
                let length = bytes.get(at + 2..at + 4).ok_or(TRUNCATED)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let body = bytes
                    .get(at + 4..(at + 2 + length).max(at + 4))
                    .ok_or(TRUNCATED)?;
                match marker {
                    0xc0..=0xc2 if body.len() >= 6 => {
                        found.height = u32::from(u16::from_be_bytes([body[1], body[2]]));
                        found.width = u32::from(u16::from_be_bytes([body[3], body[4]]));
                    }
                    0xe1 if body.starts_with(b"Exif\0\0") => {
                        found.orientation = found.orientation.or(Orientation::from_exif(body));
                    }
                    _ => {}
                }
                at += 2 + length;
            }
        }
    }
}
