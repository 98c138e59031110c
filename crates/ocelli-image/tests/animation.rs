//! Animated GIF, WebP and APNG files against the frames that Pillow shows
//! (`tools/image/make_goldens.py`), and files that are cut, wrong or hostile.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use std::ops::ControlFlow;

use common::{cases, golden, text};
use ocelli_image::{Animation, DecodeOptions, Error, RgbImage, read};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("animation/{name}"))).unwrap()
}

fn frames(bytes: &[u8]) -> Result<Vec<RgbImage>, Error> {
    let mut seen = Vec::new();
    let animation = Animation::open(bytes, &DecodeOptions::default())?;
    animation.frames(&mut |index, frame| {
        assert_eq!(index, seen.len());
        assert_eq!(
            (frame.width, frame.height),
            (animation.width(), animation.height())
        );
        seen.push(frame.clone());
        ControlFlow::Continue(())
    })?;
    assert_eq!(seen.len(), animation.delays().len());
    Ok(seen)
}

#[test]
fn every_frame_is_composed_as_the_reference_shows_it() {
    for case in cases("animation/cases.json") {
        let name = text(&case, "file");
        let sheet = golden(&format!("animation/{name}.expected.png"));
        let sheet = read(sheet, &DecodeOptions::default()).unwrap().image;
        let pixels: Vec<u8> = frames(&file(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .into_iter()
            .flat_map(|frame| frame.pixels)
            .collect();
        assert_eq!(pixels.len(), sheet.pixels.len(), "{name}");
        let most = pixels
            .iter()
            .zip(&sheet.pixels)
            .map(|(a, b)| a.abs_diff(*b));
        // Mixing of two half-transparent pixels is rounded differently by every program.
        let allowed = u8::from(name == "clear.webp");
        assert!(most.max() <= Some(allowed), "{name}");
    }
}

#[test]
fn frames_are_shown_as_long_as_the_file_says() {
    for case in cases("animation/cases.json") {
        let bytes = file(text(&case, "file"));
        let animation = Animation::open(&bytes, &DecodeOptions::default()).unwrap();
        let expected = case["delays_ms"].as_array().unwrap();
        let expected: Vec<f64> = expected.iter().filter_map(|d| d.as_f64()).collect();
        let got = animation.delays().iter().map(|d| d.as_secs_f64() * 1e3);
        assert_eq!(got.collect::<Vec<f64>>(), expected, "{case}");
    }
}

#[test]
fn showing_ends_when_enough_was_seen() {
    for case in cases("animation/cases.json") {
        let bytes = file(text(&case, "file"));
        let animation = Animation::open(&bytes, &DecodeOptions::default()).unwrap();
        let mut seen = 0;
        let mut see = |_: usize, _: &RgbImage| {
            seen += 1;
            ControlFlow::Break(())
        };
        animation.frames(&mut see).unwrap();
        assert_eq!(seen, 1, "{case}");
    }
}

#[test]
fn a_still_picture_is_an_animation_of_one_frame() {
    for name in ["420_17x9.jpg", "420_61x43.jpg"] {
        let path = golden(&format!("decode/{name}"));
        let frames = frames(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            frames,
            [read(&path, &DecodeOptions::default()).unwrap().image]
        );
    }
}

#[test]
fn an_animation_cut_anywhere_is_an_error() {
    for case in cases("animation/cases.json") {
        let name = text(&case, "file");
        let whole = file(name);
        for part in 0..48 {
            let cut = whole.len() * part / 48;
            assert!(frames(&whole[..cut]).is_err(), "{name} cut to {cut} bytes");
        }
    }
}

#[test]
fn damaged_animations_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % sides
    };
    for case in cases("animation/cases.json") {
        let whole = file(text(&case, "file"));
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=roll(3) {
                let at = roll(bytes.len());
                bytes[at] = match roll(3) {
                    0 => bytes[at] ^ 1 << roll(8),
                    1 => 0xff,
                    _ => roll(256) as u8,
                };
            }
            // Either is right; only a panic is wrong.
            let _ = frames(&bytes);
        }
    }
}

#[test]
fn frames_without_end_are_refused_before_one_is_decoded() {
    // A 65000-frame GIF of empty frames on a 4 x 4 canvas.
    let mut bytes = b"GIF89a\x04\x00\x04\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00".to_vec();
    for _ in 0..65_000 {
        bytes.extend_from_slice(b"\x2c\x00\x00\x00\x00\x04\x00\x04\x00\x00\x02\x00");
    }
    bytes.push(0x3b);
    let error = Animation::open(&bytes, &DecodeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("limit 16384 frames"), "{error}");
    // Two thousand frames of a large canvas.
    let mut bytes = b"GIF89a\x00\x20\x00\x20\x80\x00\x00\xff\xff\xff\x00\x00\x00".to_vec();
    for _ in 0..2000 {
        bytes.extend_from_slice(b"\x2c\x00\x00\x00\x00\x04\x00\x04\x00\x00\x02\x00");
    }
    bytes.push(0x3b);
    let error = Animation::open(&bytes, &DecodeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("8192x8192"), "{error}");
}
