//! Settings of a checkpoint that change what a model computes: each is in the file, or refused by its name.

use std::fs;

use common::changed::{changed, metadata, processor, read};
use common::{Folder, copy_of, quiet};
use ocelli_convert::{ConvertOptions, RewriteOptions, convert, repair};
use serde_json::{Value as Json, json};

mod common;

const CONFIG: &str = "config.json";

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
