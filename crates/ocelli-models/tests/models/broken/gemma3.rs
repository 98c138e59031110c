//! Gemma 3.

use super::{assert_projector_refused, assert_text_refused, done, f32s};
use crate::draft::Draft;
use ocelli_gguf::{Array, Value};

#[test]
fn text_models_that_contradict_themselves_are_refused() {
    assert_text_refused(
        "gemma3",
        &[
            (
                |draft| {
                    let list = Value::Array(Array::Bool(vec![true; 3]));
                    done(draft.set("gemma3.attention.sliding_window_pattern", list));
                },
                "sliding_window_pattern has 3 values, need 7",
            ),
            (
                set!("gemma3.attention.sliding_window_pattern", 0u32),
                "sliding_window_pattern is 0",
            ),
            (
                set!("gemma3.rope.freq_base_swa", f32::NAN),
                "freq_base_swa is NaN",
            ),
            (
                set!("gemma3.attn_logit_softcapping", 50.0f32),
                "attn_logit_softcapping is set",
            ),
            (
                without!(tensor "blk.3.post_ffw_norm.weight"),
                "missing tensor 'blk.3.post_ffw_norm.weight'",
            ),
            (
                |draft| done(draft.add_zeros("blk.0.attn_q.scale", &[4])),
                "tensor 'blk.0.attn_q.scale' is not used by gemma3",
            ),
        ],
    );
}

#[test]
fn projectors_that_contradict_themselves_are_refused() {
    assert_projector_refused(
        "gemma3",
        &[
            (set!("clip.vision.patch_size", 7u32), "patch_size 7"),
            (set!("clip.vision.image_size", 50u32), "image_size 50"),
            (
                set!("clip.vision.image_size", 72u32),
                "v.position_embd is for 8 x 8 patches, the image has 12 x 12",
            ),
            (
                set!("clip.vision.projector.scale_factor", 3u32),
                "cells of 3 patches do not divide an image of 8 patches a side",
            ),
            (
                set!("clip.vision.projector.scale_factor", 0u32),
                "scale_factor is 0",
            ),
            (
                set!("clip.vision.attention.head_count", 5u32),
                "head_count 5",
            ),
            (set!("clip.vision.block_count", 4u32), "block_count 4"),
            (
                set!("clip.vision.image_std", f32s(&[0.5, 0.0, 0.5])),
                "image_std[1] is 0",
            ),
            (
                without!(tensor "v.blk.1.attn_out.bias"),
                "missing tensor 'v.blk.1.attn_out.bias'",
            ),
            (
                without!(tensor "mm.soft_emb_norm.weight"),
                "missing tensor 'mm.soft_emb_norm.weight'",
            ),
        ],
    );
}
