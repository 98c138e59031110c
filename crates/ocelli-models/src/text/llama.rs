//! LLaMA text decoder (Llama 2 and 3, Vicuna, Mistral and what is stored like them: `llama`, `mistral3`).
//!
//! Converters permute the rows of query and key weights of this architecture, so that neighbours
//! turn together. Llama 3.1 and later keep a factor for each frequency in `rope_freqs.weight`;
//! Ministral 3 makes queries longer far into its context; the first Mistral models look back over a
//! window. Pictures' rows count like words.
//!
//! Source: HF `modeling_llama.py`, `modeling_ministral3.py`.

use ocelli_tensor::{Pass, Tensor};

use crate::config::{Keys, TextConfig};
use crate::parts::{Angles, AxisOfFrequency, DecoderLayer, Rotary, Temperature, TokenTable};
use crate::rope_config::temperature;
use crate::window_config::caches;
use crate::{Error, Loader, Positions, Segment, Step, TextModel, TextShape, one_axis_positions};

/// Base of the frequencies of the first models, whose files leave it out.
const USUAL_THETA: f32 = 10_000.0;

/// See the module.
#[derive(Debug)]
pub struct LlamaText {
    tokens: TokenTable,
    layers: Vec<DecoderLayer>,
    rotary: Rotary,
    temperature: Option<Temperature>,
    shape: TextShape,
}

impl LlamaText {
    /// Reads the decoder of an architecture `llama` or `mistral3` file.
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
                    let attention = config.load_attention(&scope)?.with_pairs();
                    config.load_layer(&scope, attention, mlp_hidden)
                })
                .collect::<Result<_, Error>>()?,
            rotary: Rotary::load(
                &keys,
                &root,
                &config,
                (AxisOfFrequency::One, Some(USUAL_THETA)),
            )?,
            temperature: temperature(&keys, &config)?,
            shape: {
                let name = loader.names().prefix().to_owned();
                TextShape {
                    // All layers look back alike.
                    caches: caches(&keys, &config, None)?,
                    ..config.shape(loader.finish(&name)?)
                }
            },
        })
    }
}

impl TextModel for LlamaText {
    fn shape(&self) -> &TextShape {
        &self.shape
    }

    fn positions(&self, prompt: &[Segment]) -> Positions {
        one_axis_positions(prompt)
    }

    fn embed(&self, pass: &mut Pass<'_>, tokens: &[u32], prompt_rows: usize) -> Tensor {
        self.tokens.embed(pass, tokens, prompt_rows)
    }

    fn forward(&self, pass: &mut Pass<'_>, x: Tensor, step: &Step<'_>) -> Tensor {
        let (positions, prompt_rows) = (step.positions, step.prompt_rows);
        let angles = match &self.temperature {
            Some(t) => t.angles(pass, &self.rotary, positions, prompt_rows),
            None => Angles::Both(self.rotary.angles(pass, positions, prompt_rows)),
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let plan = step.attention(i, self.shape.caches[i].cache);
            layer.forward(pass, &x, angles, plan);
            pass.probe(format_args!("layer.{i}"), &x);
        }
        self.tokens.logits(pass, &x, step.output_rows)
    }
}
