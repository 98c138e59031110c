//! Qwen3-VL text decoder: Qwen3 with rotary positions on three interleaved axes, and the encoder's
//! deepstack rows added to the picture's tokens after the first layers.
//!
//! Source: HF `modeling_qwen3_vl.py`; Qwen3-VL report, sections on interleaved M-RoPE and DeepStack.

use ocelli_tensor::{LayerCache, Pass, Tensor};

use crate::config::{Keys, TextConfig};
use crate::parts::{AxisOfFrequency, DecoderLayer, Rotary, TokenTable, add_deepstack};
use crate::rope_config::rope_sections;
use crate::{Error, Loader, Positions, Segment, Step, TextModel, TextShape, three_axis_positions};

/// See the module.
#[derive(Debug)]
pub struct Qwen3VlText {
    tokens: TokenTable,
    layers: Vec<DecoderLayer>,
    rotary: Rotary,
    shape: TextShape,
}

impl Qwen3VlText {
    /// Reads the decoder of an architecture `qwen3vl` file.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let config = TextConfig::read(&keys)?;
        let mlp_hidden = config.mlp_hidden(&keys)?;
        let sections = rope_sections(&keys, config.heads.dim / 2, Some([24, 20, 20]))?;
        let axes = AxisOfFrequency::Interleaved(sections);
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
            rotary: Rotary::load(&keys, &root, &config, (axes, None))?,
            shape: config.shape(loader.finish("qwen3vl")?),
        })
    }
}

impl TextModel for Qwen3VlText {
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
