//! Every format and variant against the pixels that Pillow shows (`tools/image/make_goldens.py`).
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, file, golden, open, text};
use ocelli_image::{
    DecodeOptions, Format, Orientation, RgbImage, decode, header, read, read_header,
};

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
fn a_gif_shows_its_first_colour_where_the_frame_does_not_reach_unless_it_knows_transparency() {
    let red_then_blue = [200, 0, 0, 0, 0, 100];
    // A screen of 3 x 1, a frame of 1 x 1 in its middle, painted with the second colour.
    let gif = |control: &[u8]| {
        let screen = b"GIF89a\x03\0\x01\0\x80\0\0";
        let frame = b",\x01\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
        [&screen[..], &red_then_blue, control, frame].concat()
    };
    let opaque = open(&gif(b"")).unwrap();
    assert_eq!(opaque.pixels, [200, 0, 0, 0, 0, 100, 200, 0, 0]);
    let clear = open(&gif(b"!\xf9\x04\x01\0\0\0\0")).unwrap();
    assert_eq!(clear.pixels, [255, 255, 255, 0, 0, 100, 255, 255, 255]);
}
