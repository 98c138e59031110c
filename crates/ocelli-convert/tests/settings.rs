//! Settings of a checkpoint that change what a model computes: each is in the file, or refused by its name.

use std::fs;
use std::path::Path;

use common::{Folder, copy_of, quiet};
use ocelli_convert::{ConvertOptions, FileType, RewriteOptions, convert, repair};
use ocelli_gguf::{Gguf, Metadata};
use serde_json::{Value as Json, json};

mod common;

/// A checkpoint of the tests with one setting changed; the pointer names file and key.
fn changed(name: &str, folder: &Folder, (file, pointer): (&str, &str), value: Json) -> Converted {
    let checkpoint = copy_of(name, folder);
    let path = checkpoint.join(file);
    let mut settings: Json = read(&path);
    let (parent, key) = pointer.rsplit_once('/').expect("a path");
    settings.pointer_mut(parent).expect("an object")[key] = value;
    fs::write(&path, settings.to_string()).expect("written");
    let options = ConvertOptions {
        text_type: FileType::F16,
        projector_type: FileType::F16,
        ..ConvertOptions::default()
    };
    convert(&checkpoint, folder.path(), &options, &mut quiet)
        .map(|made| made.projector.expect("a projector"))
        .map_err(|error| error.to_string())
}

type Converted = Result<std::path::PathBuf, String>;

fn read(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON")
}

fn metadata(path: &Path) -> Metadata {
    Gguf::open(path).expect("a sound file").metadata().clone()
}

const CONFIG: &str = "config.json";

/// The file with a processor's settings, and where in it they are.
fn processor(name: &str) -> (&'static str, &'static str) {
    match name {
        "qwen2vl" => ("preprocessor_config.json", ""),
        _ => ("processor_config.json", "/image_processor"),
    }
}

#[test]
fn windows_that_llama_cpp_has_no_key_for_are_stated_under_those_of_older_files() {
    let folder = Folder::new("windows");
    let at = (CONFIG, "/vision_config/window_size");
    let made = metadata(&changed("qwen2.5vl", &folder, at, json!(56)).expect("converted"));
    assert_eq!(
        made.u32("clip.vision.window_size").expect("a number"),
        Some(56)
    );
    assert_eq!(
        made.u32("clip.vision.n_wa_pattern").expect("a number"),
        Some(2)
    );

    let folder = Folder::new("full-layers");
    let at = (CONFIG, "/vision_config/fullatt_block_indexes");
    let path = changed("qwen2.5vl", &folder, at, json!([0])).expect("converted");
    let key = "clip.vision.fullatt_block_indexes";
    assert_eq!(
        metadata(&path).u32_array(key).expect("a list"),
        Some(vec![0])
    );
    assert_eq!(
        metadata(&path)
            .u32("clip.vision.n_wa_pattern")
            .expect("a number"),
        None
    );
    let repaired = folder.join("repaired.gguf");
    repair(&path, &repaired, &RewriteOptions::default(), &mut quiet).expect("repaired");
    let again = metadata(&repaired).u32_array(key).expect("a list");
    assert_eq!(again, Some(vec![0]), "after a repair");
}

#[test]
fn full_layers_behind_the_last_are_left_out_as_the_modelling_code_leaves_them() {
    let folder = Folder::new("layers-behind");
    let at = (CONFIG, "/vision_config/fullatt_block_indexes");
    let path = changed("qwen2.5vl", &folder, at, json!([7, 15, 23, 31])).expect("converted");
    let pattern = metadata(&path).u32("clip.vision.n_wa_pattern");
    assert_eq!(pattern.expect("a number"), Some(8));
}

#[test]
fn the_pace_of_videos_is_stated_where_it_is_not_that_of_released_models() {
    let at = (CONFIG, "/vision_config/tokens_per_second");
    for (pace, stated) in [(2, None), (4, Some(4))] {
        let folder = Folder::new("pace");
        let path = changed("qwen2.5vl", &folder, at, json!(pace)).expect("converted");
        let found = metadata(&path).u32("clip.vision.tokens_per_second");
        assert_eq!(found.expect("a number"), stated);
    }
}

#[test]
fn sizes_of_pictures_are_stated_where_they_are_not_the_usual_ones() {
    for (name, least, most, stated) in [
        ("qwen2vl", 3136, 12_845_056, false),
        ("qwen2vl", 3136, 1_003_520, true),
        ("qwen2vl", 6272, 12_845_056, true),
    ] {
        let folder = Folder::new("bounds");
        let size = json!({"shortest_edge": least, "longest_edge": most});
        let at = (processor(name).0, "/size");
        let made = metadata(&changed(name, &folder, at, size).expect("converted"));
        let found = ["image_min_pixels", "image_max_pixels"]
            .map(|key| made.u32(&format!("clip.vision.{key}")).expect("a number"));
        let bounds = [Some(least), Some(most)];
        assert_eq!(found, if stated { bounds } else { [None, None] });
    }
}

#[test]
fn settings_of_encoders_and_text_models_that_no_file_can_state_are_refused() {
    for (name, pointer, value, message) in [
        (
            "qwen2vl",
            "/vision_config/hidden_act",
            json!("gelu"),
            "hidden_act: found gelu, need quick_gelu",
        ),
        (
            "qwen2.5vl",
            "/vision_config/hidden_act",
            json!("gelu"),
            "hidden_act: found gelu, need silu",
        ),
        (
            "qwen3vl-moe",
            "/vision_config/hidden_act",
            json!("gelu"),
            "need gelu_pytorch_tanh",
        ),
        (
            "qwen2.5vl",
            "/text_config/hidden_act",
            json!("gelu"),
            "hidden_act: found gelu, need silu",
        ),
        (
            "mistral3",
            "/text_config/hidden_act",
            json!("gelu"),
            "hidden_act: found gelu, need silu",
        ),
        (
            "qwen2vl",
            "/vision_config/rope_parameters",
            json!({"rope_theta": 500.0}),
            "rope_theta: found 500, need 10000",
        ),
        (
            "qwen2.5vl",
            "/vision_config/window_size",
            json!(14),
            "window_size: found 14, need 28 or more",
        ),
    ] {
        let folder = Folder::new("refused");
        let error = changed(name, &folder, (CONFIG, pointer), value).expect_err("refused");
        assert!(error.contains(message), "{name} {pointer}: {error}");
    }
}

#[test]
fn text_layers_that_slide_are_refused_and_an_unused_window_is_not() {
    let sliding = |kinds: Json| {
        let folder = Folder::new("sliding");
        let checkpoint = copy_of("qwen2.5vl", &folder);
        let path = checkpoint.join(CONFIG);
        let mut config = read(&path);
        let text = config["text_config"].as_object_mut().expect("an object");
        text.insert("use_sliding_window".into(), json!(true));
        text.insert("sliding_window".into(), json!(8));
        text.insert("layer_types".into(), kinds);
        fs::write(&path, config.to_string()).expect("written");
        convert(
            &checkpoint,
            folder.path(),
            &ConvertOptions::default(),
            &mut quiet,
        )
        .map(|_| ())
        .map_err(|error| error.to_string())
    };
    let error = sliding(json!(["full_attention", "sliding_attention"])).expect_err("refused");
    assert!(
        error.contains("use_sliding_window: found true, need false"),
        "{error}"
    );
    sliding(json!(["full_attention", "full_attention"])).expect("converted");
}

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
    ] {
        let folder = Folder::new("processors");
        let (file, inside) = processor(name);
        let at = (file, format!("{inside}/{key}"));
        let error = changed(name, &folder, (at.0, &at.1), value).expect_err("refused");
        assert!(error.contains(message), "{name} {key}: {error}");
    }
}
