//! Operands of the backend's operations. Shapes are checked once, where an operation is made.

use std::ops::Range;

use crate::{Heads, Span, Tensor, Vector, Weight};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)` by the error function.
    GeluErf,
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
}

/// What happens to a product `y = x W^T + b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// `out = y`.
    Store,
    /// `out = f(y)`.
    Activate(Activation),
    /// `out += y`: a residual connection.
    Add,
}

/// `y = x W^T + b`, then [`After`]: `[rows, inputs]` -> `[rows, outputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[rows, inputs]`.
    pub x: Tensor,
    /// `[outputs, inputs]`.
    pub weight: &'a Weight,
    /// `[outputs]`.
    pub bias: Option<&'a Vector>,
    /// What becomes of the product.
    pub after: After,
    /// `[rows, outputs]`.
    pub out: Tensor,
}

/// `out = f(x Wg^T + bg) * (x Wu^T + bu)`: the first half of a gated MLP.
#[derive(Clone, Copy, Debug)]
pub struct GatedMlp<'a> {
    /// `[rows, inputs]`.
    pub x: Tensor,
    /// `[hidden, inputs]`.
    pub gate: &'a Weight,
    /// `[hidden]`.
    pub gate_bias: Option<&'a Vector>,
    /// `[hidden, inputs]`.
    pub up: &'a Weight,
    /// `[hidden]`.
    pub up_bias: Option<&'a Vector>,
    /// The function on the gate.
    pub activation: Activation,
    /// `[rows, hidden]`.
    pub out: Tensor,
}

/// `out = x / sqrt(mean(x^2) + eps) * weight` over groups of `weight.len()` columns.
///
/// With a weight as long as a row this is the usual norm; with one as long as a head, each head of
/// a row is normalised on its own. `out` may be `x`.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// `[rows, columns]`.
    pub x: Tensor,
    /// `[group]`, dividing `columns`.
    pub weight: &'a Vector,
    /// Added to the mean square.
    pub eps: f32,
    /// `[rows, columns]`.
    pub out: Tensor,
}

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias` over each row. `out` may be `x`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[rows, columns]`.
    pub x: Tensor,
    /// `[columns]`.
    pub weight: &'a Vector,
    /// `[columns]`.
    pub bias: Option<&'a Vector>,
    /// Added to the variance.
    pub eps: f32,
    /// `[rows, columns]`.
    pub out: Tensor,
}

/// Which elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Element `j` with `j + n / 2`, where `n` elements are rotated (NeoX, Qwen).
    Halves,
    /// Element `2 j` with `2 j + 1` (original LLaMA layout).
    Pairs,
}

/// Rotates every head of each row in place.
///
/// `angles` is `[rows, n]`: `n / 2` cosines, then `n / 2` sines, where `n` is the number of rotated
/// elements at the start of a head (`n <= dim`). For the pair `(a, b)` with index `j`:
/// `a' = a cos_j - b sin_j`, `b' = b cos_j + a sin_j`.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// `[rows, heads * dim]`, changed in place.
    pub x: Tensor,
    /// `[rows, n]`.
    pub angles: Tensor,
    /// Elements of one head.
    pub dim: usize,
    /// Which elements turn together.
    pub style: RopeStyle,
}

/// Writes the keys and values of a step's rows into their pages.
#[derive(Clone, Copy, Debug)]
pub struct WriteKv<'a> {
    /// Layer of the cache.
    pub layer: usize,
    /// Sequences of the step.
    pub spans: &'a [Span<'a>],
    /// `[rows, key_value * dim]`.
    pub keys: Tensor,
    /// `[rows, key_value * dim]`.
    pub values: Tensor,
}

/// `out = softmax(scale * q k^T) v`, head by head.
#[derive(Clone, Copy, Debug)]
pub struct Attend {
    /// `[rows, query * dim]`.
    pub queries: Tensor,
    /// Head counts and size.
    pub heads: Heads,
    /// Factor on the scores, usually `1 / sqrt(dim)`.
    pub scale: f32,
    /// `[rows, query * dim]`.
    pub out: Tensor,
}

/// The keys and values of a pass whose rows attend inside segments.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    /// `[rows, key_value * dim]`.
    pub keys: Tensor,
    /// `[rows, key_value * dim]`.
    pub values: Tensor,
    /// Disjoint runs of rows that cover all rows; a row sees its own.
    pub segments: &'a [Range<usize>],
}

/// What of an attention is to be computed: whole rows of some heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionPart {
    /// Rows of the queries.
    pub rows: Range<usize>,
    /// Key/value heads, each with the query heads that share it.
    pub heads: Range<usize>,
}

impl AttentionPart {
    /// All of it.
    pub fn whole(attend: &Attend) -> Self {
        Self {
            rows: 0..attend.queries.rows(),
            heads: 0..attend.heads.key_value,
        }
    }
}
