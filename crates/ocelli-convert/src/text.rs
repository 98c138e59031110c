//! The text model's file: metadata and tensors under llama.cpp's names.

use ocelli_gguf::Value;

use crate::experts::experts;
use crate::hub::{RopeScaling, Shelf, TextConfig};
use crate::source::{Interleaved, Numbers, Source, Strided};
use crate::{Error, gemma3};

/// A tensor of the file before its type is chosen.
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Fastest-varying first.
    pub(crate) shape: Vec<u64>,
    pub(crate) source: Box<dyn Source>,
}

impl Tensor {
    pub(crate) fn new(
        name: impl Into<String>,
        shape: &[usize],
        source: impl Source + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            shape: shape.iter().rev().map(|&n| n as u64).collect(),
            source: Box::new(source),
        }
    }
}

/// The sizes of the text model as metadata; `taps` is how many layers take rows of the vision encoder.
pub(crate) fn metadata(config: &TextConfig, taps: usize) -> Vec<(String, Value)> {
    let arch = config.family.architecture();
    let mut metadata: Vec<(String, Value)> = Vec::new();
    let mut set = |key: &str, value: Value| metadata.push((format!("{arch}.{key}"), value));
    let number = |n: usize| Value::U32(n as u32);
    set("block_count", number(config.layers));
    set("context_length", config.context.into());
    set("embedding_length", number(config.width));
    set("feed_forward_length", number(config.mlp_hidden));
    set("attention.head_count", number(config.heads));
    set("attention.head_count_kv", number(config.kv_heads));
    if let Some(sections) = &config.rope_sections {
        let mut padded: Vec<i32> = sections.iter().map(|&n| n as i32).collect();
        padded.resize(4, 0);
        set("rope.dimension_sections", padded.into());
    }
    set("rope.freq_base", config.rope_base.into());
    set("attention.layer_norm_rms_epsilon", config.norm_eps.into());
    if config.states_head_dim {
        set("attention.key_length", number(config.head_dim));
        set("attention.value_length", number(config.head_dim));
    }
    if config.family.has_paired_rows() {
        set("vocab_size", number(config.vocabulary));
        set("rope.dimension_count", number(config.head_dim));
    }
    for (key, value) in scaling(&config.rope_scaling)
        .into_iter()
        .chain(windows(config))
    {
        set(key, value);
    }
    if config.family.is_qwen3_vl() {
        set("n_deepstack_layers", number(taps));
    }
    if let Some(experts) = config.experts {
        set("expert_count", number(experts.count));
        set("expert_used_count", number(experts.used));
        set("expert_feed_forward_length", number(experts.hidden));
    }
    metadata
}

/// How rotary frequencies are stretched, as metadata.
fn scaling(scaling: &RopeScaling) -> Vec<(&'static str, Value)> {
    match scaling {
        RopeScaling::None | RopeScaling::Llama3 { .. } => Vec::new(),
        RopeScaling::Linear { factor } => vec![
            ("rope.scaling.type", "linear".into()),
            ("rope.scaling.factor", (*factor).into()),
        ],
        RopeScaling::Yarn {
            factor,
            original_context,
            details,
        } => {
            let mut keys: Vec<(&str, Value)> = vec![
                ("rope.scaling.type", "yarn".into()),
                ("rope.scaling.factor", (*factor).into()),
            ];
            let context =
                original_context.map(|n| ("rope.scaling.original_context_length", n.into()));
            keys.extend(context);
            keys.extend(details.iter().map(|(key, value)| (*key, (*value).into())));
            keys
        }
    }
}

/// How far layers look back, and what belongs to that, as metadata.
fn windows(config: &TextConfig) -> Vec<(&'static str, Value)> {
    let window = config
        .window
        .map(|window| ("attention.sliding_window", window.into()));
    let mut keys: Vec<(&str, Value)> = window.into_iter().collect();
    if let Some(sliding) = &config.sliding {
        keys.push(("attention.sliding_window", sliding.window.into()));
        keys.push(("rope.freq_base_swa", sliding.rope_base.into()));
        // Readers know the usual ones.
        keys.extend(sliding.scale.map(|scale| ("attention.scale", scale.into())));
        let pattern = sliding.pattern.clone();
        keys.extend(pattern.map(|near| ("attention.sliding_window_pattern", near.into())));
    }
    keys
}

/// The text model's tensors, taken from the checkpoint.
pub(crate) fn tensors(config: &TextConfig, shelf: &mut Shelf) -> Result<Vec<Tensor>, Error> {
    if let Some(sliding) = &config.sliding {
        return gemma3::text(config, sliding.rows, shelf);
    }
    let table = [config.vocabulary, config.width];
    let mut tensors = Vec::new();
    let mut plain = |shelf: &mut Shelf, hub: &str, name: &str, shape: &[usize]| {
        let tensor = shelf.take(hub, shape)?;
        tensors.push(Tensor::new(name, shape, Strided::whole(tensor)));
        Ok::<_, Error>(())
    };
    plain(shelf, "embed_tokens.weight", "token_embd.weight", &table)?;
    plain(shelf, "norm.weight", "output_norm.weight", &[config.width])?;
    if has_head(config, shelf)? {
        plain(shelf, "lm_head.weight", "output.weight", &table)?;
    } else {
        shelf.discard("lm_head.weight");
    }
    if let RopeScaling::Llama3 { factors } = &config.rope_scaling {
        let shape = [factors.len()];
        tensors.push(Tensor::new(
            "rope_freqs.weight",
            &shape,
            Numbers(factors.clone()),
        ));
    }
    for layer in 0..config.layers {
        attention(config, shelf, layer, &mut tensors)?;
        match config.experts {
            Some(sizes) => tensors.extend(experts(config.width, sizes, shelf, layer)?),
            None => mlp(config, shelf, layer, &mut tensors)?,
        }
    }
    Ok(tensors)
}

/// Whether the output projection is a tensor of its own, rather than the embedding.
fn has_head(config: &TextConfig, shelf: &Shelf) -> Result<bool, Error> {
    let is_there = shelf.has("lm_head.weight");
    match config.is_tied {
        Some(true) => Ok(false),
        None => Ok(is_there),
        Some(false) if is_there => Ok(true),
        Some(false) => Err(Error::MissingTensor {
            name: "lm_head.weight".to_owned(),
            hint: ", and config.json says tie_word_embeddings false".to_owned(),
        }),
    }
}

fn attention(
    config: &TextConfig,
    shelf: &mut Shelf,
    layer: usize,
    tensors: &mut Vec<Tensor>,
) -> Result<(), Error> {
    let (hub, block) = (format!("layers.{layer}."), format!("blk.{layer}."));
    let (query, kv) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let width = config.width;
    let mut take = |from: &str, to: &str, shape: &[usize]| {
        let tensor = shelf.take(&format!("{hub}{from}"), shape)?;
        let is_rotated = matches!(to.split_once('.'), Some(("attn_q" | "attn_k", _)));
        let name = format!("{block}{to}");
        tensors.push(match config.family.has_paired_rows() && is_rotated {
            true => {
                let (head_dim, row) = (config.head_dim, shape[1..].iter().product());
                Tensor::new(
                    name,
                    shape,
                    Interleaved {
                        tensor,
                        head_dim,
                        row,
                    },
                )
            }
            false => Tensor::new(name, shape, Strided::whole(tensor)),
        });
        Ok::<_, Error>(())
    };
    take("input_layernorm.weight", "attn_norm.weight", &[width])?;
    take("self_attn.q_proj.weight", "attn_q.weight", &[query, width])?;
    take("self_attn.k_proj.weight", "attn_k.weight", &[kv, width])?;
    take("self_attn.v_proj.weight", "attn_v.weight", &[kv, width])?;
    if config.family.has_attention_biases() {
        take("self_attn.q_proj.bias", "attn_q.bias", &[query])?;
        take("self_attn.k_proj.bias", "attn_k.bias", &[kv])?;
        take("self_attn.v_proj.bias", "attn_v.bias", &[kv])?;
    }
    if config.family.has_head_norms() {
        take(
            "self_attn.q_norm.weight",
            "attn_q_norm.weight",
            &[config.head_dim],
        )?;
        take(
            "self_attn.k_norm.weight",
            "attn_k_norm.weight",
            &[config.head_dim],
        )?;
    }
    take(
        "self_attn.o_proj.weight",
        "attn_output.weight",
        &[width, query],
    )?;
    take(
        "post_attention_layernorm.weight",
        "ffn_norm.weight",
        &[width],
    )
}

fn mlp(
    config: &TextConfig,
    shelf: &mut Shelf,
    layer: usize,
    tensors: &mut Vec<Tensor>,
) -> Result<(), Error> {
    let (width, hidden) = (config.width, config.mlp_hidden);
    for (from, to, shape) in [
        ("gate_proj", "ffn_gate", [hidden, width]),
        ("up_proj", "ffn_up", [hidden, width]),
        ("down_proj", "ffn_down", [width, hidden]),
    ] {
        let tensor = shelf.take(&format!("layers.{layer}.mlp.{from}.weight"), &shape)?;
        let name = format!("blk.{layer}.{to}.weight");
        tensors.push(Tensor::new(name, &shape, Strided::whole(tensor)));
    }
    Ok(())
}
