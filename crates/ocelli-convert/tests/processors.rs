//! Settings of the processors of pictures and videos: each is in the file, does nothing in the
//! reference, or is refused.

use std::fs;

use common::Folder;
use common::changed::{Converted, changed, changed_all, metadata, processor};
use serde_json::{Value as Json, json};

mod common;

#[test]
fn processors_that_prepare_pictures_in_another_way_are_refused() {
    for (name, key, value, message) in [
        (
            "qwen2vl",
            "do_normalize",
            json!(false),
            "do_normalize: found false, need true",
        ),
        (
            "qwen2vl",
            "rescale_factor",
            json!(0.5),
            "rescale_factor: found 0.5, need 1/255",
        ),
        ("qwen2vl", "resample", json!(2), "resample: found 2, need 3"),
        (
            "qwen2vl",
            "patch_size",
            json!(16),
            "patch_size: found 16, need 14",
        ),
        ("gemma3", "resample", json!(3), "resample: found 3, need 2"),
        (
            "llava",
            "do_center_crop",
            json!(false),
            "do_center_crop: found false, need true",
        ),
        ("llava", "crop_size", json!(28), "crop_size: found 28, need"),
        (
            "mistral3",
            "do_center_crop",
            json!(true),
            "do_center_crop: found true, need false",
        ),
    ] {
        refuses(name, key, value, message);
    }
}

#[test]
fn tiles_that_an_encoder_does_not_cut_are_refused() {
    let name = "llava-next";
    for (key, value, message) in [
        (
            "crop_size",
            json!({"height": 28, "width": 28}),
            "height: found 28, need 42",
        ),
        (
            "size",
            json!({"height": 28, "width": 28}),
            "height: found 28, need 42",
        ),
        (
            "image_grid_pinpoints",
            json!([[42, 84]]),
            "image_grid_pinpoints: found [[42,84]], need [[42, 84], [84, 42], [84, 84]",
        ),
        (
            "image_grid_pinpoints",
            json!(null),
            "image_grid_pinpoints: found nothing, which means [[336, 672], [672, 336]",
        ),
    ] {
        refuses(name, key, value, message);
    }
}

/// A checkpoint is refused with a message when one of its processor's settings has this value.
fn refuses(name: &str, key: &str, value: Json, message: &str) {
    let folder = Folder::new("processors");
    let (file, inside) = processor(name);
    let at = (file, format!("{inside}/{key}"));
    let error = changed(name, &folder, (at.0, &at.1), value).expect_err("refused");
    assert!(error.contains(message), "{name} {key}: {error}");
}

const SHARED: &str = "processor_config.json";
const OF_VIDEOS: &str = "video_preprocessor_config.json";

fn size(least: u64, most: u64) -> Json {
    json!({"shortest_edge": least, "longest_edge": most})
}

#[test]
fn sizes_of_videos_are_those_of_a_run_or_refused() {
    let at = (SHARED, "/video_processor/size");
    for (name, least, most, need) in [
        // Those of pictures, as the reference saves them for models without settings of videos.
        ("qwen2.5vl", 3136, 18_816, None),
        ("qwen2.5vl", 3136, 12_845_056, None),
        ("qwen2.5vl", 100_352, 602_112, None),
        (
            "qwen2.5vl",
            100_352,
            602_113,
            Some("need 100352 to 602112 pixels, or those of pictures: 3136 to 18816 pixels"),
        ),
        (
            "qwen2.5vl",
            3136,
            602_112,
            Some("size: found 3136 to 602112 pixels"),
        ),
        ("qwen3vl-moe", 4096, 25_165_824, None),
        ("qwen3vl-moe", 65_536, 16_777_216, None),
        (
            "qwen3vl-moe",
            131_072,
            786_432,
            Some("need 4096 to 25165824 pixels"),
        ),
    ] {
        let folder = Folder::new("video-sizes");
        let made = changed(name, &folder, at, size(least, most));
        match (need, made) {
            (None, made) => drop(made.expect("converted")),
            (Some(need), made) => {
                let error = made.expect_err("refused");
                assert!(error.contains(need) && error.contains(SHARED), "{error}");
            }
        }
    }
}

#[test]
fn settings_of_videos_that_no_file_can_state_are_refused() {
    for (key, value, message) in [
        (
            "do_rescale",
            json!(false),
            "do_rescale: found false, need true",
        ),
        ("resample", json!(2), "resample: found 2, need 3"),
        ("patch_size", json!(28), "patch_size: found 28, need 14"),
        ("merge_size", json!(1), "merge_size: found 1, need 2"),
        (
            "temporal_patch_size",
            json!(4),
            "temporal_patch_size: found 4, need 2",
        ),
        ("min_frames", json!(8), "min_frames: found 8, need 4"),
        ("max_frames", json!(32), "max_frames: found 32, need 768"),
        ("fps", json!(1), "fps: found 1, need 2"),
        ("num_frames", json!(16), "num_frames: found 16, need null"),
        ("image_mean", json!([0.5, 0.5, 0.5]), "as for pictures"),
        ("image_std", json!([0.5, 0.5, 0.5]), "as for pictures"),
        ("max_pixels", json!(77_777), "found 3136 to 77777 pixels"),
    ] {
        let folder = Folder::new("videos");
        let at = format!("/video_processor/{key}");
        let error = changed("qwen2.5vl", &folder, (SHARED, &at), value).expect_err("refused");
        assert!(error.contains(message), "{key}: {error}");
    }
}

#[test]
fn the_file_of_videos_counts_where_the_shared_one_has_none_of_them() {
    let other = size(3136, 77_777);
    let folder = Folder::new("video-file");
    let error = changed("qwen2vl", &folder, (OF_VIDEOS, "/size"), other.clone());
    let error = error.expect_err("refused");
    assert!(
        error.contains("video_preprocessor_config.json: size"),
        "{error}"
    );
    let folder = Folder::new("both-files");
    changed("qwen2.5vl", &folder, (OF_VIDEOS, "/size"), other).expect("converted");
}

#[test]
fn of_two_files_with_settings_of_pictures_the_one_counts_that_the_reference_reads() {
    let folder = Folder::new("two-files");
    let older = "preprocessor_config.json";
    let means = json!([0.25, 0.25, 0.25]);
    let path = changed_all(
        "qwen2.5vl",
        &folder,
        &[
            ((older, "/image_mean"), means.clone()),
            ((older, "/image_std"), means),
            ((older, "/max_pixels"), json!(77_777)),
        ],
    );
    let made = metadata(&path.expect("converted"));
    let most = made.u32("clip.vision.image_max_pixels");
    assert_eq!(most.expect("a number"), Some(18_816));
    let mean = made.f32_array("clip.vision.image_mean").expect("a list");
    assert_ne!(mean.expect("there")[0], 0.25);
}

#[test]
fn pictures_of_gemma_have_the_one_size_of_its_encoder() {
    for (pointer, value, message) in [
        (
            "/image_processor/size",
            json!({"height": 64, "width": 64}),
            "height and width 48",
        ),
        (
            "/image_processor/size",
            json!({"height": 48, "width": 64}),
            "height and width 48",
        ),
        (
            "/image_processor/size",
            json!({"shortest_edge": 48}),
            "height and width 48",
        ),
        (
            "/image_processor/size",
            json!(64),
            "size: found 64, need 48",
        ),
        (
            "/image_seq_length",
            json!(9),
            "image_seq_length: found 9, need 4",
        ),
    ] {
        let folder = Folder::new("gemma-sizes");
        let error = changed("gemma3", &folder, (SHARED, pointer), value).expect_err("refused");
        assert!(error.contains(message), "{pointer}: {error}");
    }
    let folder = Folder::new("gemma-side");
    changed(
        "gemma3",
        &folder,
        (SHARED, "/image_processor/size"),
        json!(48),
    )
    .expect("converted");
}

#[test]
fn pan_and_scan_of_a_processor_changes_nothing_as_in_the_reference() {
    let inside = |key: &'static str| (SHARED, key);
    let (plain, folder) = (Folder::new("no-pan"), Folder::new("pan"));
    let changes = [
        (inside("/image_processor/do_pan_and_scan"), json!(true)),
        (
            inside("/image_processor/pan_and_scan_min_crop_size"),
            json!(10),
        ),
        (
            inside("/image_processor/pan_and_scan_max_num_crops"),
            json!(3),
        ),
        (
            inside("/image_processor/pan_and_scan_min_ratio_to_activate"),
            json!(1.1),
        ),
    ];
    let bytes = |made: Converted| fs::read(made.expect("converted")).expect("read");
    assert!(
        bytes(changed_all("gemma3", &folder, &changes))
            == bytes(changed_all("gemma3", &plain, &[]))
    );
}

#[test]
fn the_longest_side_of_pixtral_is_stated_in_every_way_a_processor_says_it() {
    let at = (SHARED, "/image_processor/size");
    for (value, stated) in [
        (json!({"longest_edge": 80}), None),
        (json!({"longest_edge": 56}), Some(56)),
        (json!({"height": 56, "width": 56}), Some(56)),
        (json!(56), Some(56)),
        (json!(null), Some(1024)),
    ] {
        let folder = Folder::new("longest");
        let made = metadata(&changed("mistral3", &folder, at, value).expect("converted"));
        let found = made.u32("clip.vision.longest_edge").expect("a number");
        assert_eq!(found, stated);
    }
    for value in [
        json!({"height": 56, "width": 112}),
        json!({"shortest_edge": 56}),
    ] {
        let folder = Folder::new("uneven");
        let error = changed("mistral3", &folder, at, value).expect_err("refused");
        assert!(
            error.contains("need longest_edge, or height and width alike"),
            "{error}"
        );
    }
}

#[test]
fn tokens_of_a_picture_are_as_many_as_the_encoder_gives() {
    let patch = (SHARED, "/patch_size");
    let merge = (SHARED, "/spatial_merge_size");
    let rows = (SHARED, "/num_additional_image_tokens");
    let kept = (SHARED, "/vision_feature_select_strategy");
    let own = (SHARED, "/image_processor/patch_size");
    for (name, changes, message) in [
        ("mistral3", vec![(patch, json!(16)), (merge, json!(1))], ""),
        (
            "mistral3",
            vec![(own, json!({"height": 20, "width": 20}))],
            "",
        ),
        (
            "mistral3",
            vec![(patch, json!(24))],
            "patch_size x spatial_merge_size: found 48, need 16",
        ),
        (
            "mistral3",
            vec![(merge, json!(null))],
            "patch_size x spatial_merge_size: found 8, need 16",
        ),
        (
            "llava",
            vec![(patch, json!(7))],
            "patch_size: found 7, need 14",
        ),
        (
            "llava",
            vec![(rows, json!(0))],
            "num_additional_image_tokens: found 0, need 1",
        ),
        ("llava", vec![(rows, json!(0)), (kept, json!("full"))], ""),
    ] {
        let folder = Folder::new("tokens");
        match (message, changed_all(name, &folder, &changes)) {
            ("", made) => drop(made.expect("converted")),
            (message, made) => {
                let error = made.expect_err("refused");
                assert!(error.contains(message), "{changes:?}: {error}");
            }
        }
    }
}
