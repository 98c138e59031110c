//! The counted arithmetic of prompts and pictures is what the models' sizes say.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ocelli_engine::{STEP_ROWS, text_work, vision_work};
use ocelli_gguf::{Gguf, TensorInfo};
use ocelli_image::Grid;
use ocelli_models::{load_text, load_vision};
use ocelli_tensor::Measure;

fn open(suite: &str, file: &str) -> Gguf {
    Gguf::open(&ocelli_testkit::goldens().join(suite).join(file)).unwrap()
}

/// Elements of the matrices whose names begin so.
fn elements(file: &Gguf, prefix: &str) -> u64 {
    let is_matrix = |info: &&TensorInfo| {
        let wide = info.shape().iter().filter(|n| **n > 1).count() > 1;
        info.name().starts_with(prefix) && info.name().ends_with("weight") && wide
    };
    let found = file.tensors().iter().filter(is_matrix);
    found.map(|info| info.elements() as u64).sum()
}

#[test]
fn a_prompt_row_meets_every_weight_of_the_layers_once_and_the_head_is_asked_once() {
    for suite in ["qwen2vl", "qwen3vl", "llama"] {
        let file = open(suite, "text.gguf");
        let model = load_text(&file, &Measure, &|_| {}).unwrap();
        let head = (model.hidden() * model.vocabulary()) as u64;
        for rows in [1, 7, STEP_ROWS] {
            let work = text_work(model.as_ref(), 0, rows);
            let expected = 2 * (rows as u64 * elements(&file, "blk.") + head);
            assert_eq!(work.products, expected, "{suite}, {rows} rows");
        }
    }
}

#[test]
fn a_step_behind_many_tokens_attends_to_all_of_them() {
    let file = open("qwen3vl", "text.gguf");
    let model = load_text(&file, &Measure, &|_| {}).unwrap();
    let heads = text_work(model.as_ref(), 0, 1).heads.unwrap();
    let layers = model.caches().len() as u64;
    let pairs = |cached: u64, rows: u64| rows * cached + rows * (rows + 1) / 2;
    for (cached, rows) in [(0, 1), (0, 64), (1000, 64)] {
        let work = text_work(model.as_ref(), cached as usize, rows as usize);
        let each = 4 * heads.query_columns() as u64 * layers;
        assert_eq!(work.attention, each * pairs(cached, rows));
    }
}

#[test]
fn a_picture_row_meets_every_weight_of_the_layers_once_and_windows_cost_their_windows() {
    let grid = |side| Grid {
        t: 1,
        h: side,
        w: side,
        merge: 2,
        tiles: None,
    };
    for suite in ["qwen2vl", "qwen2.5vl", "qwen3vl"] {
        let file = open(suite, "mmproj.gguf");
        let model = load_vision(&file, &Measure, &|_| {}).unwrap();
        let patch = model.patch_size() as usize;
        let cells = 3 * model.shape().moments as usize * patch * patch;
        let of = |side| vision_work(model.as_ref(), grid(side), cells);
        let (small, large) = (of(16), of(32));
        assert_eq!(large.products, 4 * small.products, "{suite}");
        let least = 2 * 256 * elements(&file, "v.blk.");
        assert!(
            small.products > least && small.products < 4 * least,
            "{suite}"
        );
        // Four times the patches are sixteen times the pairs, and only four times within windows.
        let growth = large.attention / small.attention;
        match suite {
            "qwen2.5vl" => assert!(growth < 16, "{growth}"),
            _ => assert_eq!(growth, 16, "{suite}"),
        }
    }
}
