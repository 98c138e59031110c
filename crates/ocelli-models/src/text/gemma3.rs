//! Gemma 3 text decoder: layers that look back over a window of tokens and, after every five of
//! them, one that looks over all; a norm before and after each half of a layer; a picture's rows
//! see each other both ways.
//!
//! Files hold the weights of norms with the one added that HF adds when it runs, so they are plain
//! norms here. The cap on logits that some merged files carry belongs to Gemma 2 and is left alone.
//!
//! Source: HF `modeling_gemma3.py`; Gemma 3 report, section 2.

use ocelli_tensor::{Activation, AttentionPlan, Heads, LayerCache, Pass, Tensor};

use crate::config::{Keys, TextConfig};
use crate::parts::{
    AxisOfFrequency, GatedMlp, RmsNorm, Rotary, Scaling, SelfAttention, TokenTable,
};
use crate::rope_config::scaling;
use crate::window_config::caches;
use crate::{
    Error, Loader, Positions, Scope, Segment, Step, TextModel, TextShape, one_axis_positions,
};

/// Layers from one that looks over all tokens to the next, in all released models.
const PERIOD: usize = 6;
/// Context of the models whose wide layers were stretched for it.
const LONG_CONTEXT: usize = 131_072;

/// What keeps the norms of every Gemma 3 from dividing by zero: merged files leave it out.
const USUAL_EPS: f32 = 1e-6;

/// See the module.
#[derive(Debug)]
pub struct Gemma3Text {
    tokens: TokenTable,
    embedding_scale: f32,
    layers: Vec<Layer>,
    /// Angles of layers that look over all tokens, and of those that look over a window.
    wide: Rotary,
    near: Rotary,
    shape: TextShape,
}

#[derive(Debug)]
struct Layer {
    attention_norm: RmsNorm,
    attention: SelfAttention,
    after_attention: RmsNorm,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
    after_mlp: RmsNorm,
}

impl Layer {
    fn load(
        scope: &Scope<'_>,
        config: &TextConfig,
        (mlp_hidden, scale): (usize, f32),
    ) -> Result<Self, Error> {
        let (hidden, eps) = (config.hidden, config.norm_eps);
        let norm = |name: &str| RmsNorm::load(&scope.at(name), hidden, eps);
        Ok(Self {
            attention_norm: norm("attn_norm")?,
            attention: config
                .load_attention(scope)?
                .with_norm(config.load_qk_norm(scope)?)
                .with_scale(scale),
            after_attention: norm("post_attention_norm")?,
            mlp_norm: norm("ffn_norm")?,
            mlp: GatedMlp::load(scope, hidden, mlp_hidden, Activation::GeluTanh)?,
            after_mlp: norm("post_ffw_norm")?,
        })
    }

    /// `x`: `[rows, hidden]`, updated in place.
    fn forward(&self, pass: &mut Pass<'_>, x: &Tensor, angles: &Tensor, plan: AttentionPlan<'_>) {
        let mark = pass.mark();
        let h = self.attention_norm.forward(pass, x);
        let h = self.attention.forward(pass, &h, angles, plan);
        self.after_attention.in_place(pass, &h);
        pass.add(&h, x);
        pass.release(mark);
        let h = self.mlp_norm.forward(pass, x);
        let h = self.mlp.forward(pass, &h);
        self.after_mlp.in_place(pass, &h);
        pass.add(&h, x);
        pass.release(mark);
    }
}

impl Gemma3Text {
    /// Reads the decoder of an architecture `gemma3` file.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let layers = keys.count("block_count", 1024)?;
        let config = TextConfig::read_or(&keys, usual_heads(layers), Some(USUAL_EPS))?;
        let cap = keys.metadata().f32(&keys.key("attn_logit_softcapping"))?;
        if cap.is_some_and(|cap| cap != 0.0) {
            return Err(keys.invalid("attn_logit_softcapping is set, which Gemma 3 does not have"));
        }
        let sizes = (config.mlp_hidden(&keys)?, query_scale(&keys, &config)?);
        let root = loader.root();
        let block = root.at("blk");
        Ok(Self {
            tokens: config.load_tokens(&root)?,
            embedding_scale: (config.hidden as f64).sqrt() as f32,
            layers: (0..layers)
                .map(|i| Layer::load(&block.at(i), &config, sizes))
                .collect::<Result<_, Error>>()?,
            wide: wide_rotary(&keys, &config)?,
            near: near_rotary(&keys, &config)?,
            shape: TextShape {
                caches: caches(&keys, &config, Some(PERIOD))?,
                ..config.shape(loader.finish("gemma3")?)
            },
        })
    }
}

impl TextModel for Gemma3Text {
    fn shape(&self) -> &TextShape {
        &self.shape
    }

    fn positions(&self, prompt: &[Segment]) -> Positions {
        one_axis_positions(prompt)
    }

    fn embed(&self, pass: &mut Pass<'_>, tokens: &[u32], prompt_rows: usize) -> Tensor {
        let x = self.tokens.embed(pass, tokens, prompt_rows);
        pass.scale(self.embedding_scale, &x);
        x
    }

    fn forward(&self, pass: &mut Pass<'_>, x: Tensor, step: &Step<'_>) -> Tensor {
        let wide = self.wide.angles(pass, step.positions, step.prompt_rows);
        let near = self.near.angles(pass, step.positions, step.prompt_rows);
        for (i, layer) in self.layers.iter().enumerate() {
            let cache = self.shape.caches[i].cache;
            let angles = match cache {
                LayerCache::Full => &wide,
                LayerCache::Window(_) => &near,
            };
            layer.forward(pass, &x, angles, step.attention(i, cache));
            pass.probe(format_args!("layer.{i}"), &x);
        }
        self.tokens.logits(pass, &x, step.output_rows)
    }
}

/// Heads of the released models by their number of layers; early merged files leave them out.
fn usual_heads(layers: usize) -> Option<Heads> {
    let (query, key_value, dim) = match layers {
        18 | 26 => (4, 1, 256),
        34 => (8, 4, 256),
        48 => (16, 8, 256),
        62 => (32, 16, 128),
        _ => return None,
    };
    Some(Heads {
        query,
        key_value,
        dim,
    })
}

/// The factor on scores: what the file states, else one over the root of a head, but of `hidden /
/// heads` in the 27B model, whose files do not say so.
fn query_scale(keys: &Keys<'_>, config: &TextConfig) -> Result<f32, Error> {
    let divisor = match config.layers {
        62 => config.hidden as f32 / config.heads.query as f32,
        _ => config.heads.dim as f32,
    };
    keys.positive("attention.scale", Some(1.0 / divisor.sqrt()))
}

fn wide_rotary(keys: &Keys<'_>, config: &TextConfig) -> Result<Rotary, Error> {
    let stated = ["rope.scaling.type", "rope.scaling.factor"]
        .iter()
        .any(|key| keys.metadata().get(&keys.key(key)).is_some());
    let stretch = match stated {
        // Merged files leave it out; the models for a long context all have it.
        false if config.context_length >= LONG_CONTEXT && config.layers >= 34 => {
            Scaling::Linear(8.0)
        }
        _ => scaling(keys, config)?,
    };
    let theta = theta(keys, ["rope.freq_base", "rope.global.freq_base"], 1e6)?;
    Ok(Rotary::new(config.heads.dim, theta, AxisOfFrequency::One).scaled(stretch))
}

fn near_rotary(keys: &Keys<'_>, config: &TextConfig) -> Result<Rotary, Error> {
    let theta = theta(keys, ["rope.freq_base_swa", "rope.local.freq_base"], 1e4)?;
    Ok(Rotary::new(config.heads.dim, theta, AxisOfFrequency::One))
}

fn theta(keys: &Keys<'_>, names: [&str; 2], default: f32) -> Result<f32, Error> {
    let has = |name: &&str| keys.metadata().get(&keys.key(name)).is_some();
    let name = names.into_iter().find(has).unwrap_or(names[0]);
    keys.positive(name, Some(default))
}
