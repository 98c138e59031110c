//! What a file may ask for: pixels, bytes, memory and time, known before they are taken.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, file, frame_at, golden, message, patched, position, text};
use ocelli_image::{DecodeOptions, Error, Limits, Orientation, decode, header, read};

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
