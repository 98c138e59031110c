//! Gemma 3: files of other tools run, and other families' halves are refused.

use crate::broken::{done, projector_of, text_of};
use crate::draft::Draft;
use crate::layouts::{assert_noted, changed, merged};
use ocelli_gguf::{Array, Value};
use ocelli_models::registry::{join, load_text};
use ocelli_tensor::{LayerCache, Measure};

/// Names of Ollama's merged files, and their keys, of which many are left out.
fn merge(text: &mut Draft, mut projector: Draft, tokens: u32) {
    projector
        .rename("v.patch_embd.", "v.patch_embedding.")
        .rename("v.position_embd.", "v.position_embedding.")
        .rename("v.post_ln.", "v.post_layernorm.")
        .rename(".ln1.", ".layer_norm1.")
        .rename(".ln2.", ".layer_norm2.")
        .rename(".attn_out.", ".attn_output.")
        .rename(".ffn_up.", ".mlp.fc1.")
        .rename(".ffn_down.", ".mlp.fc2.")
        .rename("mm.input_projection.", "mm.mm_input_projection.")
        .rename("mm.soft_emb_norm.", "mm.mm_soft_emb_norm.");
    for key in [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.layer_norm_epsilon",
        "image_size",
        "patch_size",
    ] {
        let value = projector.take(&format!("clip.vision.{key}"));
        text.set(&format!("gemma3.vision.{key}"), value);
    }
    text.set("gemma3.mm.tokens_per_image", tokens);
    let base = text.take("gemma3.rope.freq_base");
    text.set("gemma3.rope.global.freq_base", base);
    let base = text.take("gemma3.rope.freq_base_swa");
    text.set("gemma3.rope.local.freq_base", base);
    text.take("gemma3.attention.layer_norm_rms_epsilon");
    // Wrong in some of these files.
    text.set("gemma3.final_logit_softcapping", 30.0f32);
    text.extend(projector.tensors().to_vec());
}

#[test]
fn merged_files_of_ollama_run() {
    let notes = merged("gemma3", |text, projector| merge(text, projector, 4));
    assert_noted(&notes, "'gemma3' because of the tensors");
    assert_noted(&notes, "'v.blk.*.mlp.fc1.weight' is read as");
    merged("gemma3-mixed", |text, projector| merge(text, projector, 16));
}

#[test]
fn products_under_each_others_name_and_fused_projections_run() {
    let notes = changed("gemma3", |_, projector| {
        projector
            .rename(".ffn_up.", ".ffn_other.")
            .rename(".ffn_down.", ".ffn_up.")
            .rename(".ffn_other.", ".ffn_down.");
        for layer in projector.layers("v.blk.") {
            for end in ["weight", "bias"] {
                let parts = ["q", "k", "v"].map(|p| format!("{layer}attn_{p}.{end}"));
                projector.fuse(&parts, &format!("{layer}attn_qkv.{end}"));
            }
        }
    });
    assert_noted(&notes, "swapped");
}

#[test]
fn pattern_of_layers_may_be_stated_as_a_period_or_layer_by_layer() {
    changed("gemma3", |text, _| {
        text.set("gemma3.attention.sliding_window_pattern", 6u32);
    });
    changed("gemma3", |text, _| {
        let near = (1..=7).map(|layer| layer != 6).collect();
        let list = Value::Array(Array::Bool(near));
        text.set("gemma3.attention.sliding_window_pattern", list);
    });
}

/// How far the layers of a changed text model look back.
fn reach(change: impl FnOnce(&mut Draft)) -> Vec<LayerCache> {
    let mut text = text_of("gemma3");
    change(&mut text);
    let file = text.file("text.gguf");
    let model = load_text(&file, &Measure, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    model.caches().iter().map(|layer| layer.cache).collect()
}

#[test]
fn five_of_six_layers_look_over_a_window_that_may_be_larger_than_the_context() {
    let (near, wide) = (LayerCache::Window(12), LayerCache::Full);
    assert_eq!(reach(|_| ()), [near, near, near, near, near, wide, near]);
    let large = reach(|text| done(text.set("gemma3.attention.sliding_window", 1u32 << 30)));
    assert_eq!(large[0], LayerCache::Window(1 << 30));
    let none = reach(|text| done(text.take("gemma3.attention.sliding_window")));
    assert_eq!(none, [wide; 7]);
}

#[test]
fn projectors_of_other_families_are_refused_whatever_their_width() {
    let refusal = |text: &str, projector: &str| {
        let text = text_of(text).file("text.gguf");
        let projector = projector_of(projector).file("mmproj.gguf");
        join(&text, &projector).err().map(|error| error.to_string())
    };
    for (text, projector, words) in [
        (
            "gemma3",
            "qwen3vl",
            "'qwen3vl_merger' does not go with architecture 'gemma3'",
        ),
        (
            "qwen3vl",
            "gemma3",
            "'gemma3' does not go with architecture 'qwen3vl'",
        ),
    ] {
        let message = refusal(text, projector).unwrap_or_default();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(refusal("gemma3", "gemma3-mixed"), None);
}
