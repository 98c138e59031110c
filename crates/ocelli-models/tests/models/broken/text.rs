//! Text models.

use super::{Break, assert_text_refused, done, i32s, text_of};
use crate::draft::Draft;
use ocelli_models::registry::load_text;
use ocelli_models::{Part, normalise};
use ocelli_tensor::Measure;

#[test]
fn architectures_and_sizes_that_cannot_be_are_refused_with_both_values() {
    assert_text_refused(
        "qwen3vl",
        &[
            (
                set!("general.architecture", "nosuch"),
                "architecture 'nosuch' not supported; supported: qwen2vl, qwen3vl",
            ),
            (
                set!("general.architecture", "\u{1b}[2Jqwen\n3vl"),
                "architecture '\\u{1b}[2Jqwen\\n3vl' not supported",
            ),
            (set!("general.architecture", 7u32), "general.architecture"),
            (without!(key "general.architecture"), "general.architecture"),
            (
                set!("qwen3vl.block_count", 0u32),
                "block_count is 0, need 1..=1024",
            ),
            (
                set!("qwen3vl.block_count", 5000u32),
                "block_count is 5000, need 1..=1024",
            ),
            (
                set!("qwen3vl.block_count", 3u32),
                "tensor 'blk.3.attn_k.weight' is not used by qwen3vl (and 10 more)",
            ),
            (
                set!("qwen3vl.block_count", 5u32),
                "missing tensor 'blk.4.attn_q.weight'",
            ),
            (
                set!("qwen3vl.embedding_length", 64u32),
                "embedding_length 64 but token_embd has 32",
            ),
            (
                set!("qwen3vl.embedding_length", 0u32),
                "embedding_length is 0, need 1..=65536",
            ),
            (
                set!("qwen3vl.embedding_length", u32::MAX),
                "embedding_length is 4294967295, need 1..=65536",
            ),
            (set!("qwen3vl.context_length", 0u32), "context_length is 0"),
            (
                set!("qwen3vl.feed_forward_length", 64u32),
                "has shape [32, 96], need [32, 64]",
            ),
            (
                without!(key "qwen3vl.feed_forward_length"),
                "feed_forward_length is missing",
            ),
        ],
    );
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    assert_text_refused(
        "qwen2vl",
        &[
            (
                set!("qwen2vl.attention.head_count", 0u32),
                "attention.head_count is 0, need 1..=1024",
            ),
            (
                set!("qwen2vl.attention.head_count", "four"),
                "qwen2vl.attention.head_count",
            ),
            (
                set!("qwen2vl.attention.head_count", 3u32),
                "head_count_kv 2 does not divide head_count 3",
            ),
            (
                |draft| {
                    draft.set("qwen2vl.attention.head_count_kv", 3u32);
                    draft.set("qwen2vl.attention.head_count", 3u32);
                },
                "head_count 3 does not divide n_embd 64",
            ),
            (
                set!("qwen2vl.attention.head_count", i32s(&[4, 4])),
                "one for each of 3 layers",
            ),
            (
                set!("qwen2vl.attention.head_count", i32s(&[4, 4, 2])),
                "differs between layers (4 and 2)",
            ),
            (
                set!("qwen2vl.attention.key_length", 17u32),
                "key_length 17 and value_length 17",
            ),
            (set!("qwen2vl.attention.key_length", 0u32), "key_length 0"),
            (
                set!("qwen2vl.attention.value_length", 8u32),
                "key_length 16 and value_length 8",
            ),
        ],
    );
}

#[test]
fn numbers_that_are_none_are_refused() {
    assert_text_refused(
        "qwen3vl",
        &[
            (
                set!("qwen3vl.attention.layer_norm_rms_epsilon", f32::NAN),
                "rms_norm_eps is NaN",
            ),
            (
                |draft| drop(draft.take("qwen3vl.attention.layer_norm_rms_epsilon")),
                "metadata key 'qwen3vl.attention.layer_norm_rms_epsilon' is missing",
            ),
            (
                set!("qwen3vl.attention.layer_norm_rms_epsilon", -1e-6f32),
                "rms_norm_eps is -0.000001",
            ),
            (
                set!("qwen3vl.rope.freq_base", f32::NAN),
                "rope.freq_base is NaN",
            ),
            (set!("qwen3vl.rope.freq_base", 0f32), "rope.freq_base is 0"),
            (
                set!("qwen3vl.rope.freq_base", f32::INFINITY),
                "rope.freq_base is inf",
            ),
            (
                set!("qwen3vl.rope.freq_base", f32::from_bits(1)),
                "need a number from 1e-6 to 1e12",
            ),
            (
                set!("qwen3vl.rope.dimension_sections", i32s(&[6, 5, 4, 0])),
                "add up to 15, need 16",
            ),
            (
                set!("qwen3vl.rope.dimension_sections", i32s(&[6, 5])),
                "need time, height, width",
            ),
            (
                set!("qwen3vl.rope.dimension_sections", i32s(&[-6, 11, 11, 0])),
                "need time, height, width",
            ),
            (
                set!("qwen3vl.rope.dimension_count", 33u32),
                "rope.dimension_count is 33, need an even number up to 32",
            ),
            (
                |draft| {
                    draft.set("qwen3vl.rope.scaling.type", "dynamic");
                    draft.set("qwen3vl.rope.scaling.factor", 2f32);
                },
                "rope.scaling.type is 'dynamic', need none, linear or yarn",
            ),
            (
                set!("qwen3vl.rope.scaling.factor", f32::NAN),
                "rope.scaling.factor is NaN",
            ),
        ],
    );
}

#[test]
fn qwen2vl_without_sections_is_refused_since_positions_would_be_wrong() {
    let cases: [(Break, &str); 1] = [(
        without!(key "qwen2vl.rope.dimension_sections"),
        "rope.dimension_sections is missing; without it image positions are unknown",
    )];
    assert_text_refused("qwen2vl", &cases);
}

#[test]
fn experts_that_cannot_be_are_refused() {
    assert_text_refused(
        "qwen3vl-moe",
        &[
            (
                set!("qwen3vlmoe.expert_used_count", 7u32),
                "expert_used_count 7 exceeds expert_count 6",
            ),
            (
                set!("qwen3vlmoe.expert_used_count", 0u32),
                "expert_used_count is 0",
            ),
            (
                set!("qwen3vlmoe.expert_count", 1u32 << 20),
                "expert_count is 1048576, need 1..=4096",
            ),
            (
                set!("qwen3vlmoe.expert_count", 8u32),
                "has shape [32, 6], need [32, 8]",
            ),
            (
                set!("qwen3vlmoe.expert_feed_forward_length", 40u32),
                "has shape [32, 48, 6], need [32, 40, 6]",
            ),
            (
                set!("qwen3vlmoe.norm_top_k_prob", false),
                "norm_top_k_prob is false",
            ),
        ],
    );
}

#[test]
fn missing_extra_and_misshapen_tensors_are_refused_by_name() {
    assert_text_refused(
        "qwen3vl",
        &[
            (
                without!(tensor "output_norm.weight"),
                "missing tensor 'output_norm.weight'",
            ),
            (
                without!(tensor "token_embd.weight"),
                "missing tensor 'token_embd.weight'",
            ),
            (
                without!(tensor "blk.1.attn_k_norm.weight"),
                "missing tensor 'blk.1.attn_k_norm.weight'",
            ),
            (
                |draft| done(draft.add_zeros("blk.0.attn_q.bais", &[128])),
                "tensor 'blk.0.attn_q.bais' is not used by qwen3vl",
            ),
            (
                |draft| draft.tensor("output_norm.weight").shape = vec![16, 2],
                "tensor 'output_norm.weight' has shape [16, 2], need [32]",
            ),
            (
                |draft| draft.tensor("token_embd.weight").shape = vec![32 * 608],
                "missing tensor 'token_embd.weight' of two dimensions",
            ),
        ],
    );
}

#[test]
fn tensors_that_carry_nothing_are_left_out_with_a_note() {
    let mut draft = text_of("qwen3vl");
    draft.add_zeros("rope_freqs.weight", &[16]);
    draft.add_zeros("cls_out.weight", &[32, 2]);
    draft.add_zeros("blk.3.nextn.enorm.weight", &[32]);
    draft.add_zeros("blk.0.attn_q.input_scale", &[1]);
    let file = draft.file("text.gguf");
    load_text(&file, &Measure, &|_| ()).map(|_| ()).unwrap();
    assert_eq!(normalise(&file, Part::Text).unwrap().notes().len(), 4);
}
