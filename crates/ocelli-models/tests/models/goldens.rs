//! Every architecture against the reference, stage by stage: see `tests/goldens/README.md`.

use crate::run::Model;
use ocelli_gguf::Gguf;
use ocelli_testkit::Suite;

fn open(suite: &Suite) -> Model {
    let text = Gguf::open(&suite.text).unwrap();
    let projector = suite.mmproj.as_ref().map(|path| Gguf::open(path).unwrap());
    Model::load(&text, projector.as_ref()).unwrap_or_else(|error| panic!("{error}"))
}

/// All cases of a suite, each with its prompt in one step.
fn assert_suite(name: &str) {
    let suite = Suite::load(name);
    let model = open(&suite);
    for case in &suite.cases {
        case.assert_stages(&model.run(case, usize::MAX));
    }
}

/// A prompt cut anywhere, pictures too, gives the same bits.
fn assert_cuts(name: &str, case: &str) {
    let suite = Suite::load(name);
    let model = open(&suite);
    let case = suite.case(case);
    let whole = model.run(case, usize::MAX);
    for chunk in [1, 7] {
        assert!(model.run(case, chunk) == whole, "{name}: chunks of {chunk}");
    }
}

#[test]
fn qwen3vl_equals_the_reference() {
    assert_suite("qwen3vl");
    assert_suite("qwen3vl-mixed");
}

#[test]
fn qwen3vl_gives_the_same_bits_however_the_prompt_is_cut() {
    assert_cuts("qwen3vl-mixed", "second_turn_with_second_image");
}

#[test]
fn qwen3vl_moe_equals_the_reference() {
    assert_suite("qwen3vl-moe");
}

#[test]
fn qwen3vl_moe_gives_the_same_bits_however_the_prompt_is_cut() {
    assert_cuts("qwen3vl-moe", "second_turn_with_second_image");
}

#[test]
fn qwen2vl_equals_the_reference() {
    assert_suite("qwen2vl");
}

#[test]
fn qwen25vl_equals_the_reference_with_whole_and_ragged_windows() {
    assert_suite("qwen2.5vl");
    assert_suite("qwen2.5vl-mixed");
}

#[test]
fn mistral3_and_pixtral_equal_the_reference() {
    assert_suite("mistral3");
    assert_suite("mistral3-mixed");
    assert_suite("pixtral");
}

#[test]
fn mistral3_gives_the_same_bits_however_the_prompt_is_cut() {
    assert_cuts("mistral3", "second_turn_with_second_image");
    assert_cuts("mistral3-mixed", "second_turn_with_second_image");
}

#[test]
fn llava_equals_the_reference() {
    assert_suite("llava");
    assert_suite("llava-mixed");
    assert_suite("llava-next");
    assert_suite("llava-next-mixed");
}

#[test]
fn llava_with_tiles_gives_the_same_bits_however_the_prompt_is_cut() {
    assert_cuts("llava-next", "second_turn_with_second_image");
}

#[test]
fn gemma3_equals_the_reference_with_blocks_within_and_beyond_its_window() {
    assert_suite("gemma3");
    assert_suite("gemma3-mixed");
}

#[test]
fn gemma3_gives_the_same_bits_however_the_prompt_is_cut_between_blocks() {
    assert_cuts("gemma3", "second_turn_with_second_image");
    assert_cuts("gemma3-mixed", "two_adjacent_images");
}

#[test]
fn text_models_without_eyes_equal_the_reference() {
    for name in [
        "qwen2",
        "qwen3",
        "llama",
        "llama3-scaled",
        "gemma3-text",
        "gemma3-layers",
    ] {
        assert_suite(name);
    }
}

#[test]
fn every_suite_is_run() {
    let run = [
        "gemma3",
        "gemma3-layers",
        "gemma3-mixed",
        "gemma3-text",
        "llama",
        "llama3-scaled",
        "llava",
        "llava-mixed",
        "llava-next",
        "llava-next-mixed",
        "mistral3",
        "mistral3-mixed",
        "pixtral",
        "qwen2",
        "qwen2.5vl",
        "qwen2.5vl-mixed",
        "qwen2vl",
        "qwen3",
        "qwen3vl",
        "qwen3vl-mixed",
        "qwen3vl-moe",
    ];
    // How frames become patches is the library's: `crates/ocelli/tests/goldens.rs` runs the videos.
    let mut suites = ocelli_testkit::suites();
    suites.retain(|name| !name.ends_with("-video"));
    assert_eq!(suites, run);
}
