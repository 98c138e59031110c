//! A tiny Qwen3-VL pair with the names and keys of llama.cpp's converter.

use ocelli_gguf::{Array, Value};

use super::file::TinyFile;
use super::vocabulary::{MERGES, ROWS, token_id, tokens_with_types};

/// The template that also the goldens of Qwen3-VL have.
const TEMPLATE: &str = include_str!("../../../../tools/reference/templates/qwen3vl.jinja");

const PATCH: u64 = 16;

/// A text file and the projector that belongs to it.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Architecture `qwen3vl`.
    pub text: TinyFile,
    /// Projector `qwen3vl_merger`.
    pub mmproj: TinyFile,
}

/// Sizes of the tiny model.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Width of the text model.
    pub hidden: u64,
    /// Text layers.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the MLP.
    pub feed_forward: u64,
    /// Context length.
    pub context: u64,
    /// Width of the vision tower.
    pub vision_hidden: u64,
    /// Vision layers.
    pub vision_layers: u64,
    /// Vision heads.
    pub vision_heads: u64,
    /// Width of the vision MLP.
    pub vision_feed_forward: u64,
    /// Side of the table of positions.
    pub position_side: u64,
    /// Vision layers whose output also goes to the text layers.
    pub deepstack: Vec<u64>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            hidden: 32,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            feed_forward: 64,
            context: 4096,
            vision_hidden: 16,
            vision_layers: 3,
            vision_heads: 2,
            vision_feed_forward: 32,
            position_side: 4,
            deepstack: vec![0, 1],
        }
    }
}

/// A pair of these sizes with random weights.
pub fn qwen3vl_with(seed: u64, sizes: &Sizes) -> Pair {
    Pair {
        text: text(seed, sizes),
        mmproj: projector(seed, sizes),
    }
}

fn u32_value(value: u64) -> Value {
    Value::U32(u32::try_from(value).unwrap_or(u32::MAX))
}

fn string(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn text(seed: u64, sizes: &Sizes) -> TinyFile {
    let mut file = TinyFile::new();
    file.set("general.architecture", string("qwen3vl"));
    file.set("general.type", string("model"));
    file.set("general.name", string("Tiny Qwen3-VL"));
    for (key, value) in [
        ("block_count", sizes.layers),
        ("context_length", sizes.context),
        ("embedding_length", sizes.hidden),
        ("feed_forward_length", sizes.feed_forward),
        ("attention.head_count", sizes.heads),
        ("attention.head_count_kv", sizes.kv_heads),
        ("attention.key_length", sizes.head_dim),
        ("attention.value_length", sizes.head_dim),
        ("n_deepstack_layers", sizes.deepstack.len() as u64),
    ] {
        file.set(&format!("qwen3vl.{key}"), u32_value(value));
    }
    let third = i32::try_from(sizes.head_dim / 6).unwrap_or(0);
    let first = i32::try_from(sizes.head_dim / 2).unwrap_or(0) - 2 * third;
    let sections = Array::I32(vec![first, third, third, 0]);
    file.set("qwen3vl.rope.dimension_sections", Value::Array(sections));
    file.set("qwen3vl.rope.freq_base", Value::F32(5e6));
    file.set("qwen3vl.attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    tokenizer(&mut file);
    text_tensors(&mut file, seed, sizes);
    file
}

fn tokenizer(file: &mut TinyFile) {
    let (tokens, types): (Vec<String>, Vec<i32>) = tokens_with_types().into_iter().unzip();
    file.set("tokenizer.ggml.model", string("gpt2"));
    file.set("tokenizer.ggml.pre", string("qwen2"));
    file.set(
        "tokenizer.ggml.tokens",
        Value::Array(Array::String(tokens.iter().collect())),
    );
    file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    file.set(
        "tokenizer.ggml.merges",
        Value::Array(Array::String(MERGES.iter().collect())),
    );
    file.set(
        "tokenizer.ggml.eos_token_id",
        Value::U32(token_id("<|im_end|>")),
    );
    file.set(
        "tokenizer.ggml.padding_token_id",
        Value::U32(token_id("<|endoftext|>")),
    );
    file.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    file.set("tokenizer.chat_template", string(TEMPLATE));
}

/// Mean and deviation of a matrix whose rows have this length: activations keep their size.
fn matrix(row: u64) -> (f32, f32) {
    (0.0, 1.0 / (row as f32).sqrt())
}

const NORM: (f32, f32) = (1.0, 0.2);
const BIAS: (f32, f32) = (0.0, 0.1);

fn text_tensors(file: &mut TinyFile, seed: u64, sizes: &Sizes) {
    let (hidden, feed_forward) = (sizes.hidden, sizes.feed_forward);
    let (query, key) = (
        sizes.heads * sizes.head_dim,
        sizes.kv_heads * sizes.head_dim,
    );
    file.add_tensor(
        seed,
        "token_embd.weight",
        &[hidden, ROWS as u64],
        (0.0, 0.05),
    );
    file.add_tensor(seed, "output_norm.weight", &[hidden], NORM);
    for layer in 0..sizes.layers {
        for (name, length) in [
            ("attn_norm", hidden),
            ("ffn_norm", hidden),
            ("attn_q_norm", sizes.head_dim),
            ("attn_k_norm", sizes.head_dim),
        ] {
            file.add_tensor(seed, &format!("blk.{layer}.{name}.weight"), &[length], NORM);
        }
        for (name, input, output) in [
            ("attn_q", hidden, query),
            ("attn_k", hidden, key),
            ("attn_v", hidden, key),
            ("attn_output", query, hidden),
            ("ffn_gate", hidden, feed_forward),
            ("ffn_up", hidden, feed_forward),
            ("ffn_down", feed_forward, hidden),
        ] {
            let name = format!("blk.{layer}.{name}.weight");
            file.add_tensor(seed, &name, &[input, output], matrix(input));
        }
    }
}

fn projector(seed: u64, sizes: &Sizes) -> TinyFile {
    let mut file = TinyFile::new();
    file.set("general.architecture", string("clip"));
    file.set("general.type", string("mmproj"));
    file.set("general.name", string("Tiny Qwen3-VL projector"));
    file.set("clip.has_vision_encoder", Value::Bool(true));
    file.set("clip.projector_type", string("qwen3vl_merger"));
    file.set("clip.use_gelu", Value::Bool(true));
    for (key, value) in [
        ("projection_dim", sizes.hidden),
        ("image_size", sizes.position_side * PATCH),
        ("patch_size", PATCH),
        ("embedding_length", sizes.vision_hidden),
        ("feed_forward_length", sizes.vision_feed_forward),
        ("block_count", sizes.vision_layers),
        ("attention.head_count", sizes.vision_heads),
        ("spatial_merge_size", 2),
    ] {
        file.set(&format!("clip.vision.{key}"), u32_value(value));
    }
    file.set(
        "clip.vision.image_mean",
        Value::Array(Array::F32(vec![0.5; 3])),
    );
    file.set(
        "clip.vision.image_std",
        Value::Array(Array::F32(vec![0.5; 3])),
    );
    file.set("clip.vision.attention.layer_norm_epsilon", Value::F32(1e-6));
    let taps = (0..sizes.vision_layers)
        .map(|layer| sizes.deepstack.contains(&layer))
        .collect();
    file.set(
        "clip.vision.is_deepstack_layers",
        Value::Array(Array::Bool(taps)),
    );
    projector_tensors(&mut file, seed, sizes);
    file
}

/// Adds `{name}.weight` and `{name}.bias` of a linear layer.
fn linear(file: &mut TinyFile, seed: u64, name: &str, (input, output): (u64, u64)) {
    file.add_tensor(
        seed,
        &format!("{name}.weight"),
        &[input, output],
        matrix(input),
    );
    file.add_tensor(seed, &format!("{name}.bias"), &[output], BIAS);
}

/// Adds `{name}.weight` and `{name}.bias` of a norm.
fn norm(file: &mut TinyFile, seed: u64, name: &str, length: u64) {
    file.add_tensor(seed, &format!("{name}.weight"), &[length], NORM);
    file.add_tensor(seed, &format!("{name}.bias"), &[length], BIAS);
}

fn projector_tensors(file: &mut TinyFile, seed: u64, sizes: &Sizes) {
    let (width, feed_forward) = (sizes.vision_hidden, sizes.vision_feed_forward);
    let merged = 4 * width;
    let kernel = [PATCH, PATCH, 3, width];
    for name in ["v.patch_embd.weight", "v.patch_embd.weight.1"] {
        file.add_tensor(seed, name, &kernel, matrix(6 * PATCH * PATCH));
    }
    file.add_tensor(seed, "v.patch_embd.bias", &[width], BIAS);
    let places = sizes.position_side * sizes.position_side;
    file.add_tensor(seed, "v.position_embd.weight", &[width, places], BIAS);
    for layer in 0..sizes.vision_layers {
        norm(file, seed, &format!("v.blk.{layer}.ln1"), width);
        norm(file, seed, &format!("v.blk.{layer}.ln2"), width);
        linear(
            file,
            seed,
            &format!("v.blk.{layer}.attn_qkv"),
            (width, 3 * width),
        );
        linear(
            file,
            seed,
            &format!("v.blk.{layer}.attn_out"),
            (width, width),
        );
        linear(
            file,
            seed,
            &format!("v.blk.{layer}.ffn_up"),
            (width, feed_forward),
        );
        linear(
            file,
            seed,
            &format!("v.blk.{layer}.ffn_down"),
            (feed_forward, width),
        );
    }
    for layer in &sizes.deepstack {
        norm(file, seed, &format!("v.deepstack.{layer}.norm"), merged);
        linear(
            file,
            seed,
            &format!("v.deepstack.{layer}.fc1"),
            (merged, merged),
        );
        linear(
            file,
            seed,
            &format!("v.deepstack.{layer}.fc2"),
            (merged, sizes.hidden),
        );
    }
    norm(file, seed, "v.post_ln", width);
    linear(file, seed, "mm.0", (merged, merged));
    linear(file, seed, "mm.2", (merged, sizes.hidden));
}
