//! Qwen3-VL MoE text decoder: Qwen3-VL whose MLPs are mixtures of experts, in every layer.
//!
//! Source: HF `modeling_qwen3_vl_moe.py` (`Qwen3VLMoeTextTopKRouter`).

use ocelli_tensor::{Activation, LayerCache, Pass, Tensor};

use crate::config::{Keys, TextConfig};
use crate::parts::{
    AxisOfFrequency, DecoderLayer, DecoderMlp, ExpertSizes, Experts, Rotary, TokenTable,
    add_deepstack,
};
use crate::rope_config::rope_sections;
use crate::{
    Error, Loader, Positions, Scope, Segment, Step, TextModel, TextShape, three_axis_positions,
};

const MOST_EXPERTS: u32 = 4096;

/// See the module.
#[derive(Debug)]
pub struct Qwen3VlMoeText {
    tokens: TokenTable,
    layers: Vec<DecoderLayer>,
    rotary: Rotary,
    shape: TextShape,
}

impl Qwen3VlMoeText {
    /// Reads the decoder of an architecture `qwen3vlmoe` file.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let config = TextConfig::read(&keys)?;
        let sections = rope_sections(&keys, config.heads.dim / 2, Some([24, 20, 20]))?;
        let axes = AxisOfFrequency::Interleaved(sections);
        let root = loader.root();
        let sizes = expert_sizes(&keys, &root, &config)?;
        Ok(Self {
            tokens: config.load_tokens(&root)?,
            layers: (0..config.layers)
                .map(|i| {
                    let scope = root.at("blk").at(i);
                    let attention = config
                        .load_attention(&scope)?
                        .with_norm(config.load_qk_norm(&scope)?);
                    let mlp = Experts::load(&scope, sizes, Activation::Silu)?;
                    let norms = (config.hidden, config.norm_eps);
                    DecoderLayer::load(&scope, norms, attention, DecoderMlp::Experts(mlp))
                })
                .collect::<Result<_, Error>>()?,
            rotary: Rotary::load(&keys, &root, &config, (axes, None))?,
            shape: config.shape(loader.finish("qwen3vlmoe")?),
        })
    }
}

fn expert_sizes(
    keys: &Keys<'_>,
    root: &Scope<'_>,
    config: &TextConfig,
) -> Result<ExpertSizes, Error> {
    let count = keys.count("expert_count", MOST_EXPERTS)?;
    let used = keys.count("expert_used_count", u32::MAX)?;
    if used > count {
        return Err(keys.invalid(format!(
            "expert_used_count {used} exceeds expert_count {count}"
        )));
    }
    let key = keys.key("norm_top_k_prob");
    if keys.metadata().bool(&key)? == Some(false) {
        return Err(keys.invalid("norm_top_k_prob is false, need true"));
    }
    let middle = match keys.uniform("expert_feed_forward_length", config.layers, 1 << 20)? {
        Some(middle) => middle,
        // Merged files leave it out; the matrices know.
        None => {
            let shape = root.shape("blk.0.ffn_gate_exps.weight");
            let middle = shape.and_then(|shape| shape.get(1).copied());
            let missing = || keys.invalid("expert_feed_forward_length is missing");
            middle.ok_or_else(missing)? as usize
        }
    };
    Ok(ExpertSizes {
        hidden: config.hidden,
        middle,
        count,
        used,
    })
}

impl TextModel for Qwen3VlMoeText {
    fn shape(&self) -> &TextShape {
        &self.shape
    }

    fn positions(&self, prompt: &[Segment]) -> Positions {
        three_axis_positions(prompt)
    }

    fn embed(&self, pass: &mut Pass<'_>, tokens: &[u32], prompt_rows: usize) -> Tensor {
        self.tokens.embed(pass, tokens, prompt_rows)
    }

    fn forward(&self, pass: &mut Pass<'_>, x: Tensor, step: &Step<'_>) -> Tensor {
        let angles = self.rotary.angles(pass, step.positions, step.prompt_rows);
        for (i, layer) in self.layers.iter().enumerate() {
            let plan = step.attention(i, LayerCache::Full);
            layer.forward(pass, &x, &angles, plan);
            add_deepstack(pass, &x, step, i);
            pass.probe(format_args!("layer.{i}"), &x);
        }
        self.tokens.logits(pass, &x, step.output_rows)
    }
}
