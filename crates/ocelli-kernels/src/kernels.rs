//! What an instruction set offers: whole loops over slices.

use std::ops::Range;

use crate::{Attention, Matrix, MatrixMut, Operand, Panels, Workspace};

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

/// What happens to a sum `y = x W^T + b` when it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// `out = y`.
    Store,
    /// `out = f(y)`.
    Activate(Activation),
    /// `out += y`.
    Add,
    /// `out *= y`: the second half of a gated product.
    Multiply,
}

/// Which elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Element `j` with `j + n / 2`.
    Halves,
    /// Element `2 j` with `2 j + 1`.
    Pairs,
}

/// `y = x W^T + b` for some rows and some panels of a weight, then [`Finish`].
#[derive(Debug)]
pub struct Product<'a> {
    /// How the rows of `x` were rounded.
    pub operand: Operand,
    /// `[rows, inputs]`, or as many words as the rounded rows have.
    pub x: Matrix<'a>,
    /// `[outputs, inputs]`, a run of panels.
    pub weight: Panels<'a>,
    /// `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// What becomes of a sum.
    pub finish: Finish,
    /// `[rows, outputs]`.
    pub out: MatrixMut<'a>,
}

impl Product<'_> {
    /// # Panics
    /// When shapes do not fit; called first by every kernel.
    pub fn check(&self) {
        assert_eq!(
            self.x.columns(),
            self.operand.row_words(self.weight.inputs()),
            "inputs of a product"
        );
        assert_eq!(self.x.rows(), self.out.rows(), "rows of a product");
        assert_eq!(
            self.weight.outputs(),
            self.out.columns(),
            "outputs of a product"
        );
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), self.weight.outputs(), "one bias per output");
        }
    }
}

/// Elements that a kernel reads as `f32`.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    /// IEEE single.
    F32(&'a [f32]),
    /// IEEE half, as bits.
    F16(&'a [u16]),
    /// Words of codes and scales; see [`crate::Kept`].
    Q8(&'a [u16]),
}

impl<'a> Element<'a> {
    /// No elements.
    pub const NONE: Self = Self::F32(&[]);

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) | Self::Q8(values) => values.len(),
        }
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A run of elements.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Element<'a> {
        match self {
            Self::F32(values) => Element::F32(&values[range]),
            Self::F16(values) => Element::F16(&values[range]),
            Self::Q8(words) => Element::Q8(&words[range]),
        }
    }
}

/// Keys of one head as panels: `[dim][16]` each, so that 16 tokens are the lanes of a vector, with
/// scales behind codes.
#[derive(Clone, Copy, Debug)]
pub struct KeyPanels<'a> {
    /// Elements, from the first panel to the end of the last.
    pub elements: Element<'a>,
    /// Number of panels.
    pub count: usize,
    /// Elements from one panel's start to the next.
    pub step: usize,
    /// What is read soon: memory is asked for it on the way.
    pub ahead: Element<'a>,
}

impl<'a> KeyPanels<'a> {
    /// Panels that lie together.
    pub fn together(elements: Element<'a>, dim: usize) -> Self {
        let step = elements.kept().key_panel(dim);
        let count = elements.len() / step;
        assert_eq!(elements.len(), count * step, "whole panels of keys");
        Self {
            elements,
            count,
            step,
            ahead: Element::NONE,
        }
    }
}

/// Value rows of one head: `[tokens, columns]`, rows `stride` elements apart and readable up to a
/// multiple of 16; or, in 8 bits, the runs of 16 tokens in which they are.
#[derive(Clone, Copy, Debug)]
pub struct ValueRows<'a> {
    /// Elements.
    pub values: Element<'a>,
    /// Number of rows.
    pub tokens: usize,
    /// Elements from one row's start to the next; of no matter in 8 bits.
    pub stride: usize,
    /// Tokens of the first run that stand before them; none but in 8 bits.
    pub before: usize,
    /// What is read soon: memory is asked for it on the way.
    pub ahead: Element<'a>,
}

/// One step of an online softmax over a block of scores; see [`Kernels::softmax`].
#[derive(Debug)]
pub struct Softmax<'a> {
    /// `[rows, stride]`: scores in, weights out.
    pub scores: &'a mut [f32],
    /// Elements from one row of scores to the next.
    pub stride: usize,
    /// Scores of each row in this block, a multiple of 16.
    pub tokens: usize,
    /// Which of them each row sees.
    pub visible: &'a [Range<usize>],
    /// `[rows]`: the largest score so far.
    pub largest: &'a mut [f32],
    /// `[rows]`: the sum of weights so far.
    pub total: &'a mut [f32],
    /// `[rows, width]`: the weighted sum so far.
    pub sums: &'a mut [f32],
}

impl Softmax<'_> {
    /// The same step, borrowed for one call.
    pub fn reborrow(&mut self) -> Softmax<'_> {
        Softmax {
            scores: self.scores,
            largest: self.largest,
            total: self.total,
            sums: self.sums,
            ..*self
        }
    }
}

/// Which rounded operands an instruction set multiplies faster than `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// [`Operand::Bf16`].
    pub pairs: bool,
    /// [`Operand::Int8Chunks`].
    pub bytes: bool,
    /// [`Operand::Int8Groups`] for generated rows.
    pub few_bytes: bool,
    /// [`Operand::Int8Groups`] for rows of prompts; faster than [`Operand::Bf16`], too.
    pub many_bytes: bool,
    /// Most rows of prompts in [`Operand::Int8Groups`] for which [`Kernels::product_few`], which
    /// gives the same bits, takes less time than [`Kernels::product`]: codes are decoded in
    /// registers for some rows at a time, not once in memory for all.
    pub few_rows: usize,
    /// Whether products of prompts run on a matrix unit: in tiles of 32 rows, and so fast that rows
    /// and weights have to be read from far away less often.
    pub tiles: bool,
}

/// An instruction set. One call is a whole loop, so a virtual call costs nothing that can be measured.
///
/// Row `i` of a result depends only on row `i` of the operands, bit for bit, whatever rows stand beside it.
pub trait Kernels: Send + Sync {
    /// The name that a user would force it by.
    fn name(&self) -> &'static str;

    /// What it is good at.
    fn rates(&self) -> Rates;

    /// Rounds a row for a product; `out` is as long as [`Operand::row_words`] says.
    fn round(&self, operand: Operand, x: &[f32], out: &mut [f32]);

    /// Values of some inputs of a panel, transposed: `out[k][lane] = W[16 panel + lane][inputs.start + k]`.
    ///
    /// `inputs` starts at a multiple of [`crate::CHUNK`] and is at most that long.
    fn unpack(&self, weight: Panels<'_>, panel: usize, inputs: Range<usize>, out: &mut [f32]);

    /// A product for rows of prompts: weights are unpacked to what the rows are rounded to, once
    /// for many rows, and each sum runs over the inputs in order.
    ///
    /// # Panics
    /// When rows are rounded to bytes and the weight has no codes.
    fn product(&self, product: Product<'_>, workspace: &mut Workspace);

    /// A product for generated rows: weights are read once and decoded in registers. Rows are not
    /// rounded, or to [`Operand::Int8Groups`].
    ///
    /// # Panics
    /// When rows are rounded in another way, or to bytes and the weight has no codes.
    fn product_few(&self, product: Product<'_>, workspace: &mut Workspace);

    /// `out += x`.
    fn add(&self, x: &[f32], out: &mut [f32]);

    /// `out *= x`.
    fn multiply(&self, x: &[f32], out: &mut [f32]);

    /// `values = f(values)`.
    fn activate(&self, activation: Activation, values: &mut [f32]);

    /// `x / sqrt(mean(x^2) + eps) * weight`, in place.
    fn rms_norm(&self, x: &mut [f32], weight: &[f32], eps: f32);

    /// `(x - mean) / sqrt(variance + eps) * weight + bias`, in place.
    fn layer_norm(&self, x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32);

    /// Turns the pairs of one head by `angles`: `n / 2` cosines, then `n / 2` sines.
    fn rope(&self, head: &mut [f32], angles: &[f32], style: RopeStyle);

    /// True when every element is finite.
    fn is_finite(&self, x: &[f32]) -> bool;

    /// `f32` to half precision, to nearest even.
    fn narrow(&self, x: &[f32], out: &mut [u16]);

    /// Half precision to `f32`, exact.
    fn widen(&self, x: &[u16], out: &mut [f32]);

    /// 16 tokens' keys in 8 bits to `f32`, `[dim][16]`.
    fn widen_keys(&self, panel: &[u16], out: &mut [f32]);

    /// Some of 16 tokens' values in 8 bits to `f32`, `[tokens, width]`.
    fn widen_values(&self, run: &[u16], tokens: Range<usize>, out: &mut [f32]);

    /// Up to 32 elements to codes of 8 bits; the scale. See [`crate::Kept`].
    fn round_group(&self, x: &[f32], codes: &mut [i8]) -> u16;

    /// Keys as panels: `out[panel][d][lane] = x[16 panel + lane][d]`, absent tokens as 0.
    fn transpose(&self, x: Matrix<'_>, out: &mut [f32]);

    /// `scores[r][t] = sum over d of queries[r][d] * keys[t / 16][d][t % 16]`, d in order.
    ///
    /// `queries` is `[rows, dim]`; `scores` rows are `stride` apart.
    fn scores(&self, queries: Matrix<'_>, keys: KeyPanels<'_>, scores: &mut [f32], stride: usize);

    /// Asks memory for elements that are read soon. Changes no result.
    fn ask_for(&self, elements: Element<'_>);

    /// Turns scores into weights: with `m' = max(m, scores)`, `a = exp(m - m')` and `p = exp(scores - m')` (0 where
    /// not visible): `total = a total + sum(p)`, `sums = a sums`, `scores = p`.
    fn softmax(&self, softmax: Softmax<'_>);

    /// [`Attention::run`] with operands rounded to [`Operand::Bf16`], for rows of prompts and pictures.
    fn attend_pairs(
        &self,
        attention: &Attention<'_>,
        out: &mut MatrixMut<'_>,
        workspace: &mut Workspace,
    );

    /// [`Kernels::attend_pairs`] with operands rounded to bytes, where a set multiplies those
    /// faster and all rows see the same keys.
    fn attend_bytes(
        &self,
        attention: &Attention<'_>,
        out: &mut MatrixMut<'_>,
        workspace: &mut Workspace,
    ) {
        self.attend_pairs(attention, out, workspace);
    }

    /// `sums[r] += weights[r][t] * values[t]`, tokens in order. `weights` is `[rows, tokens]`,
    /// `sums` is `[rows, width]`.
    fn weigh(&self, weights: Matrix<'_>, values: ValueRows<'_>, sums: &mut [f32]);
}
