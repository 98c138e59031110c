//! Files that are cut, wrong or hostile: always a clear error, never a panic and never half a picture.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, file, frame_at, golden, message, open, patched, position, text};
use ocelli_image::{DecodeOptions, Error, Format, Limits, decode, read};

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for case in cases("decode/cases.json") {
        let name = text(&case, "file");
        let whole = file(name);
        for part in 0..64 {
            let cut = whole.len() * part / 64;
            let error = message(&whole[..cut]);
            let known = cut < 26 || error.contains("image data truncated");
            assert!(
                known,
                "{name} cut to {cut} of {} bytes: {error}",
                whole.len()
            );
        }
        // All that a GIF may lack is its last byte, which says that no frame follows.
        let least = if name.ends_with(".gif") { 2 } else { 1 };
        message(&whole[..whole.len() - least]);
    }
}

/// A reproducible source of damage.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides.max(1)
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.roll(bytes.len());
        // Headers are short: half of the damage goes there.
        let at = if self.roll(2) == 0 {
            at % 64.min(bytes.len())
        } else {
            at
        };
        match self.roll(6) {
            0 => bytes[at] ^= 1 << self.roll(8),
            1 => bytes[at] = self.roll(256) as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.roll(5)],
            3 => drop(bytes.drain(at..(at + 1 + self.roll(8)).min(bytes.len()))),
            4 => bytes.insert(at, self.roll(256) as u8),
            _ => {
                let to = self.roll(bytes.len());
                let piece = bytes[at..(at + self.roll(40)).min(bytes.len())].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
}

#[test]
fn damaged_files_never_panic_and_never_exceed_the_limits() {
    let limits = Limits {
        pixels: 1 << 16,
        side: 1 << 12,
        encoded_bytes: 1 << 20,
    };
    let options = DecodeOptions {
        limits,
        ..DecodeOptions::default()
    };
    let mut dice = Dice(0x0ce1_1155_eed5);
    let mut decoded = 0;
    for case in cases("decode/cases.json") {
        let whole = file(text(&case, "file"));
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=dice.roll(4) {
                if !bytes.is_empty() {
                    dice.damage(&mut bytes);
                }
            }
            if let Ok(picture) = decode(&bytes, &options) {
                let (width, height) = (picture.image.width, picture.image.height);
                assert!(u64::from(width) * u64::from(height) <= limits.pixels);
                assert_eq!(
                    picture.image.pixels.len(),
                    width as usize * height as usize * 3
                );
                decoded += 1;
            }
        }
    }
    assert!(
        decoded > 100,
        "only {decoded} damaged files still decode: the damage is too coarse"
    );
}

#[test]
fn other_files_are_named() {
    let tests: [(&[u8], &str); 9] = [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "a web page (HTML)"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"hello, I am no picture", "text"),
        (b"\x89PN", "the first bytes of a picture"),
    ];
    for (bytes, expected) in tests {
        let error = message(bytes);
        assert!(
            error.starts_with("not a supported image (PNG, JPEG, WebP, GIF, BMP)"),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(
        message(&[7; 40]),
        "not a supported image (PNG, JPEG, WebP, GIF, BMP)"
    );
}

#[test]
fn a_palette_index_beyond_the_palette_is_an_error() {
    let png = file("palette4.png");
    let palette = position(&png, b"PLTE") - 4;
    // One colour only; the checksum of that chunk is 32 bits of CRC over name and colour.
    let mut short = png[..palette].to_vec();
    short.extend_from_slice(b"\0\0\0\x03PLTE\0\0\0\xa7\x7a\x3d\xda");
    short.extend_from_slice(&png[palette + 12 + 48..]);
    assert!(
        message(&short).starts_with("corrupt palette"),
        "{}",
        message(&short)
    );
    // BMP: say that only one colour is used.
    let bmp = patched("palette8.bmp", 46, &[1, 0, 0, 0]);
    assert!(
        message(&bmp).starts_with("corrupt palette"),
        "{}",
        message(&bmp)
    );
}

#[test]
fn jpeg_features_beyond_reach_are_named() {
    let frame = frame_at("444_61x43.jpg");
    for (marker, feature) in [
        (0xc9, "arithmetic coding"),
        (0xc3, "lossless coding"),
        (0xc5, "hierarchical coding"),
    ] {
        let error = message(&patched("444_61x43.jpg", frame + 1, &[marker]));
        assert_eq!(error, format!("unsupported JPEG feature: {feature}"));
    }
    assert_eq!(
        message(&patched("444_61x43.jpg", frame + 4, &[12])),
        "unsupported JPEG feature: 12 bits a sample"
    );
    assert!(message(&patched("444_61x43.jpg", frame + 5, &[0, 0])).contains("DNL"));
}

#[test]
fn a_jpeg_whose_middle_is_missing_is_an_error() {
    for name in [
        "444_61x43.jpg",
        "420_61x43_progressive.jpg",
        "restart.jpg",
        "grey_61x43.jpg",
    ] {
        let whole = file(name);
        let scan = position(&whole, &[0xff, 0xda]) + 14;
        let mut holed = whole[..scan + 20].to_vec();
        holed.extend_from_slice(&[0xff, 0xd9]);
        assert!(
            matches!(
                open(&holed),
                Err(Error::Truncated { .. } | Error::Corrupt { .. })
            ),
            "{name}"
        );
    }
}

#[test]
fn png_metadata_is_skipped_whatever_it_claims_and_damage_to_pixels_is_found() {
    let png = file("rgb8_gamma.png");
    let expected = open(&png).unwrap();
    let data = position(&png, b"IDAT") - 4;
    let mut padded = png[..data].to_vec();
    for name in [b"zTXt", b"iCCP", b"tEXt", b"acTL", b"eXIf"] {
        padded.extend_from_slice(&100_000u32.to_be_bytes());
        padded.extend_from_slice(name);
        // No valid text, profile or checksum.
        padded.extend_from_slice(&[0x5a; 100_004]);
    }
    padded.extend_from_slice(&png[data..]);
    assert_eq!(open(&padded).unwrap(), expected);
    let mut damaged = png.clone();
    damaged[data + 40] ^= 0x10;
    assert!(matches!(
        open(&damaged),
        Err(Error::Corrupt {
            format: Format::Png,
            ..
        })
    ));
}

#[test]
fn a_path_that_cannot_be_read_is_no_bad_picture() {
    let error = read(golden("decode/no_such_file.png"), &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    assert!(matches!(
        read(golden("decode"), &DecodeOptions::default()),
        Err(Error::Read { .. })
    ));
}

#[test]
fn compressed_data_of_a_png_must_have_its_checksum() {
    let file = |sum: u8, crc: [u8; 4]| {
        let head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde";
        let data = b"\0\0\0\x0fIDATx\x01\x01\x04\0\xfb\xff\0\x0a\x14\x1e\0h\0";
        let end = b"\0\0\0\0IEND\xaeB`\x82";
        [&head[..], data, &[sum], &crc, end].concat()
    };
    let sound = open(&file(0x3d, [0xe8, 0x0c, 0xbb, 0x83])).unwrap();
    assert_eq!(sound.pixel(0, 0), Some([10, 20, 30]));
    // The chunk's own checksum is right.
    let damaged = message(&file(0x3c, [0x9f, 0x0b, 0x8b, 0x15]));
    assert_eq!(damaged, "corrupt PNG: the image data does not decode");
}
