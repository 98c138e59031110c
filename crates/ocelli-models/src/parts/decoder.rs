//! A decoder layer of the LLaMA kind.

use ocelli_tensor::{AttentionPlan, Pass, Tensor};

use super::{Angles, Experts, GatedMlp, RmsNorm, SelfAttention};
use crate::{Error, Scope};

/// What follows the attention.
#[derive(Debug)]
pub enum DecoderMlp {
    /// The same for every token.
    Gated(GatedMlp),
    /// A few of many, chosen for each token.
    Experts(Experts),
}

/// `x += attention(norm(x))`, then `x += mlp(norm(x))`.
#[derive(Debug)]
pub struct DecoderLayer {
    attention_norm: RmsNorm,
    attention: SelfAttention,
    mlp_norm: RmsNorm,
    mlp: DecoderMlp,
}

impl DecoderLayer {
    /// Reads `attn_norm` and `ffn_norm` (`[hidden]`) around the two halves.
    ///
    /// # Errors
    /// When a norm is missing or of another length.
    pub fn load(
        scope: &Scope<'_>,
        (hidden, eps): (usize, f32),
        attention: SelfAttention,
        mlp: DecoderMlp,
    ) -> Result<Self, Error> {
        Ok(Self {
            attention_norm: RmsNorm::load(&scope.at("attn_norm"), hidden, eps)?,
            attention,
            mlp_norm: RmsNorm::load(&scope.at("ffn_norm"), hidden, eps)?,
            mlp,
        })
    }

    /// `x`: `[rows, hidden]`, updated in place.
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
        match &self.mlp {
            DecoderMlp::Gated(mlp) => mlp.add_to(pass, &h, x),
            DecoderMlp::Experts(experts) => experts.add_to(pass, &h, x),
        }
        pass.release(mark);
    }
}
