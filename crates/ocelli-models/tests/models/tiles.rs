//! LLaVA-1.6's projectors as other tools write them, with settings that the reference does not have, and broken.

use crate::broken::{assert_projector_refused, done, i32s};
use crate::draft::Draft;
use crate::layouts::changed;
use ocelli_gguf::Gguf;
use ocelli_image::{Budget, RgbImage};
use ocelli_models::{ImageFeatures, Progress, VisionModel, load_vision};
use ocelli_tensor::{Memory, Pass, Probe};
use ocelli_testkit::Suite;

const PINPOINTS: &str = "clip.vision.image_grid_pinpoints";
const ORDER: &str = "clip.vision.mm_patch_merge_type";

#[test]
fn projectors_that_leave_out_what_all_released_ones_have_alike_give_the_same() {
    changed("llava-next", |_, projector| {
        for key in [
            PINPOINTS,
            ORDER,
            "clip.vision.image_aspect_ratio",
            "clip.projector_type",
        ] {
            projector.take(key);
        }
        projector.rename("model.image_newline", "v.image_newline");
    });
}

#[test]
fn sizes_of_crops_that_released_projectors_state_by_mistake_change_nothing() {
    changed("llava-next", |_, projector| {
        projector
            .set("clip.vision.image_crop_resolution", 224u32)
            .set("clip.vision.image_split_resolution", 224u32)
            .set("clip.vision.mm_projector_type", "mlp2x_gelu");
    });
}

fn projector(change: impl Fn(&mut Draft)) -> Box<dyn VisionModel> {
    let suite = Suite::load("llava-next");
    let path = suite.mmproj.as_ref().unwrap();
    let mut draft = Draft::of(&Gguf::open(path).unwrap());
    change(&mut draft);
    load_vision(&draft.file("mmproj.gguf"), &crate::run::backend(), &|_| {}).unwrap()
}

fn encode(vision: &dyn VisionModel, image: &RgbImage, budget: &Budget) -> ImageFeatures {
    let backend = crate::run::backend();
    let patches = vision
        .preprocess(std::slice::from_ref(image), budget)
        .unwrap();
    let mut memory = Memory::reserve(&backend, 1 << 22);
    let mut pass = Pass::new(&backend, &mut memory, Probe::Off);
    let mut encoding = vision.begin(&mut pass, &patches);
    loop {
        if let Progress::Done(features) = vision.advance(&mut pass, &mut encoding, 1) {
            assert_eq!(features.tokens(), patches.grid.tokens());
            return features;
        }
    }
}

/// A picture of two squares that differ, as large as two tiles beside each other.
fn two_squares() -> RgbImage {
    let mut image = RgbImage::filled(84, 42, [0; 3]).unwrap();
    for (place, sample) in image.pixels.iter_mut().enumerate() {
        *sample = (place * place % 251) as u8;
    }
    image
}

/// The right or left half of a picture.
fn half(image: &RgbImage, columns: std::ops::Range<usize>) -> RgbImage {
    let line = |y: u32| &image.row(y)[3 * columns.start..3 * columns.end];
    let pixels = (0..image.height).flat_map(line).copied().collect();
    RgbImage::new(columns.len() as u32, image.height, pixels).unwrap()
}

#[test]
fn each_square_is_encoded_by_itself_and_its_rows_stand_where_the_order_says() {
    let image = two_squares();
    let width = 48;
    let plain = projector(|_| {});
    let budget = plain.budget();
    let rows = |features: &ImageFeatures| -> Vec<Vec<f32>> {
        features.rows.chunks(width).map(<[f32]>::to_vec).collect()
    };
    let lines = rows(&encode(plain.as_ref(), &image, &budget));
    assert_eq!(lines.len(), 9 + 3 * 7);
    let newline = &lines[9 + 6];
    assert!((0..3).all(|line| lines[9 + 7 * line + 6] == *newline));
    // A half alone is seen whole at the very size of a tile.
    let whole_only = Budget::from_tokens(14, 10, 10).unwrap();
    let halves = [0..42, 42..84]
        .map(|columns| rows(&encode(plain.as_ref(), &half(&image, columns), &whole_only)));
    assert!(
        halves
            .iter()
            .all(|rows| rows.len() == 10 && rows[9] == *newline)
    );
    for line in 0..3 {
        for column in 0..6 {
            let expected = &halves[column / 3][3 * line + column % 3];
            assert_eq!(lines[9 + 7 * line + column], *expected, "{line}, {column}");
        }
    }
    let apart = projector(|draft| done(draft.set(ORDER, "flat")));
    let expected: Vec<_> = halves.iter().flat_map(|rows| rows[..9].to_vec()).collect();
    let apart = rows(&encode(apart.as_ref(), &image, &apart.budget()));
    assert_eq!((&apart[..9], &apart[9..]), (&lines[..9], &expected[..]));
    let across = projector(|draft| done(draft.set(ORDER, "spatial")));
    let across = rows(&encode(across.as_ref(), &image, &across.budget()));
    let without_ends = |(place, _): &(usize, &Vec<f32>)| *place < 9 || (place - 9) % 7 < 6;
    let expected: Vec<_> = lines.iter().enumerate().filter(without_ends).collect();
    assert!(across.iter().eq(expected.into_iter().map(|(_, row)| row)));
}

#[test]
fn a_projector_of_padded_squares_is_llava_1_5s() {
    changed("llava", |_, projector| {
        projector
            .set("clip.vision.image_aspect_ratio", "pad")
            .set(ORDER, "flat")
            .set(PINPOINTS, i32s(&[56, 112]));
    });
}

#[test]
fn broken_tiles_are_refused() {
    assert_projector_refused(
        "llava-next",
        &[
            (
                without!(tensor "model.image_newline"),
                "missing tensor 'model.image_newline'",
            ),
            (
                |draft| {
                    draft.take_tensor("model.image_newline");
                    done(draft.add_zeros("model.image_newline", &[47]))
                },
                "tensor 'model.image_newline' has shape [47], need [48]",
            ),
            (
                set!("clip.vision.image_grid_pinpoints", i32s(&[42, 84, 42])),
                "image_grid_pinpoints has 3 numbers, need pairs",
            ),
            (
                set!("clip.vision.image_grid_pinpoints", i32s(&[])),
                "image_grid_pinpoints has 0 numbers",
            ),
            (
                set!("clip.vision.image_grid_pinpoints", i32s(&[42, 85])),
                "image_grid_pinpoints has 42 x 85, need multiples of 42",
            ),
            (
                set!("clip.vision.image_grid_pinpoints", i32s(&[0, 42])),
                "image_grid_pinpoints has 0 x 42",
            ),
            (
                set!(
                    "clip.vision.image_grid_pinpoints",
                    i32s(&[2_147_483_622, 2_147_483_622])
                ),
                "at most 1024 tiles",
            ),
            (
                set!("clip.vision.image_aspect_ratio", "pad"),
                "image_aspect_ratio is 'pad' in a projector with model.image_newline, need anyres",
            ),
            (
                set!("clip.vision.image_aspect_ratio", "anyres_max_9"),
                "image_aspect_ratio is 'anyres_max_9'",
            ),
            (
                set!("clip.vision.mm_patch_merge_type", "pool"),
                "mm_patch_merge_type is 'pool', need spatial_unpad, spatial or flat",
            ),
        ],
    );
}
