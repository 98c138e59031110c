//! Size rule, resampling and patches against the reference libraries (`tools/image/make_goldens.py`).
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::{cases, fnv1a, golden, integer, text};
use ocelli_image::{
    Budget, DecodeOptions, Error, Filter, Grid, Normalization, RgbImage, patchify, read, resize,
    resize_with, smart_resize,
};
use serde_json::Value;

fn open(name: &str) -> RgbImage {
    read(golden(name), &DecodeOptions::default()).unwrap().image
}

#[test]
fn sizes_equal_the_reference_under_every_budget() {
    for case in cases("sizes.json") {
        let n: Vec<u64> = case
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap())
            .collect();
        let (width, height, factor) = (n[0] as u32, n[1] as u32, n[2] as u32);
        let budget = Budget::new(factor, n[3], n[4]).unwrap();
        match smart_resize(width, height, &budget) {
            Ok(size) => assert_eq!(size, (n[5] as u32, n[6] as u32), "{case}"),
            Err(error) => assert_eq!((n[5], n[6]), (0, 0), "{case}: {error}"),
        }
    }
}

/// The formula of the large goldens, which are kept as hashes.
fn formula_picture(width: u32, height: u32) -> RgbImage {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                pixels.push((x * 7 + y * 13 + c * 101 + (x * y) % 251 + (x / 9) * (y / 11)) as u8);
            }
        }
    }
    RgbImage::new(width, height, pixels).unwrap()
}

#[test]
fn resized_pixels_equal_torchvision_bit_for_bit() {
    for case in cases("resize/cases.json") {
        let filter = match text(&case, "filter") {
            "bicubic" => Filter::Bicubic,
            "bilinear" => Filter::Bilinear,
            other => panic!("{other}"),
        };
        let (width, height) = (
            integer(&case, "width") as u32,
            integer(&case, "height") as u32,
        );
        if let Some([from_width, from_height]) = case["formula"].as_array().map(Vec::as_slice) {
            let side = |v: &Value| v.as_u64().unwrap() as u32;
            let source = formula_picture(side(from_width), side(from_height));
            let result = resize_with(&source, width, height, filter);
            assert_eq!(fnv1a(result.pixels), text(&case, "fnv1a"), "{case}");
        } else {
            let result = resize_with(&open(text(&case, "source")), width, height, filter);
            let expected = open(text(&case, "expected"));
            let wrong = result
                .pixels
                .iter()
                .zip(&expected.pixels)
                .filter(|(a, b)| a != b)
                .count();
            assert_eq!(wrong, 0, "samples differ: {case}");
            assert_eq!(result, expected);
        }
    }
}

fn three(values: &Value) -> [f32; 3] {
    [0, 1, 2].map(|i| values[i].as_f64().unwrap() as f32)
}

#[test]
fn pixel_values_equal_the_reference_processor_bit_for_bit() {
    for case in cases("pixel_values.json") {
        let picture = open(text(&case, "source"));
        let patch_size = integer(&case, "patch_size") as u32;
        let budget = Budget::new(
            patch_size * 2,
            integer(&case, "min_pixels"),
            integer(&case, "max_pixels"),
        )
        .unwrap();
        let grid = Grid::for_image(picture.width, picture.height, &budget, patch_size, 2).unwrap();
        let resized = resize(&picture, grid.w * patch_size, grid.h * patch_size);
        let normalization = Normalization {
            mean: three(&case["mean"]),
            std: three(&case["std"]),
        };
        let known = if text(&case, "family") == "qwen3" {
            Normalization::HALF
        } else {
            Normalization::CLIP
        };
        assert_eq!(normalization, known);
        let patches = patchify(&[resized], patch_size, 2, 2, &normalization);
        assert_eq!(patches.grid, grid);
        assert_eq!(
            [1, u64::from(grid.h), u64::from(grid.w)]
                .map(Value::from)
                .to_vec(),
            *case["grid"].as_array().unwrap()
        );
        for sample in case["samples"].as_array().unwrap() {
            let at = sample[0].as_u64().unwrap() as usize;
            let expected = f32::from_bits(sample[1].as_u64().unwrap() as u32);
            assert_eq!(
                patches.pixels[at],
                expected,
                "value {at} of {}",
                text(&case, "family")
            );
        }
        let bytes = patches.pixels.iter().flat_map(|v| v.to_le_bytes());
        assert_eq!(
            fnv1a(bytes),
            text(&case, "fnv1a"),
            "{}",
            text(&case, "source")
        );
    }
}

#[test]
fn a_pair_of_frames_fills_both_moments_of_a_patch() {
    let dark = RgbImage::filled(64, 32, [0; 3]).unwrap();
    let bright = RgbImage::filled(64, 32, [255; 3]).unwrap();
    let frames = [dark.clone(), bright.clone(), bright];
    let patches = patchify(&frames, 16, 2, 2, &Normalization::HALF);
    assert_eq!((patches.grid.t, patches.grid.h, patches.grid.w), (2, 2, 4));
    let row = |patch: usize| &patches.pixels[patch * 1536..][..1536];
    // Channel, moment, y, x: the first 256 values are red of the first moment.
    assert!(row(0)[..256].iter().all(|&v| v == -1.0) && row(0)[256..512].iter().all(|&v| v == 1.0));
    assert!(
        row(8).iter().all(|&v| v == 1.0),
        "the last frame stands for the missing one"
    );
    assert_eq!(patches.grid.tokens(), 4);
}

#[test]
fn a_picture_of_the_right_size_is_copied() {
    let picture = open("resize/noise.png");
    assert_eq!(resize(&picture, picture.width, picture.height), picture);
}

#[test]
fn tiny_and_thin_pictures_are_scaled_up_or_refused() {
    let budget = Budget::from_tokens(32, 64, 4096).unwrap();
    for (width, height) in [(1, 1), (2, 2), (1, 200), (10, 10), (10, 1000)] {
        let grid = Grid::for_image(width, height, &budget, 16, 2).unwrap();
        assert!(
            (64..=4096).contains(&grid.tokens()),
            "{width}x{height}: {}",
            grid.tokens()
        );
    }
    let error = smart_resize(52_800, 44, &budget).unwrap_err();
    assert_eq!(error.to_string(), "aspect ratio 1200:1 exceeds 200:1");
    assert!(matches!(
        smart_resize(0, 5, &budget),
        Err(Error::NoPixels { .. })
    ));
}

#[test]
fn budgets_that_cannot_be_met_are_refused() {
    assert!(Budget::from_tokens(32, 65, 64).is_err());
    assert!(Budget::from_tokens(32, 0, 0).is_err());
    assert!(Budget::from_tokens(0, 1, 2).is_err());
    assert!(Budget::from_tokens(28, 1, u32::MAX).is_err());
    assert!(Budget::new(32, 1, u64::MAX).is_err());
    let budget = Budget::from_tokens(28, 4, 16_384).unwrap();
    assert_eq!((budget.min_pixels, budget.max_pixels), (3136, 12_845_056));
    assert!(
        Grid::for_image(64, 64, &budget, 16, 2).is_err(),
        "the factor belongs to another family"
    );
}

#[test]
fn a_grid_counts_patches_and_tokens() {
    let budget = Budget::from_tokens(28, 4, 16_384).unwrap();
    let grid = Grid::for_image(1920, 1080, &budget, 14, 2).unwrap();
    assert_eq!((grid.h, grid.w), (78, 138));
    assert_eq!((grid.patches(), grid.tokens()), (10_764, 2691));
    assert_eq!((grid.merged_h(), grid.merged_w()), (39, 69));
}
