//! How activations are rounded before a product, and how a rounded row lies in memory.
//!
//! A rounded row is kept in words of 32 bits, in memory of `f32`, so that the same views and tiles serve it:
//! - [`Operand::Bf16`]: words of two inputs, the even one low, padded with zeros to whole tiles of 32 inputs;
//! - [`Operand::Int8Chunks`]: words of four signed bytes, padded with zeros to whole tiles of 64 inputs; then the scale of each
//!   chunk of 256 inputs (`f32`); then the sum of each chunk's bytes (`i32`);
//! - [`Operand::Int8Groups`]: words of four signed bytes; then the scale of each group of 32 inputs (`f32`); then the sum
//!   of each 16 bytes (`i32`); then what a minimum of each group is multiplied by, `-(scale * sum)` (`f32`).
//!
//! Bytes lie in -127..=127: `x = scale * byte` with `scale = max |x| / 127` over the chunk or group.

use crate::CHUNK;

/// What a product does to its activations first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operand {
    /// Nothing.
    #[default]
    F32,
    /// Rounds them to the upper halves of singles, to nearest even.
    Bf16,
    /// Rounds them to bytes, with a scale for each [`CHUNK`] of inputs; weights are recoded to
    /// bytes in the same chunks.
    Int8Chunks,
    /// Rounds them to bytes, with a scale for each 32 inputs; weights stay in their own codes.
    Int8Groups,
}

/// Inputs that share a scale in [`Operand::Int8Groups`].
pub(crate) const GROUP: usize = 32;

/// Inputs of a sum in [`Operand::Int8Groups`].
pub(crate) const SUM: usize = 16;

/// Words of a cache line.
pub(crate) const LINE: usize = 16;

impl Operand {
    /// Words of a rounded row: an odd number of cache lines, so that neighbouring rows do not fall
    /// on the same lines of a cache. The row itself for [`Operand::F32`].
    pub fn row_words(self, inputs: usize) -> usize {
        let words = match self {
            Self::F32 => return inputs,
            Self::Bf16 => self.code_words(inputs),
            Self::Int8Chunks => self.behind_totals(inputs),
            Self::Int8Groups => self.behind_totals(inputs) + inputs.div_ceil(GROUP),
        };
        (words.div_ceil(LINE) | 1) * LINE
    }

    /// Words that hold the rounded values.
    pub(crate) fn code_words(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs,
            Self::Bf16 => inputs.next_multiple_of(32) / 2,
            Self::Int8Chunks => inputs.next_multiple_of(64) / 4,
            Self::Int8Groups => inputs.next_multiple_of(GROUP) / 4,
        }
    }

    /// Inputs that share a scale.
    pub(crate) fn scale_inputs(self) -> usize {
        if self == Self::Int8Groups {
            GROUP
        } else {
            CHUNK
        }
    }

    /// Inputs of a sum of bytes.
    pub(crate) fn sum_inputs(self) -> usize {
        if self == Self::Int8Groups { SUM } else { CHUNK }
    }

    /// Where sums of bytes start in a row of bytes.
    pub(crate) fn totals_at(self, inputs: usize) -> usize {
        self.code_words(inputs) + inputs.div_ceil(self.scale_inputs())
    }

    /// Where they end, and what minima are multiplied by starts in a row of bytes in groups.
    pub(crate) fn behind_totals(self, inputs: usize) -> usize {
        self.totals_at(inputs) + inputs.div_ceil(self.sum_inputs())
    }
}
