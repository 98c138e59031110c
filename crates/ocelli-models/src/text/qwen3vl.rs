//! Qwen3-VL text decoder: Qwen3 with rotary positions on three interleaved axes, and the encoder's
//! deepstack rows added to the picture's tokens after the first layers.
//!
//! Source: HF `modeling_qwen3_vl.py`; Qwen3-VL report, sections on interleaved M-RoPE and DeepStack.

use ocelli_tensor::{
    Activation, AttentionPlan, KvLayer, LayerCache, Mask, Pass, Tensor, Use, Weight,
};

use crate::config::{Keys, TextConfig, rope_sections};
use crate::parts::{AxisOfFrequency, GatedMlp, QkNorm, RmsNorm, Rotary, SelfAttention};
use crate::{Error, Loader, Positions, Scope, Segment, Step, TextModel, three_axis_positions};

/// See the module.
#[derive(Debug)]
pub struct Qwen3VlText {
    config: TextConfig,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Option<Weight>,
    rotary: Rotary,
    weight_bytes: usize,
}

#[derive(Debug)]
struct Layer {
    attention_norm: RmsNorm,
    attention: SelfAttention,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
}

impl Layer {
    fn load(scope: &Scope<'_>, config: &TextConfig, mlp_hidden: usize) -> Result<Self, Error> {
        let (hidden, eps) = (config.hidden, config.norm_eps);
        let norm = QkNorm::load(scope, config.heads.dim, eps)?;
        Ok(Self {
            attention_norm: RmsNorm::load(&scope.at("attn_norm"), hidden, eps)?,
            attention: SelfAttention::load(scope, hidden, config.heads, "attn_output")?
                .with_norm(norm),
            mlp_norm: RmsNorm::load(&scope.at("ffn_norm"), hidden, eps)?,
            mlp: GatedMlp::load(scope, hidden, mlp_hidden, Activation::Silu)?,
        })
    }

    /// `x`: `[rows, hidden]`, updated in place.
    fn forward(&self, pass: &mut Pass<'_>, x: &Tensor, angles: &Tensor, plan: AttentionPlan<'_>) {
        let mark = pass.mark();
        let h = self.attention_norm.forward(pass, x);
        self.attention.add_to(pass, (x, &h), angles, plan);
        let h = self.mlp_norm.forward(pass, x);
        self.mlp.add_to(pass, &h, x);
        pass.release(mark);
    }
}

impl Qwen3VlText {
    /// Reads the decoder of an architecture `qwen3vl` file.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), "qwen3vl");
        let config = TextConfig::read(&keys)?;
        let mlp_hidden = config
            .mlp_hidden
            .ok_or_else(|| keys.invalid("feed_forward_length is missing"))?;
        let sections = rope_sections(&keys, config.heads.dim / 2, Some([24, 20, 20]))?;
        let root = loader.root();
        let tied = !root.has("output.weight");
        let purpose = if tied { Use::Both } else { Use::Rows };
        let (rows, hidden) = (config.vocabulary, config.hidden);
        let mut model = Self {
            embedding: root.matrix("token_embd.weight", rows, hidden, purpose)?,
            layers: (0..config.layers)
                .map(|i| Layer::load(&root.at("blk").at(i), &config, mlp_hidden))
                .collect::<Result<_, _>>()?,
            norm: RmsNorm::load(&root.at("output_norm"), hidden, config.norm_eps)?,
            head: (!tied)
                .then(|| root.matrix("output.weight", rows, hidden, Use::Product))
                .transpose()?,
            rotary: Rotary::new(
                config.heads.dim,
                config.rope_theta,
                AxisOfFrequency::Interleaved(sections),
            ),
            config,
            weight_bytes: 0,
        };
        model.weight_bytes = loader.finish("qwen3vl")?;
        Ok(model)
    }

    /// Adds the deepstack rows that belong to layer `layer` to the picture's rows of `x`.
    fn add_deepstack(pass: &mut Pass<'_>, x: &Tensor, step: &Step<'_>, layer: usize) {
        for image in step.images {
            let Some(rows) = image.features.deepstack.get(layer) else {
                continue;
            };
            let width = image.features.width;
            let mark = pass.mark();
            let rows = &rows[image.from.start * width..image.from.end * width];
            let rows = pass.upload(rows, width, image.rows.len());
            pass.add(&rows, &x.slice_rows(image.rows.clone()));
            pass.release(mark);
        }
    }
}

impl TextModel for Qwen3VlText {
    fn hidden(&self) -> usize {
        self.config.hidden
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn context_length(&self) -> usize {
        self.config.context_length
    }

    fn caches(&self) -> Vec<KvLayer> {
        let layer = KvLayer {
            cache: LayerCache::Full,
            heads: self.config.heads.key_value,
            dim: self.config.heads.dim,
        };
        vec![layer; self.layers.len()]
    }

    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    fn positions(&self, prompt: &[Segment]) -> Positions {
        three_axis_positions(prompt)
    }

    fn embed(&self, pass: &mut Pass<'_>, tokens: &[u32], prompt_rows: usize) -> Tensor {
        pass.embed(&self.embedding, tokens, prompt_rows)
    }

    fn forward(&self, pass: &mut Pass<'_>, x: Tensor, step: &Step<'_>) -> Tensor {
        let angles = self.rotary.angles(pass, step.positions, step.prompt_rows);
        for (i, layer) in self.layers.iter().enumerate() {
            let plan = AttentionPlan::Paged {
                layer: i,
                spans: step.spans,
                mask: Mask::Causal,
            };
            layer.forward(pass, &x, &angles, plan);
            Self::add_deepstack(pass, &x, step, i);
            pass.probe(format_args!("layer.{i}"), &x);
        }
        let rows = pass.gather(&x, step.output_rows);
        let h = self.norm.forward(pass, &rows);
        pass.linear(
            &h,
            self.head.as_ref().unwrap_or(&self.embedding),
            None,
            None,
        )
    }
}
