//! Mistral 3, Pixtral-12B and LLaVA-1.5 as other tools write them, and broken.

use crate::broken::{assert_projector_refused, assert_text_refused, done, i32s};
use crate::draft::{Draft, Tensor};
use crate::layouts::{assert_noted, changed, merged};
use ocelli_gguf::{Array, Value};

/// Rows of a projection from neighbours that turn together to halves that do.
fn to_halves(tensor: &mut Tensor, heads: usize) {
    let rows = *tensor.shape.last().unwrap() as usize;
    let (row, half) = (tensor.data.len() / rows, rows / heads / 2);
    let stored = tensor.data.clone();
    for head in 0..heads {
        for side in 0..2 {
            for pair in 0..half {
                let to = (head * 2 + side) * half + pair;
                let from = (head * half + pair) * 2 + side;
                tensor.data[to * row..(to + 1) * row]
                    .copy_from_slice(&stored[from * row..(from + 1) * row]);
            }
        }
    }
}

/// Names, keys and order of rows of Ollama's `mistral3` files.
fn merge_mistral3(text: &mut Draft, mut projector: Draft) {
    for layer in projector.layers("v.blk.") {
        for part in ["attn_q", "attn_k"] {
            to_halves(projector.tensor(&format!("{layer}{part}.weight")), 2);
        }
    }
    projector
        .rename("v.patch_embd.", "v.patch_conv.")
        .rename("v.pre_ln.", "v.encoder_norm.")
        .rename(".ln1.", ".attn_norm.")
        .rename(".ln2.", ".ffn_norm.")
        .rename(".attn_out.", ".attn_output.")
        .rename("mm.input_norm.", "mm.norm.")
        .rename("mm.patch_merger.", "mm.patch_merger.merging_layer.")
        .rename("mm.1.", "mm.linear_1.")
        .rename("mm.2.", "mm.linear_2.");
    let vision = "mistral3.vision.";
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
        text.set(&format!("{vision}{key}"), value);
    }
    let scaling = "mistral3.rope.scaling.";
    for key in ["beta_fast", "beta_slow"] {
        let value = text.take(&format!("{scaling}yarn_{key}"));
        text.set(&format!("{scaling}{key}"), value);
    }
    let all = text.take(&format!("{scaling}yarn_log_multiplier"));
    let growth = text.take("mistral3.attention.temperature_scale");
    text.set(&format!("{scaling}mscale_all_dim"), all)
        .set(&format!("{scaling}mscale"), 1.0f32)
        .set("mistral3.rope.scaling_beta", growth)
        .set(&format!("{vision}attention.key_length"), 16u32)
        .set(&format!("{vision}num_channels"), 3u32)
        .set(&format!("{vision}rope.freq_base"), 1e4f32)
        .set("mistral3.spatial_merge_size", 2u32)
        .set("mistral3.image_token_index", 10u32)
        .set("mistral3.mm.projector_bias", false)
        .set("tokenizer.ggml.pre", "default")
        .extend(projector.tensors().to_vec());
}

#[test]
fn ollama_file_of_mistral3_runs_though_its_encoder_turns_halves() {
    let notes = merged("mistral3", merge_mistral3);
    assert_noted(
        &notes,
        "'v.blk.*.attn_norm.weight' is read as 'v.blk.*.ln1.weight'",
    );
    assert_noted(&notes, "'pixtral' because of the tensors");
}

#[test]
fn break_row_of_the_projector_is_accepted_and_the_text_models_own_is_used() {
    changed("mistral3", |_, projector| {
        projector.add_zeros("v.token_embd.img_break", &[40]);
    });
}

#[test]
fn pixtral_projector_that_states_no_type_runs() {
    changed("mistral3", |_, projector| {
        projector.take("clip.projector_type");
    });
}

#[test]
fn magnitudes_of_yarn_are_the_references_with_and_without_a_share() {
    // 1 over 1 and 0.5 over 0.5 are both one.
    changed("mistral3", |text, _| {
        text.set("mistral3.rope.scaling.yarn_log_multiplier", 0.5f32)
            .set("mistral3.rope.scaling.mscale", 0.5f32);
    });
}

#[test]
fn oldest_llava_projectors_that_state_no_type_run() {
    let notes = changed("llava", |_, projector| {
        projector.take("clip.projector_type");
    });
    assert_noted(&notes, "'mlp' because of the tensors");
    assert_noted(
        &notes,
        "'ffn_up' and 'ffn_down' of the vision layers are swapped",
    );
}

#[test]
fn llava_projectors_with_right_names_or_layers_that_are_not_run_give_the_same() {
    changed("llava", |_, projector| {
        projector
            .rename(".ffn_up.", ".ffn_between.")
            .rename(".ffn_down.", ".ffn_up.")
            .rename(".ffn_between.", ".ffn_down.");
        let last: Vec<Tensor> = projector
            .tensors()
            .iter()
            .filter(|tensor| tensor.name.starts_with("v.blk.2."))
            .cloned()
            .map(|tensor| Tensor {
                name: tensor.name.replace("v.blk.2.", "v.blk.3."),
                ..tensor
            })
            .collect();
        projector
            .extend(last)
            .add_zeros("v.post_ln.weight", &[32])
            .add_zeros("v.post_ln.bias", &[32])
            .set("clip.vision.block_count", 4u32)
            .set("clip.vision.feature_layer", i32s(&[3]));
    });
}

#[test]
fn broken_pixtral_projectors_are_refused() {
    assert_projector_refused(
        "mistral3",
        &[
            (
                set!("clip.vision.spatial_merge_size", 4u32),
                "spatial_merge_size is 4, mm.patch_merger.weight is made for 2",
            ),
            (
                without!(tensor "mm.input_norm.weight"),
                "missing tensor 'mm.input_norm.weight'",
            ),
            (
                |draft| done(draft.add_zeros("mm.1.bias", &[40])),
                "missing tensor 'mm.2.bias'",
            ),
            (
                |draft| done(draft.add_zeros("v.token_embd.img_break", &[41])),
                "tensor 'v.token_embd.img_break' has shape [41], need [40]",
            ),
            (
                set!("clip.vision.image_size", 84u32),
                "patch_size 8 and image_size 84",
            ),
            (
                set!("clip.vision.attention.head_count", 16u32),
                "vision heads have 2 elements, need a multiple of 4",
            ),
            (
                set!("clip.use_gelu", true),
                "clip.use_gelu and clip.use_silu are both true",
            ),
            (set!("clip.projector_type", "qwen2vl_merger"), "mm.0.weight"),
        ],
    );
}

#[test]
fn broken_llava_projectors_are_refused() {
    assert_projector_refused(
        "llava",
        &[
            (
                without!(tensor "v.class_embd"),
                "missing tensor 'v.class_embd'",
            ),
            (
                set!("clip.vision.image_size", 70u32),
                "tensor 'v.position_embd.weight' has shape [32, 17], need [32, 26]",
            ),
            (
                without!(tensor "v.blk.1.attn_k.bias"),
                "missing tensor 'v.blk.1.attn_k.bias'",
            ),
            (
                set!("clip.vision.feature_layer", i32s(&[1, 2])),
                "clip.vision.feature_layer is [1, 2], need one layer",
            ),
            (
                set!("clip.vision.block_count", 4u32),
                "block_count 4 but the tensors have 3 layers",
            ),
            (set!("clip.projector_type", "pixtral"), "missing tensor"),
        ],
    );
}

#[test]
fn broken_stretching_of_mistral3_is_refused() {
    assert_text_refused(
        "mistral3",
        &[
            (
                set!("mistral3.attention.temperature_scale", f32::NAN),
                "attention.temperature_scale is NaN",
            ),
            (
                set!("mistral3.attention.temperature_scale", -1.0f32),
                "attention.temperature_scale is -1",
            ),
            (
                set!("mistral3.rope.scaling.original_context_length", 0u32),
                "original_context_length is 0",
            ),
            (
                set!("mistral3.rope.dimension_count", 8u32),
                "needs rope.dimension_count 16 (a whole head)",
            ),
            (
                set!("mistral3.rope.scaling.yarn_log_multiplier", f32::INFINITY),
                "yarn_log_multiplier",
            ),
            (
                set!(
                    "mistral3.attention.key_length",
                    Value::Array(Array::I32(vec![16]))
                ),
                "key_length",
            ),
        ],
    );
}
