//! Projectors.

use super::{assert_projector_refused, assert_text_refused, done, f32s, i32s, text_of};
use crate::draft::Draft;

#[test]
fn projectors_of_other_kinds_are_refused_with_the_kinds_there_are() {
    assert_projector_refused(
        "qwen3vl",
        &[
            (
                set!("clip.projector_type", "ldp"),
                "projector type 'ldp' not supported; supported: qwen2vl_merger, qwen2.5vl_merger, qwen3vl_merger",
            ),
            (set!("clip.projector_type", 3u32), "clip.projector_type"),
            (
                set!("clip.has_vision_encoder", false),
                "has no vision encoder",
            ),
            (
                |draft| {
                    let sounds = draft.tensors()[0].clone();
                    *draft = text_of("qwen3vl");
                    draft.extend([sounds]).rename("v.", "a.");
                },
                "has no vision encoder",
            ),
            (
                |draft| done(draft.add_zeros("model.image_newline", &[24])),
                "tensor 'model.image_newline' is not used by qwen3vl_merger",
            ),
        ],
    );
}

#[test]
fn projector_sizes_that_contradict_its_tensors_are_refused() {
    assert_projector_refused(
        "qwen3vl",
        &[
            (
                set!("clip.vision.patch_size", 0u32),
                "patch_size 0 but v.patch_embd.weight is made for 16",
            ),
            (
                set!("clip.vision.patch_size", 14u32),
                "patch_size 14 but v.patch_embd.weight is made for 16",
            ),
            (
                set!("clip.vision.image_size", 8u32),
                "image_size 8 is no multiple of patch_size 16",
            ),
            (set!("clip.vision.image_size", 0u32), "image_size 0"),
            (
                set!("clip.vision.spatial_merge_size", 0u32),
                "merge 0 inconsistent with mm.0.weight",
            ),
            (
                set!("clip.vision.spatial_merge_size", 1u32),
                "merge 1 inconsistent with mm.0.weight",
            ),
            (
                set!("clip.vision.spatial_merge_size", 3u32),
                "merge 3 inconsistent with mm.0.weight",
            ),
            (
                set!("clip.vision.attention.head_count", 5u32),
                "vision head_count 5 does not divide width 24",
            ),
            (
                without!(key "clip.vision.attention.head_count"),
                "clip.vision.attention.head_count",
            ),
            (
                set!("clip.vision.block_count", 5u32),
                "block_count 5 but the tensors have 4 layers",
            ),
            (
                |draft| done(draft.rename("v.deepstack.2.", "v.deepstack.9.")),
                "deepstack on layer 9 but there are 4 layers",
            ),
            (
                |draft| done(draft.rename("v.blk.3.", "v.blk.18446744073709551614.")),
                "the tensors have 18446744073709551615 vision layers, need 1..=1024",
            ),
            (
                |draft| {
                    draft.take("clip.vision.block_count");
                    draft.rename("v.blk.3.", "v.blk.4000000000.");
                },
                "the tensors have 4000000001 vision layers, need 1..=1024",
            ),
        ],
    );
}

#[test]
fn colours_and_size_rules_that_cannot_be_are_refused() {
    assert_projector_refused(
        "qwen2vl",
        &[
            (
                without!(key "clip.vision.image_mean"),
                "image_mean is missing",
            ),
            (
                without!(key "clip.vision.image_std"),
                "image_std is missing",
            ),
            (
                set!("clip.vision.image_std", f32s(&[0.5, 0.5])),
                "image_std has 2 values, need 3",
            ),
            (
                set!("clip.vision.image_std", f32s(&[0.5, 0.0, 0.5])),
                "image_std[1] is 0",
            ),
            (
                set!("clip.vision.image_mean", f32s(&[0.5, 0.5, f32::NAN])),
                "image_mean[2] is NaN",
            ),
            (
                set!("clip.vision.image_mean", f32s(&[1e38, 0.5, 0.5])),
                "need a number from -1000 to 1000",
            ),
            (
                set!("clip.vision.image_std", f32s(&[0.5, 0.5, 1e-45])),
                "image_std[2] is 0.000000000",
            ),
            (
                set!("clip.vision.image_min_pixels", 1u32 << 31),
                "size rule",
            ),
            (set!("clip.vision.image_max_pixels", 10u32), "size rule"),
            (
                set!("clip.vision.image_min_pixels", -1i32),
                "clip.vision.image_min_pixels",
            ),
            (
                set!("clip.vision.attention.layer_norm_epsilon", f32::NAN),
                "layer_norm_epsilon is NaN",
            ),
            (
                |draft| {
                    draft.set("clip.use_gelu", true);
                    draft.set("clip.use_silu", true);
                },
                "clip.use_gelu and clip.use_silu are both true",
            ),
        ],
    );
}

#[test]
fn windows_that_cannot_be_are_refused() {
    assert_projector_refused(
        "qwen2.5vl",
        &[
            (
                set!("clip.vision.n_wa_pattern", 9u32),
                "n_wa_pattern is 9 but there are 4 layers",
            ),
            (
                set!("clip.vision.fullatt_block_indexes", i32s(&[1, 4])),
                "fullatt_block_indexes has layer 4 but there are 4 layers",
            ),
            (
                set!("clip.vision.window_size", 0u32),
                "window_size is 0 pixels, need at least 28",
            ),
            (
                set!("clip.vision.tokens_per_second", 1001u32),
                "tokens_per_second is 1001, need at most 1000",
            ),
        ],
    );
}

#[test]
fn a_missing_bias_is_refused_although_the_sum_could_be_made_without_it() {
    assert_text_refused(
        "qwen2",
        &[(
            without!(tensor "blk.1.attn_v.bias"),
            "missing tensor 'blk.1.attn_v.bias'",
        )],
    );
    assert_projector_refused(
        "qwen3vl",
        &[
            (
                without!(tensor "v.blk.2.ln2.bias"),
                "missing tensor 'v.blk.2.ln2.bias'",
            ),
            (
                without!(tensor "v.blk.2.attn_qkv.bias"),
                "missing tensor 'v.blk.2.attn_q.bias'",
            ),
            (
                without!(tensor "v.patch_embd.bias"),
                "missing tensor 'v.patch_embd.bias'",
            ),
            (
                without!(tensor "v.deepstack.1.fc2.bias"),
                "missing tensor 'v.deepstack.1.fc2.bias'",
            ),
            (without!(tensor "mm.2.bias"), "missing tensor 'mm.2.bias'"),
        ],
    );
    assert_projector_refused(
        "qwen2.5vl",
        &[(
            without!(tensor "v.blk.3.ffn_gate.bias"),
            "missing tensor 'v.blk.3.ffn_gate.bias'",
        )],
    );
}
