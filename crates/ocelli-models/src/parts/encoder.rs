//! The two kinds of layers of vision transformers.

use ocelli_tensor::{Activation, AttentionPlan, Heads, Pass, Tensor};

use super::{Angles, GatedMlp, LayerNorm, Mlp, RmsNorm, SelfAttention};
use crate::{Error, Scope};

/// Everything in a plain layer that has a bias.
const BIASED: [&str; 8] = [
    "ln1", "ln2", "attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down",
];

/// Sizes and details of a layer.
#[derive(Clone, Copy, Debug)]
pub struct EncoderSizes {
    /// Width of a row.
    pub width: usize,
    /// Heads of the attention.
    pub heads: Heads,
    /// Width of the MLP's middle.
    pub middle: usize,
    /// Epsilon of the norms.
    pub eps: f32,
    /// Function of the MLP.
    pub activation: Activation,
}

/// `x += attention(norm(x))`, then `x += mlp(norm(x))`: layer norms, a plain MLP, biases everywhere.
#[derive(Debug)]
pub struct EncoderLayer {
    attention_norm: LayerNorm,
    attention: SelfAttention,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl EncoderLayer {
    /// Reads `ln1`, `attn_*`, `ln2`, `ffn_up` and `ffn_down`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(scope: &Scope<'_>, sizes: &EncoderSizes) -> Result<Self, Error> {
        scope.require_biases(&BIASED)?;
        let (width, eps) = (sizes.width, sizes.eps);
        let mlp = [width, sizes.middle, width];
        Ok(Self {
            attention_norm: LayerNorm::load(&scope.at("ln1"), width, eps)?,
            attention: SelfAttention::load(scope, width, sizes.heads, "attn_out")?,
            mlp_norm: LayerNorm::load(&scope.at("ln2"), width, eps)?,
            mlp: Mlp::load(scope, ("ffn_up", "ffn_down"), mlp, sizes.activation)?,
        })
    }

    /// `x`: `[rows, width]`, updated in place.
    pub fn forward(
        &self,
        pass: &mut Pass<'_>,
        x: &Tensor,
        angles: impl Into<Angles>,
        plan: AttentionPlan<'_>,
    ) {
        let mark = pass.mark();
        let h = self.attention_norm.forward(pass, x);
        self.attention.add_to(pass, x, &h, angles, plan);
        pass.release(mark);
        let h = self.mlp_norm.forward(pass, x);
        self.mlp.add_to(pass, &h, x);
        pass.release(mark);
    }
}

/// `x += attention(norm(x))`, then `x += gated_mlp(norm(x))`: RMS norms, biases where the file has them.
#[derive(Debug)]
pub struct GatedEncoderLayer {
    attention_norm: RmsNorm,
    attention: SelfAttention,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
}

impl GatedEncoderLayer {
    /// Reads `ln1`, `attn_*`, `ln2`, `ffn_gate`, `ffn_up` and `ffn_down`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(scope: &Scope<'_>, sizes: &EncoderSizes) -> Result<Self, Error> {
        let (width, eps) = (sizes.width, sizes.eps);
        Ok(Self {
            attention_norm: RmsNorm::load(&scope.at("ln1"), width, eps)?,
            attention: SelfAttention::load(scope, width, sizes.heads, "attn_out")?,
            mlp_norm: RmsNorm::load(&scope.at("ln2"), width, eps)?,
            mlp: GatedMlp::load(scope, width, sizes.middle, sizes.activation)?,
        })
    }

    /// For files whose rows of queries and keys are permuted, so that neighbours turn together.
    #[must_use]
    pub fn with_pairs(self) -> Self {
        Self {
            attention: self.attention.with_pairs(),
            ..self
        }
    }

    /// `x`: `[rows, width]`, updated in place.
    pub fn forward(
        &self,
        pass: &mut Pass<'_>,
        x: &Tensor,
        angles: &Tensor,
        plan: AttentionPlan<'_>,
    ) {
        let mark = pass.mark();
        let h = self.attention_norm.forward(pass, x);
        self.attention.add_to(pass, x, &h, angles, plan);
        pass.release(mark);
        let h = self.mlp_norm.forward(pass, x);
        self.mlp.add_to(pass, &h, x);
        pass.release(mark);
    }
}
