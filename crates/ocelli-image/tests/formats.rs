//! Every format and variant against the pixels that Pillow shows (`tools/image/make_goldens.py`).
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, golden, text};
use ocelli_image::{DecodeOptions, RgbImage, decode, header, read, read_header};

/// Largest difference of a sample, and how many samples differ at all.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, usize) {
    let differences = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    (
        differences.clone().max().unwrap_or(0),
        differences.filter(|&d| d > 0).count(),
    )
}

#[test]
fn every_variant_decodes_to_the_reference_pixels() {
    let mut wrong = Vec::new();
    for case in cases("decode/cases.json") {
        let name = text(&case, "file");
        let expected = read(
            golden(&format!("decode/{}", text(&case, "expected"))),
            &DecodeOptions::default(),
        )
        .unwrap();
        match read(golden(&format!("decode/{name}")), &DecodeOptions::default()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(picture)
                if (picture.image.width, picture.image.height)
                    != (expected.image.width, expected.image.height) =>
            {
                wrong.push(format!(
                    "{name}: {:?} instead of {:?}",
                    picture.image, expected.image
                ));
            }
            Ok(picture) => {
                let (most, count) = difference(&picture.image, &expected.image);
                if most > 0 {
                    wrong.push(format!("{name}: {count} samples differ, by at most {most}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_header_says_the_size_and_orientation_that_decoding_gives() {
    for case in cases("decode/cases.json") {
        let path = golden(&format!("decode/{}", text(&case, "file")));
        let options = DecodeOptions::default();
        let (seen, decoded) = (
            read_header(&path, &options).unwrap(),
            read(&path, &options).unwrap(),
        );
        assert_eq!(
            (seen.width, seen.height, seen.orientation, seen.format),
            (
                decoded.image.width,
                decoded.image.height,
                decoded.orientation,
                decoded.format
            ),
            "{}",
            path.display()
        );
    }
}

/// Exif data that says how the camera was held counts before the first scan only, for a header as for a picture.
#[test]
fn exif_behind_the_first_scan_of_a_jpeg_turns_nothing() {
    let case = cases("decode/cases.json")
        .into_iter()
        .find(|case| text(case, "file").ends_with(".jpg"))
        .unwrap();
    let mut bytes = std::fs::read(golden(&format!("decode/{}", text(&case, "file")))).unwrap();
    let options = DecodeOptions::default();
    let plain = decode(&bytes, &options).unwrap();
    // Orientation 8, a quarter turn.
    let exif =
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0";
    let mut turned = bytes.clone();
    turned.splice(2..2, *exif);
    assert_eq!(header(&turned, &options).unwrap().width, plain.image.height);
    bytes.splice(bytes.len() - 2..bytes.len() - 2, *exif);
    let late = decode(&bytes, &options).unwrap();
    assert_eq!(late.image.pixels, plain.image.pixels);
    let seen = header(&bytes, &options).unwrap();
    assert_eq!(
        (seen.width, seen.height),
        (plain.image.width, plain.image.height)
    );
}
