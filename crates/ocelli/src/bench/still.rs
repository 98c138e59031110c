//! Names and shapes of the tensors of families that see still pictures alone (Gemma 3, Mistral 3,
//! Pixtral-12B, LLaVA), and their metadata, as llama.cpp's converter writes them.

use ocelli_gguf::{Array, Value};

use super::shape::{Family, Shape};
use super::tensors::{Tensors, linear, norm, number, push};

/// A key and its value below a prefix.
type Keys = Vec<(&'static str, Value)>;

/// What the text model says about itself below its architecture, beside what all do.
pub(super) fn text_keys(shape: &Shape) -> Keys {
    let sizes = &shape.text;
    let theta: f32 = match shape.family {
        Family::Llava => 1e4,
        // Mistral's texts have fewer heads of keys than of queries.
        Family::LlavaNext if sizes.kv_heads == sizes.heads => 1e4,
        Family::Gemma3 => 1e6,
        // The small ones of Mistral's family.
        _ if sizes.hidden < 5120 => 1e6,
        _ => 1e9,
    };
    let eps: f32 = if shape.family == Family::Gemma3 {
        1e-6
    } else {
        1e-5
    };
    let mut keys: Keys = vec![
        ("attention.layer_norm_rms_epsilon", eps.into()),
        ("rope.freq_base", theta.into()),
        ("attention.key_length", number(sizes.head_dim)),
        ("attention.value_length", number(sizes.head_dim)),
    ];
    match shape.family {
        Family::Gemma3 => keys.extend([
            ("attention.sliding_window", number(1024)),
            ("rope.freq_base_swa", 1e4f32.into()),
            ("rope.scaling.type", "linear".into()),
            ("rope.scaling.factor", 8f32.into()),
        ]),
        // Ministral 3, whose context is stretched.
        _ if sizes.context > 131_072 => keys.extend([
            ("rope.scaling.type", "yarn".into()),
            ("rope.scaling.factor", 16f32.into()),
            ("rope.scaling.original_context_length", number(16_384)),
            ("rope.scaling.yarn_log_multiplier", 1f32.into()),
            ("attention.temperature_scale", 0.1f32.into()),
        ]),
        _ => {}
    }
    keys
}

/// Tensors of a text layer that only some families have: norms of heads and behind each half.
pub(super) fn layer_norms(shape: &Shape) -> Vec<(&'static str, u64)> {
    let sizes = &shape.text;
    match shape.family {
        Family::Gemma3 => vec![
            ("attn_q_norm.weight", sizes.head_dim),
            ("attn_k_norm.weight", sizes.head_dim),
            ("post_attention_norm.weight", sizes.hidden),
            ("post_ffw_norm.weight", sizes.hidden),
        ],
        _ => Vec::new(),
    }
}

/// What the projector says below `clip.`, beside what all do.
pub(super) fn projector_keys(family: Family) -> Keys {
    let floats = |values: [f32; 3]| Value::Array(Array::F32(values.to_vec()));
    let (mean, std) = match family {
        Family::Gemma3 => ([0.5; 3], [0.5; 3]),
        _ => (
            [0.481_454_66, 0.457_827_5, 0.408_210_73],
            [0.268_629_54, 0.261_302_6, 0.275_777_1],
        ),
    };
    let eps: f32 = if family == Family::Gemma3 { 1e-6 } else { 1e-5 };
    let mut keys: Keys = vec![
        ("vision.image_mean", floats(mean)),
        ("vision.image_std", floats(std)),
        ("vision.attention.layer_norm_epsilon", eps.into()),
    ];
    match family {
        Family::Gemma3 => keys.push(("use_gelu", true.into())),
        Family::Llava | Family::LlavaNext => keys.push(("use_gelu", false.into())),
        Family::Mistral3 => {
            keys.push(("use_silu", true.into()));
            keys.push(("vision.spatial_merge_size", number(2)));
        }
        _ => keys.push(("use_silu", true.into())),
    }
    keys
}

/// Tensors of the vision encoder and its projector.
pub(super) fn projector(shape: &Shape) -> Tensors {
    let (sizes, family) = (&shape.vision, shape.family);
    let (width, patch) = (sizes.width, family.patch());
    let places = sizes.position_side * sizes.position_side;
    let mut list = Tensors::new();
    let kernel = [patch, patch, 3, width];
    push(&mut list, "v.patch_embd.weight".to_owned(), &kernel);
    let position = "v.position_embd.weight".to_owned();
    match family {
        Family::Gemma3 => {
            push(&mut list, "v.patch_embd.bias".to_owned(), &[width]);
            push(&mut list, position, &[width, places]);
            norm(&mut list, "v.post_ln", width, true);
        }
        family if family.has_clip() => {
            push(&mut list, "v.class_embd".to_owned(), &[width]);
            push(&mut list, position, &[width, places + 1]);
            norm(&mut list, "v.pre_ln", width, true);
        }
        _ => norm(&mut list, "v.pre_ln", width, false),
    }
    let is_plain = family == Family::Gemma3 || family.has_clip();
    for layer in 0..sizes.layers {
        let block = |name: &str| format!("v.blk.{layer}.{name}");
        let mut product = |name: &str, sizes: (u64, u64)| match is_plain {
            true => linear(&mut list, &block(name), sizes),
            false => push(&mut list, block(name) + ".weight", &[sizes.0, sizes.1]),
        };
        for name in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            product(name, (width, width));
        }
        product("ffn_up", (width, sizes.middle));
        product("ffn_down", (sizes.middle, width));
        if !is_plain {
            product("ffn_gate", (width, sizes.middle));
        }
        norm(&mut list, &block("ln1"), width, is_plain);
        norm(&mut list, &block("ln2"), width, is_plain);
    }
    merger(&mut list, shape);
    list
}

/// From the encoder's rows to the text model's.
fn merger(list: &mut Tensors, shape: &Shape) {
    let (width, hidden) = (shape.vision.width, shape.text.hidden);
    let mut plain = |name: &str, shape: &[u64]| push(list, format!("{name}.weight"), shape);
    match shape.family {
        Family::Gemma3 => {
            plain("mm.input_projection", &[hidden, width]);
            plain("mm.soft_emb_norm", &[width]);
        }
        Family::Mistral3 => {
            plain("mm.input_norm", &[width]);
            plain("mm.patch_merger", &[4 * width, width]);
            plain("mm.1", &[width, hidden]);
            plain("mm.2", &[hidden, hidden]);
        }
        family => {
            if family == Family::LlavaNext {
                push(list, "model.image_newline".to_owned(), &[hidden]);
            }
            let first = match family.has_clip() {
                true => "mm.0",
                false => "mm.1",
            };
            linear(list, first, (width, hidden));
            linear(list, "mm.2", (hidden, hidden));
        }
    }
}
