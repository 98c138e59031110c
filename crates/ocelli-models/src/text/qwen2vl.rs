//! Qwen2-VL and Qwen2.5-VL text decoder: Qwen2 whose rotary positions have three axes, so that image
//! tokens keep their place in the picture. Sections of a head's frequencies turn with time, then with
//! height, then with width.
//!
//! Source: HF `modeling_qwen2_vl.py`; Qwen2-VL paper, section 2.1 (M-RoPE).

use ocelli_tensor::{LayerCache, Pass, Tensor};

use crate::config::{Keys, TextConfig};
use crate::parts::{AxisOfFrequency, DecoderLayer, Rotary, TokenTable};
use crate::rope_config::rope_sections;
use crate::{Error, Loader, Positions, Segment, Step, TextModel, TextShape, three_axis_positions};

/// See the module.
#[derive(Debug)]
pub struct Qwen2VlText {
    tokens: TokenTable,
    layers: Vec<DecoderLayer>,
    rotary: Rotary,
    shape: TextShape,
}

impl Qwen2VlText {
    /// Reads the decoder of an architecture `qwen2vl` (or Ollama's `qwen25vl`) file.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let config = TextConfig::read(&keys)?;
        let mlp_hidden = config.mlp_hidden(&keys)?;
        let sections = rope_sections(&keys, config.heads.dim / 2, None)?;
        let axes = AxisOfFrequency::Contiguous(sections);
        let root = loader.root();
        Ok(Self {
            tokens: config.load_tokens(&root)?,
            layers: (0..config.layers)
                .map(|i| {
                    let scope = root.at("blk").at(i);
                    scope.require_biases(&["attn_q", "attn_k", "attn_v"])?;
                    let attention = config.load_attention(&scope)?;
                    config.load_layer(&scope, attention, mlp_hidden)
                })
                .collect::<Result<_, Error>>()?,
            rotary: Rotary::load(&keys, &root, &config, (axes, None))?,
            shape: config.shape(loader.finish("qwen2vl")?),
        })
    }
}

impl TextModel for Qwen2VlText {
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
