//! Every case of every golden model, from files to the last decoded token, as the reference computed it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ocelli::trace::{Trace, Values};
use ocelli::{Model, Options, Precision, Request, Source, messages};
use ocelli_testkit::{Case, Stage, Stages, Suite};
use std::path::Path;

/// Runs a case from its files, as `ocelli trace` does.
fn run(suite: &Suite, case: &Case) -> Stages {
    let budget = case.image_tokens.clone();
    let options = Options {
        projector: suite.mmproj.clone(),
        precision: Precision::F32,
        image_min_tokens: budget.as_ref().map(|b| *b.start()),
        image_max_tokens: budget.as_ref().map(|b| *b.end()),
        video_min_tokens: case.video_tokens.as_ref().map(|b| *b.start()),
        video_max_tokens: case.video_tokens.as_ref().map(|b| *b.end()),
        ..Options::default()
    };
    let source = Source::File(suite.text.clone());
    let mut model = Model::load(&source, &options, &mut |_, _| {}).unwrap();
    let messages = messages::from_openai(&case.messages().to_string(), Path::new("")).unwrap();
    let request = Request {
        pan_and_scan: case.pan_and_scan,
        ..Request::from_messages(messages)
    };
    let trace = model.trace(&request, case.decode);
    stages(trace.unwrap_or_else(|error| panic!("{}: {error}", case.name)))
}

fn stages(trace: Trace) -> Stages {
    let mut stages = Stages::default();
    for (name, entry) in trace.stages {
        let stage = match entry.values {
            Values::F32(values) => Stage::f32(&entry.shape, values),
            Values::I32(values) => Stage::i32(&entry.shape, values),
        };
        stages.insert(&name, stage);
    }
    stages
}

fn check(suite: &str) {
    let suite = Suite::load(suite);
    assert!(!suite.cases.is_empty(), "{} has no cases", suite.name);
    for case in &suite.cases {
        case.assert_stages(&run(&suite, case));
    }
}

macro_rules! golden {
    ($($test:ident: $suite:literal,)*) => {
        $(#[test]
        fn $test() {
            check($suite);
        })*

        #[test]
        fn every_suite_has_its_test() {
            assert_eq!(ocelli_testkit::suites(), [$($suite),*]);
        }
    };
}

golden! {
    gemma3_equals_the_reference_at_every_stage: "gemma3",
    gemma3_with_another_order_of_layers_equals_the_reference: "gemma3-layers",
    gemma3_with_blocks_beyond_its_window_and_crops_equals_the_reference: "gemma3-mixed",
    gemma3_without_eyes_equals_the_reference: "gemma3-text",
    llama_equals_the_reference_at_every_stage: "llama",
    llama_with_scaled_frequencies_equals_the_reference: "llama3-scaled",
    llava_equals_the_reference_at_every_stage: "llava",
    llava_with_the_last_layers_rows_equals_the_reference: "llava-mixed",
    llava_with_tiles_equals_the_reference_at_every_stage: "llava-next",
    llava_with_other_numbers_of_tiles_equals_the_reference: "llava-next-mixed",
    mistral3_equals_the_reference_at_every_stage: "mistral3",
    mistral3_with_a_window_and_a_wider_merger_equals_the_reference: "mistral3-mixed",
    pixtral_equals_the_reference_at_every_stage: "pixtral",
    qwen2_equals_the_reference_at_every_stage: "qwen2",
    qwen2_5vl_equals_the_reference_at_every_stage: "qwen2.5vl",
    qwen2_5vl_with_other_windows_equals_the_reference: "qwen2.5vl-mixed",
    videos_at_another_pace_equal_the_reference: "qwen2.5vl-mixed-video",
    videos_of_qwen2_5vl_equal_the_reference_at_every_stage: "qwen2.5vl-video",
    qwen2vl_equals_the_reference_at_every_stage: "qwen2vl",
    videos_of_qwen2vl_equal_the_reference_at_every_stage: "qwen2vl-video",
    qwen3_equals_the_reference_at_every_stage: "qwen3",
    qwen3vl_equals_the_reference_at_every_stage: "qwen3vl",
    qwen3vl_with_mixed_types_and_untied_output_equals_the_reference: "qwen3vl-mixed",
    qwen3vl_mixture_of_experts_equals_the_reference: "qwen3vl-moe",
    videos_of_qwen3vl_mixture_of_experts_equal_the_reference_at_every_stage: "qwen3vl-moe-video",
    videos_of_qwen3vl_equal_the_reference_at_every_stage: "qwen3vl-video",
}
