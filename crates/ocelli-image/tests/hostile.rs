//! Files that are cut, wrong or hostile: always a clear error, never a panic and never half a picture.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, golden, text};
use ocelli_image::{
    DecodeOptions, Error, Format, Limits, Orientation, RgbImage, decode, header, read,
};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("decode/{name}"))).unwrap()
}

fn open(bytes: &[u8]) -> Result<RgbImage, Error> {
    decode(bytes, &DecodeOptions::default()).map(|picture| picture.image)
}

fn message(bytes: &[u8]) -> String {
    match open(bytes) {
        Ok(image) => panic!("decoded as {image:?}"),
        Err(error) => error.to_string(),
    }
}

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
        message(&whole[..whole.len() - 1]);
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

/// Replaces the bytes at `at`.
fn patched(name: &str, at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = file(name);
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn position(bytes: &[u8], of: &[u8]) -> usize {
    bytes
        .windows(of.len())
        .position(|window| window == of)
        .unwrap()
}

/// The start-of-frame marker of a baseline JPEG.
fn frame_at(name: &str) -> usize {
    position(&file(name), &[0xff, 0xc0])
}

#[test]
fn sizes_over_the_limits_are_refused_from_the_header() {
    let side = 22_000u32.to_be_bytes();
    let png = patched("rgb8_gamma.png", 16, &[side, side].concat());
    assert_eq!(
        message(&png),
        "image is 22000x22000 (484.0 MP), limit 268.5 MP"
    );
    // 35 bytes: canvas of 65535 x 65535, one frame of 1 x 1.
    let gif =
        b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    assert_eq!(
        message(gif),
        "image is 65535x65535 (4294.9 MP), limit 268.5 MP"
    );
    let frame = frame_at("444_61x43.jpg");
    let jpeg = patched("444_61x43.jpg", frame + 5, &[0xff, 0xff, 0xff, 0xff]);
    assert!(message(&jpeg).starts_with("image is 65535x65535"));
    let bmp = patched("rgb24.bmp", 18, &[0, 0, 0x10, 0]);
    assert!(
        message(&bmp).starts_with("image is 1048576x29"),
        "{}",
        message(&bmp)
    );
    let webp = file("lossy_alpha.webp");
    let canvas = position(&webp, b"VP8X") + 12;
    assert!(
        message(&patched("lossy_alpha.webp", canvas, &[0xff; 6]))
            .starts_with("image is 16777216x16777216")
    );
    let options = DecodeOptions {
        limits: Limits {
            encoded_bytes: 100,
            ..Limits::default()
        },
        ..DecodeOptions::default()
    };
    assert!(matches!(
        decode(&file("rgb24.bmp"), &options),
        Err(Error::FileTooLarge { limit: 100, .. })
    ));
    let too_long = read(golden("decode/rgb24.bmp"), &options).unwrap_err();
    assert_eq!(
        too_long.to_string(),
        format!(
            "image file has {} bytes, limit 100",
            file("rgb24.bmp").len()
        )
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
fn the_orientation_and_the_stored_size_are_reported() {
    for value in 1..=8u16 {
        for kind in ["png", "jpg"] {
            let picture = read(
                golden(&format!("decode/exif{value}.{kind}")),
                &DecodeOptions::default(),
            )
            .unwrap();
            assert_eq!(
                Some(picture.orientation),
                Orientation::from_exif_value(value)
            );
            assert_eq!((picture.stored_width, picture.stored_height), (24, 16));
            let swaps = picture.orientation.swaps_sides();
            assert_eq!(
                (picture.image.width, picture.image.height),
                if swaps { (16, 24) } else { (24, 16) }
            );
        }
    }
    let picture = decode(&file("exif_garbage.jpg"), &DecodeOptions::default()).unwrap();
    assert_eq!(
        (picture.orientation, picture.format),
        (Orientation::Upright, Format::Jpeg)
    );
}

#[test]
fn the_background_behind_transparency_can_be_chosen() {
    let options = DecodeOptions {
        background: [1, 2, 3],
        ..DecodeOptions::default()
    };
    let picture = decode(&file("rgba8.png"), &options).unwrap();
    assert_eq!(
        picture.image.pixel(0, 0),
        Some([1, 2, 3]),
        "the upper rows are clear"
    );
    assert_ne!(
        picture.image.pixel(0, 12),
        Some([1, 2, 3]),
        "the next ones are opaque"
    );
}

#[test]
fn decoding_ends_at_its_deadline_in_every_format() {
    let options = DecodeOptions {
        deadline: Some(std::time::Instant::now()),
        ..DecodeOptions::default()
    };
    for name in [
        "rgba8.png",
        "420_64x48_progressive.jpg",
        "lossy.webp",
        "plain.gif",
        "rgb24.bmp",
    ] {
        let error = decode(&file(name), &options).unwrap_err();
        assert!(matches!(error, Error::TooSlow), "{name}: {error}");
        assert!(error.to_string().contains("takes too long"), "{error}");
    }
    for name in ["restored.gif", "blended.png", "clear.webp"] {
        let bytes = std::fs::read(golden(&format!("animation/{name}"))).unwrap();
        let animation = ocelli_image::Animation::open(&bytes, &options).unwrap();
        let mut shown = 0;
        let error = animation.frames(&mut |_, _| {
            shown += 1;
            std::ops::ControlFlow::Continue(())
        });
        assert!(matches!(error, Err(Error::TooSlow)), "{name}: {error:?}");
        assert_eq!(shown, 0, "{name}");
    }
}

#[test]
fn the_memory_that_decoding_takes_is_known_from_the_header() {
    for case in cases("decode/cases.json") {
        let name = text(&case, "file");
        let bytes = file(name);
        let header = header(&bytes, &DecodeOptions::default()).unwrap();
        let picture = u64::from(header.width) * u64::from(header.height) * 3;
        let working = header.working_bytes;
        // Whole blocks of small pictures are many times their pixels.
        let most = 16 * (picture + 3 * 64 * 64);
        assert!(
            (picture..most).contains(&working),
            "{name}: {working} for {picture}"
        );
        let is_turned = header.orientation != Orientation::Upright;
        assert!(!is_turned || working >= 2 * picture, "{name}: {working}");
    }
}

#[test]
fn a_later_frame_of_a_gif_cannot_be_larger_than_a_picture_may_be() {
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend_from_slice(b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0");
    gif.extend_from_slice(b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;");
    assert!(
        message(&gif).contains("image is 65535x65535"),
        "{}",
        message(&gif)
    );
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
