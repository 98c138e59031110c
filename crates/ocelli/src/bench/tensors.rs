//! Names and shapes of a model's tensors, and its metadata, as llama.cpp's converter writes them.

use ocelli_gguf::{Array, Value};

use super::shape::{Family, Shape};
use super::still;

/// Name and shape (fastest-varying first) of each tensor.
pub(super) type Tensors = Vec<(String, Vec<u64>)>;

pub(super) fn number(value: u64) -> Value {
    Value::U32(u32::try_from(value).unwrap_or(u32::MAX))
}

/// Hyper-parameters of the text model, without its vocabulary.
pub(super) fn text_metadata(shape: &Shape) -> Vec<(String, Value)> {
    let (sizes, architecture) = (&shape.text, shape.family.architecture());
    let mut own = vec![
        ("block_count", number(sizes.layers)),
        ("context_length", number(sizes.context)),
        ("embedding_length", number(sizes.hidden)),
        ("feed_forward_length", number(sizes.middle)),
        ("attention.head_count", number(sizes.heads)),
        ("attention.head_count_kv", number(sizes.kv_heads)),
    ];
    own.extend(match shape.family.is_still() {
        true => still::text_keys(shape),
        false => qwen_keys(shape),
    });
    let general = general(architecture, "model", shape.name);
    let own = own
        .into_iter()
        .map(|(key, value)| (format!("{architecture}.{key}"), value));
    general.into_iter().chain(own).collect()
}

fn qwen_keys(shape: &Shape) -> Vec<(&'static str, Value)> {
    let (sizes, is_third) = (&shape.text, shape.family.is_third());
    // Frequencies of each axis: a fourth or three eighths of the half head for time, the rest for
    // both others.
    let half = i32::try_from(sizes.head_dim / 2).unwrap_or(0);
    let place = if is_third {
        half * 5 / 16
    } else {
        half * 3 / 8
    };
    let sections = Array::I32(vec![half - 2 * place, place, place, 0]);
    let theta = if is_third { 5e6 } else { 1e6 };
    let mut own = vec![
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("rope.freq_base", Value::F32(theta)),
        ("rope.dimension_sections", Value::Array(sections)),
    ];
    if is_third {
        own.push(("attention.key_length", number(sizes.head_dim)));
        own.push(("attention.value_length", number(sizes.head_dim)));
        own.push(("n_deepstack_layers", number(shape.vision.taps.len() as u64)));
    }
    if let Some((experts, used, middle)) = sizes.experts {
        own.push(("expert_count", number(experts)));
        own.push(("expert_used_count", number(used)));
        own.push(("expert_feed_forward_length", number(middle)));
    }
    own
}

fn general(architecture: &str, kind: &str, name: &str) -> Vec<(String, Value)> {
    [
        ("general.architecture", architecture),
        ("general.type", kind),
        ("general.name", name),
    ]
    .map(|(key, value)| (key.to_owned(), value.into()))
    .to_vec()
}

/// Everything that a projector says about itself.
pub(super) fn projector_metadata(shape: &Shape) -> Vec<(String, Value)> {
    let (sizes, family) = (&shape.vision, shape.family);
    let image = match family.is_third() || family.is_still() {
        true => sizes.position_side * family.patch(),
        false => 560,
    };
    let mut metadata = general("clip", "mmproj", shape.name);
    let mut set = |key: &str, value: Value| metadata.push((format!("clip.{key}"), value));
    set("has_vision_encoder", Value::Bool(true));
    set("projector_type", family.projector().into());
    set("vision.projection_dim", number(shape.text.hidden));
    set("vision.image_size", number(image));
    set("vision.patch_size", number(family.patch()));
    set("vision.embedding_length", number(sizes.width));
    set("vision.feed_forward_length", number(sizes.middle));
    set("vision.block_count", number(sizes.layers));
    set("vision.attention.head_count", number(sizes.heads));
    let own = match family.is_still() {
        true => still::projector_keys(family),
        false => qwen_projector_keys(shape),
    };
    own.into_iter().for_each(|(key, value)| set(key, value));
    metadata
}

fn qwen_projector_keys(shape: &Shape) -> Vec<(&'static str, Value)> {
    let (sizes, is_third) = (&shape.vision, shape.family.is_third());
    let (mean, std) = match is_third {
        true => ([0.5; 3], [0.5; 3]),
        false => (
            [0.481_454_66, 0.457_827_5, 0.408_210_73],
            [0.268_629_54, 0.261_302_6, 0.275_777_1],
        ),
    };
    let floats = |values: [f32; 3]| Value::Array(Array::F32(values.to_vec()));
    let mut keys = vec![
        ("vision.attention.layer_norm_epsilon", Value::F32(1e-6)),
        ("vision.image_mean", floats(mean)),
        ("vision.image_std", floats(std)),
    ];
    if shape.family == Family::Qwen25Vl {
        keys.push(("use_silu", Value::Bool(true)));
        keys.push(("vision.n_wa_pattern", number(8)));
    }
    if is_third {
        let taps = (0..sizes.layers).map(|i| sizes.taps.contains(&i)).collect();
        keys.push(("use_gelu", Value::Bool(true)));
        keys.push(("vision.spatial_merge_size", number(2)));
        let taps = Value::Array(Array::Bool(taps));
        keys.push(("vision.is_deepstack_layers", taps));
    }
    keys
}

pub(super) fn push(list: &mut Tensors, name: String, shape: &[u64]) {
    list.push((name, shape.to_vec()));
}

/// `{name}.weight` and `{name}.bias` of a product.
pub(super) fn linear(list: &mut Tensors, name: &str, (inputs, outputs): (u64, u64)) {
    push(list, format!("{name}.weight"), &[inputs, outputs]);
    push(list, format!("{name}.bias"), &[outputs]);
}

/// `{name}.weight` and, unless it is an RMS norm, `{name}.bias`.
pub(super) fn norm(list: &mut Tensors, name: &str, width: u64, has_bias: bool) {
    push(list, format!("{name}.weight"), &[width]);
    if has_bias {
        push(list, format!("{name}.bias"), &[width]);
    }
}

/// Tensors of the text model.
pub(super) fn text(shape: &Shape) -> Tensors {
    let (sizes, is_third) = (&shape.text, shape.family.is_third());
    let hidden = sizes.hidden;
    let (query, key) = (
        sizes.heads * sizes.head_dim,
        sizes.kv_heads * sizes.head_dim,
    );
    let mut list = Tensors::new();
    push(
        &mut list,
        "token_embd.weight".to_owned(),
        &[hidden, sizes.vocabulary],
    );
    push(&mut list, "output_norm.weight".to_owned(), &[hidden]);
    if !sizes.is_tied {
        push(
            &mut list,
            "output.weight".to_owned(),
            &[hidden, sizes.vocabulary],
        );
    }
    for layer in 0..sizes.layers {
        let mut add =
            |name: &str, shape: &[u64]| push(&mut list, format!("blk.{layer}.{name}"), shape);
        add("attn_norm.weight", &[hidden]);
        add("attn_q.weight", &[hidden, query]);
        add("attn_k.weight", &[hidden, key]);
        add("attn_v.weight", &[hidden, key]);
        add("attn_output.weight", &[query, hidden]);
        add("ffn_norm.weight", &[hidden]);
        if is_third {
            add("attn_q_norm.weight", &[sizes.head_dim]);
            add("attn_k_norm.weight", &[sizes.head_dim]);
        } else if shape.family.is_still() {
            for (name, width) in still::layer_norms(shape) {
                add(name, &[width]);
            }
        } else {
            add("attn_q.bias", &[query]);
            add("attn_k.bias", &[key]);
            add("attn_v.bias", &[key]);
        }
        match sizes.experts {
            None => {
                add("ffn_gate.weight", &[hidden, sizes.middle]);
                add("ffn_up.weight", &[hidden, sizes.middle]);
                add("ffn_down.weight", &[sizes.middle, hidden]);
            }
            Some((experts, _, middle)) => {
                add("ffn_gate_inp.weight", &[hidden, experts]);
                add("ffn_gate_exps.weight", &[hidden, middle, experts]);
                add("ffn_up_exps.weight", &[hidden, middle, experts]);
                add("ffn_down_exps.weight", &[middle, hidden, experts]);
            }
        }
    }
    list
}

/// Tensors of the vision encoder and its projector.
pub(super) fn projector(shape: &Shape) -> Tensors {
    if shape.family.is_still() {
        return still::projector(shape);
    }
    let (sizes, family) = (&shape.vision, shape.family);
    let (width, middle, patch) = (sizes.width, sizes.middle, family.patch());
    let (is_third, has_bias) = (family.is_third(), family != Family::Qwen25Vl);
    let mut list = Tensors::new();
    for name in ["v.patch_embd.weight", "v.patch_embd.weight.1"] {
        push(&mut list, name.to_owned(), &[patch, patch, 3, width]);
    }
    if is_third {
        push(&mut list, "v.patch_embd.bias".to_owned(), &[width]);
        let positions = sizes.position_side * sizes.position_side;
        push(
            &mut list,
            "v.position_embd.weight".to_owned(),
            &[width, positions],
        );
    }
    for layer in 0..sizes.layers {
        let block = format!("v.blk.{layer}.");
        norm(&mut list, &format!("{block}ln1"), width, has_bias);
        norm(&mut list, &format!("{block}ln2"), width, has_bias);
        match is_third {
            true => linear(&mut list, &format!("{block}attn_qkv"), (width, 3 * width)),
            false => ["attn_q", "attn_k", "attn_v"]
                .iter()
                .for_each(|name| linear(&mut list, &format!("{block}{name}"), (width, width))),
        }
        linear(&mut list, &format!("{block}attn_out"), (width, width));
        linear(&mut list, &format!("{block}ffn_up"), (width, middle));
        linear(&mut list, &format!("{block}ffn_down"), (middle, width));
        if family == Family::Qwen25Vl {
            linear(&mut list, &format!("{block}ffn_gate"), (width, middle));
        }
    }
    let merged = 4 * width;
    for tap in sizes.taps {
        norm(&mut list, &format!("v.deepstack.{tap}.norm"), merged, true);
        linear(
            &mut list,
            &format!("v.deepstack.{tap}.fc1"),
            (merged, merged),
        );
        linear(
            &mut list,
            &format!("v.deepstack.{tap}.fc2"),
            (merged, shape.text.hidden),
        );
    }
    norm(&mut list, "v.post_ln", width, has_bias);
    linear(&mut list, "mm.0", (merged, merged));
    linear(&mut list, "mm.2", (merged, shape.text.hidden));
    list
}
