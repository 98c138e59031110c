//! Files that are sound but do not belong together.

use super::{projector_of, text_of};
use crate::draft::Draft;
use ocelli_models::registry::{check_fit, join, load_text, load_vision};
use ocelli_tensor::Measure;

/// What is wrong with a pair.
fn misfit(text: &Draft, projector: &Draft) -> String {
    let (text, projector) = (text.file("text.gguf"), projector.file("mmproj.gguf"));
    if let Err(error) = join(&text, &projector) {
        return error.to_string();
    }
    let model = load_text(&text, &Measure, &|_| ()).unwrap();
    let vision = load_vision(&projector, &Measure, &|_| ()).unwrap();
    let fit = check_fit((&text, model.as_ref()), (&projector, vision.as_ref()));
    fit.unwrap_err().to_string()
}

#[test]
fn halves_of_different_models_are_refused_with_both_widths() {
    let message = misfit(&text_of("qwen3vl"), &projector_of("qwen3vl-mixed"));
    assert!(
        message.contains("mmproj outputs 64, model expects 32: wrong mmproj for this model"),
        "{message}"
    );
    assert!(message.contains("text.gguf") && message.contains("mmproj.gguf"));
}

#[test]
fn projector_of_another_family_is_refused_whatever_its_width() {
    let message = misfit(&text_of("qwen2vl"), &projector_of("qwen3vl-mixed"));
    assert!(message.contains("'qwen3vl_merger' does not go with architecture 'qwen2vl'"));
    let message = misfit(&text_of("qwen2"), &projector_of("qwen2vl"));
    assert!(message.contains("'qwen2vl_merger' does not go with architecture 'qwen2'"));
}

#[test]
fn projectors_of_mistral_and_llava_do_not_go_with_each_others_architecture() {
    let message = misfit(&text_of("mistral3"), &projector_of("llava"));
    assert!(message.contains("'mlp' does not go with architecture 'mistral3'"));
    let message = misfit(&text_of("llava"), &projector_of("mistral3"));
    assert!(message.contains("mmproj outputs 40, model expects 48"));
    let message = misfit(&text_of("qwen2vl"), &projector_of("pixtral"));
    assert!(message.contains("'pixtral' does not go with architecture 'qwen2vl'"));
}

#[test]
fn a_llava_projector_is_refused_by_pixtrals_vocabulary_though_both_texts_are_llama() {
    // Of equal width in the published models: 5120 in Pixtral-12B and LLaVA-1.5-13B.
    let message = misfit(&text_of("pixtral"), &projector_of("llava"));
    assert!(
        message.contains("'mlp' does not go with a vocabulary that has '[IMG]'"),
        "{message}"
    );
}

#[test]
fn gemma_goes_with_no_projector_but_its_own() {
    // Both are 32 wide.
    let message = misfit(&text_of("gemma3"), &projector_of("qwen3vl"));
    assert!(message.contains("'qwen3vl_merger' does not go with architecture 'gemma3'"));
    let message = misfit(&text_of("qwen3vl"), &projector_of("gemma3"));
    assert!(message.contains("'gemma3' does not go with architecture 'qwen3vl'"));
}

#[test]
fn deepstack_counts_that_differ_are_refused() {
    let mut text = text_of("qwen3vl");
    text.set("qwen3vl.n_deepstack_layers", 3u32);
    let message = misfit(&text, &projector_of("qwen3vl"));
    assert!(message.contains("mmproj has 2 deepstack outputs, model expects 3"));
}
