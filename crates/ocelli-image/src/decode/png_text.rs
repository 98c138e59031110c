//! How a camera was held, from the chunks of a PNG that may say it: `eXIf`, and texts that tools
//! write in its place.
//!
//! No other text is read, whatever it claims to unpack to.

use crate::Orientation;

/// ImageMagick keeps EXIF blocks here, as hexadecimal digits.
const PROFILE: &[u8] = b"Raw profile type exif\0";
const XMP: &[u8] = b"XML:com.adobe.xmp\0";
/// More than any such text holds.
const MOST_BYTES: usize = 1 << 20;

/// By each of the chunks that may say it, in the order in which they count.
#[derive(Default)]
pub(super) struct Held {
    pub(super) exif: Option<Orientation>,
    profile: Option<Orientation>,
    xmp: Option<Orientation>,
}

impl Held {
    pub(super) fn orientation(&self) -> Option<Orientation> {
        self.exif.or(self.profile).or(self.xmp)
    }

    /// Reads a whole text chunk, from its length to its checksum. One that is spoilt says nothing.
    pub(super) fn read(&mut self, chunk: &[u8]) {
        let body = &chunk[8..];
        if body.starts_with(PROFILE) {
            self.profile = self
                .profile
                .or(text(chunk).and_then(|text| of_profile(&text)));
        } else if body.starts_with(XMP) {
            let stated = |text: String| Orientation::from_xmp(text.as_bytes());
            self.xmp = self.xmp.or(text(chunk).and_then(stated));
        }
    }
}

/// What a text chunk says, unpacked by the decoder: as the only text of a picture of one pixel.
fn text(chunk: &[u8]) -> Option<String> {
    const HEAD: &[u8] =
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde";
    let file = [HEAD, chunk, b"\0\0\0\0IDAT\x35\xaf\x06\x1e"].concat();
    let decoder = png::Decoder::new(std::io::Cursor::new(file));
    let reader = decoder.read_info().ok()?;
    let info = reader.info();
    if let Some(plain) = info.uncompressed_latin1_text.first() {
        return Some(plain.text.clone());
    }
    if let Some(packed) = info.compressed_latin1_text.first() {
        let mut packed = packed.clone();
        packed.decompress_text_with_limit(MOST_BYTES).ok()?;
        return packed.get_text().ok();
    }
    let mut international = info.utf8_text.first()?.clone();
    international.decompress_text_with_limit(MOST_BYTES).ok()?;
    international.get_text().ok()
}

/// The orientation in a profile: a blank line, its name, its length, then the block in hexadecimal digits.
fn of_profile(text: &str) -> Option<Orientation> {
    let digits: Vec<u8> = text
        .split('\n')
        .skip(3)
        .flat_map(str::bytes)
        .filter_map(|digit| char::from(digit).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    let block: Vec<u8> = digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low)
        .collect();
    Orientation::from_exif(&block)
}
