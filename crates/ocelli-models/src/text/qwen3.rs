//! Qwen3 text decoder, without eyes: Qwen2 with norms on each head of queries and keys in place of
//! biases.
//!
//! Source: HF `modeling_qwen3.py`.

use ocelli_tensor::{LayerCache, Pass, Tensor};

use crate::config::{Keys, TextConfig};
use crate::parts::{AxisOfFrequency, DecoderLayer, Rotary, TokenTable};
use crate::{Error, Loader, Positions, Segment, Step, TextModel, TextShape, three_axis_positions};

/// See the module.
#[derive(Debug)]
pub struct Qwen3Text {
    tokens: TokenTable,
    layers: Vec<DecoderLayer>,
    rotary: Rotary,
    shape: TextShape,
}

impl Qwen3Text {
    /// Reads the decoder of an architecture `qwen3` file.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let config = TextConfig::read(&keys)?;
        let mlp_hidden = config.mlp_hidden(&keys)?;
        let root = loader.root();
        Ok(Self {
            tokens: config.load_tokens(&root)?,
            layers: (0..config.layers)
                .map(|i| {
                    let scope = root.at("blk").at(i);
                    let attention = config
                        .load_attention(&scope)?
                        .with_norm(config.load_qk_norm(&scope)?);
                    config.load_layer(&scope, attention, mlp_hidden)
                })
                .collect::<Result<_, Error>>()?,
            rotary: Rotary::load(&keys, &root, &config, (AxisOfFrequency::One, None))?,
            shape: config.shape(loader.finish("qwen3")?),
        })
    }
}

impl TextModel for Qwen3Text {
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
            pass.probe(format_args!("layer.{i}"), &x);
        }
        self.tokens.logits(pass, &x, step.output_rows)
    }
}
