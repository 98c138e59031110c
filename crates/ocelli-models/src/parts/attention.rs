//! Self-attention with grouped heads, optional biases and optional norms on queries and keys.

use ocelli_tensor::{AttentionPlan, Heads, Pass, QueryKeyValue, RopeStyle, Tensor};

use super::{Linear, RmsNorm};
use crate::{Error, Scope};

/// What turns queries and keys: angles of each row, `[rows, dim]`.
#[derive(Clone, Copy, Debug)]
pub enum Angles {
    /// Nothing: places stand in the rows already.
    None,
    /// Queries and keys turn alike.
    Both(Tensor),
    /// Each has its own, so that queries can also be made longer.
    Each {
        /// Of the queries.
        queries: Tensor,
        /// Of the keys.
        keys: Tensor,
    },
}

impl From<&Tensor> for Angles {
    fn from(both: &Tensor) -> Self {
        Self::Both(*both)
    }
}

/// RMS norms on each head of the queries and keys, before rotation.
#[derive(Debug)]
pub struct QkNorm {
    queries: RmsNorm,
    keys: RmsNorm,
}

impl QkNorm {
    /// Reads `attn_q_norm` and `attn_k_norm` (`[dim]`).
    ///
    /// # Errors
    /// When one is missing or of another length.
    pub fn load(scope: &Scope<'_>, dim: usize, eps: f32) -> Result<Self, Error> {
        Ok(Self {
            queries: RmsNorm::load(&scope.at("attn_q_norm"), dim, eps)?,
            keys: RmsNorm::load(&scope.at("attn_k_norm"), dim, eps)?,
        })
    }
}

/// `out(softmax(scale q k^T) v)` with rotated queries and keys; `scale` is `1 / sqrt(dim)` unless stated.
#[derive(Debug)]
pub struct SelfAttention {
    queries: Linear,
    keys: Linear,
    values: Linear,
    norm: Option<QkNorm>,
    out: Linear,
    heads: Heads,
    scale: f32,
    style: RopeStyle,
}

impl SelfAttention {
    /// Reads `attn_q`, `attn_k`, `attn_v` (or the fused `attn_qkv`) and the projection named `out`.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn load(scope: &Scope<'_>, hidden: usize, heads: Heads, out: &str) -> Result<Self, Error> {
        let (wide, narrow) = (heads.query_columns(), heads.key_value_columns());
        let [queries, keys, values] = if scope.has("attn_qkv.weight") {
            let fused = scope.at("attn_qkv");
            let all = wide + 2 * narrow;
            // Biases may have stayed apart when the weights were fused.
            let part = |rows, apart| {
                Linear::load_rows(&fused, rows, all, hidden)?.or_bias(&scope.at(apart))
            };
            [
                part(0..wide, "attn_q")?,
                part(wide..wide + narrow, "attn_k")?,
                part(wide + narrow..all, "attn_v")?,
            ]
        } else {
            [
                Linear::load(&scope.at("attn_q"), wide, hidden)?,
                Linear::load(&scope.at("attn_k"), narrow, hidden)?,
                Linear::load(&scope.at("attn_v"), narrow, hidden)?,
            ]
        };
        Ok(Self {
            queries,
            keys,
            values,
            norm: None,
            out: Linear::load(&scope.at(out), hidden, wide)?,
            heads,
            scale: 1.0 / (heads.dim as f32).sqrt(),
            style: RopeStyle::Halves,
        })
    }

    /// Puts norms on queries and keys.
    #[must_use]
    pub fn with_norm(mut self, norm: QkNorm) -> Self {
        self.norm = Some(norm);
        self
    }

    /// Rotates neighbours instead of halves: files whose query and key rows are permuted for it.
    #[must_use]
    pub fn with_pairs(mut self) -> Self {
        self.style = RopeStyle::Pairs;
        self
    }

    /// Another factor on the scores.
    #[must_use]
    pub fn with_scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// `x += attention(h)`, both `[rows, hidden]`; `angles` turn queries and keys.
    pub fn add_to(
        &self,
        pass: &mut Pass<'_>,
        x: &Tensor,
        h: &Tensor,
        angles: impl Into<Angles>,
        plan: AttentionPlan<'_>,
    ) {
        let mark = pass.mark();
        let mixed = self.mix(pass, h, angles.into(), plan);
        self.out.add_to(pass, &mixed, x);
        pass.release(mark);
    }

    /// `attention(h)`, for layers that do something to it before they add it.
    pub fn forward(
        &self,
        pass: &mut Pass<'_>,
        h: &Tensor,
        angles: impl Into<Angles>,
        plan: AttentionPlan<'_>,
    ) -> Tensor {
        let mixed = self.mix(pass, h, angles.into(), plan);
        self.out.forward(pass, &mixed)
    }

    /// What the heads see, side by side: `[rows, query heads * dim]`.
    fn mix(
        &self,
        pass: &mut Pass<'_>,
        h: &Tensor,
        angles: Angles,
        plan: AttentionPlan<'_>,
    ) -> Tensor {
        let weights = [&self.queries, &self.keys, &self.values].map(Linear::parts);
        let [queries, keys, values] = pass.linears(h, weights);
        if let Some(norm) = &self.norm {
            norm.queries.in_place(pass, &queries);
            norm.keys.in_place(pass, &keys);
        }
        let turns = match angles {
            Angles::None => None,
            Angles::Both(both) => Some((both, both)),
            Angles::Each { queries, keys } => Some((queries, keys)),
        };
        if let Some((of_queries, of_keys)) = turns {
            pass.rope(&queries, &of_queries, self.heads.dim, self.style);
            pass.rope(&keys, &of_keys, self.heads.dim, self.style);
        }
        let rows = QueryKeyValue {
            queries,
            keys,
            values,
        };
        pass.attend(rows, self.heads, self.scale, plan)
    }
}
