//! Weights as kernels read them: 16 outputs side by side, so that a lane is an output.
//!
//! A panel holds 16 rows of a weight (the last one may be padded with zeros). Within a panel the
//! elements of the 16 rows for one input (or for one block of inputs) lie together: a kernel loads
//! 16 of them, multiplies by one activation and never adds across lanes. Quantised weights keep
//! their bits; only the order changes.

use std::ops::Range;

use ocelli_quant::TensorType;

use crate::workspace::room;
use crate::{Kernels, Workspace};

pub use coded::Code;
use coded::Coding;

mod blocks;
pub(crate) mod bytes;
pub(crate) mod cast;
pub(crate) mod coded;
mod pack;

/// Outputs in a panel, and lanes of a vector.
pub const LANES: usize = 16;

/// Inputs of a tile of pairs.
const TILE: usize = 32;

/// Inputs that are unpacked at a time; a multiple of every block length.
pub const CHUNK: usize = 256;

/// How a panel's bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanelFormat {
    /// `[inputs][16]` IEEE singles.
    F32,
    /// `[inputs][16]` IEEE halves.
    F16,
    /// `[pairs][16][2]` upper halves of IEEE singles: a word of a lane is two inputs, the even one
    /// low. Zeros follow the last input up to a whole tile of 32.
    BF16,
    /// Bytes with a scale for each [`CHUNK`] of inputs, which numbers are rounded to; see `panels/bytes.rs`.
    Bytes,
    /// Interleaved blocks of a quantised type.
    Coded(Code),
    /// 16 rows of blocks as in the file, for types without a kernel of their own.
    Blocks(TensorType),
}

impl PanelFormat {
    /// The format for weights of a type, if the type can be run.
    pub fn for_type(ty: TensorType) -> Option<Self> {
        match ty {
            TensorType::F32 => Some(Self::F32),
            TensorType::F16 => Some(Self::F16),
            TensorType::BF16 => Some(Self::BF16),
            _ => match Code::ALL.into_iter().find(|code| code.source_type() == ty) {
                Some(code) => Some(Self::Coded(code)),
                None => ty.is_runnable().then_some(Self::Blocks(ty)),
            },
        }
    }

    /// Bytes of one panel; `None` when rows of `inputs` are no whole blocks or the size overflows.
    pub fn panel_bytes(self, inputs: usize) -> Option<usize> {
        if let Some(coding) = self.coding() {
            let blocks = inputs
                .is_multiple_of(coding.elements)
                .then_some(inputs / coding.elements)?;
            return blocks.checked_mul(coding.bytes);
        }
        let row = match self {
            Self::Bytes => return bytes::panel_bytes(inputs),
            Self::F32 => inputs.checked_mul(4),
            Self::F16 => inputs.checked_mul(2),
            Self::BF16 => inputs.checked_next_multiple_of(TILE)?.checked_mul(2),
            _ => self.source_type().row_bytes(inputs),
        };
        row?.checked_mul(LANES)
    }

    /// Layout of interleaved blocks.
    pub(crate) fn coding(self) -> Option<&'static Coding> {
        match self {
            Self::Coded(code) => Some(code.coding()),
            Self::F32 | Self::F16 | Self::BF16 | Self::Bytes | Self::Blocks(_) => None,
        }
    }
}

/// Some panels of a weight: `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    format: PanelFormat,
    outputs: usize,
    inputs: usize,
    panel_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Panels<'a> {
    /// Panels that [`PanelFormat::pack`] made, one behind the other; the first starts at a multiple
    /// of 4 bytes.
    ///
    /// # Panics
    /// When `bytes` are not the panels of `outputs` rows.
    pub fn new(format: PanelFormat, outputs: usize, inputs: usize, bytes: &'a [u8]) -> Self {
        let panel_bytes = format
            .panel_bytes(inputs)
            .expect("packed rows are whole blocks");
        assert_eq!(
            bytes.len(),
            outputs.div_ceil(LANES) * panel_bytes,
            "{outputs} rows of {inputs}"
        );
        Self {
            format,
            outputs,
            inputs,
            panel_bytes,
            bytes,
        }
    }

    /// Layout of the panels.
    pub fn format(&self) -> PanelFormat {
        self.format
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Input features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Bytes of one panel.
    pub fn panel(&self, panel: usize) -> &'a [u8] {
        &self.bytes[panel * self.panel_bytes..(panel + 1) * self.panel_bytes]
    }

    /// The values of one output: `out = W[output]`.
    ///
    /// # Panics
    /// When there is no such output or `out` is not `inputs` long.
    pub fn row(
        &self,
        kernels: &dyn Kernels,
        output: usize,
        workspace: &mut Workspace,
        out: &mut [f32],
    ) {
        assert!(
            output < self.outputs && out.len() == self.inputs,
            "output {output} of {}",
            self.outputs
        );
        let weights = room(&mut workspace.weights, CHUNK * LANES);
        for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
            let start = chunk * CHUNK;
            let weights = &mut weights[..out.len() * LANES];
            kernels.unpack(*self, output / LANES, start..start + out.len(), weights);
            for (out, lanes) in out.iter_mut().zip(weights.as_chunks::<LANES>().0) {
                *out = lanes[output % LANES];
            }
        }
    }

    /// All elements of [`PanelFormat::F32`] panels.
    pub(crate) fn singles(&self) -> &'a [f32] {
        cast::singles(self.bytes)
    }

    /// All elements, as bits, of panels with elements of 16 bits.
    pub(crate) fn halves(&self) -> &'a [u16] {
        cast::halves(self.bytes)
    }

    /// All words of 32 bits.
    pub(crate) fn words(&self) -> &'a [i32] {
        cast::words(self.bytes)
    }

    /// The panels of a run of outputs, which starts at a multiple of 16 and ends at one or at the
    /// last output.
    ///
    /// # Panics
    /// When the run cuts a panel.
    #[must_use]
    pub fn part(&self, outputs: Range<usize>) -> Self {
        assert!(
            outputs.start.is_multiple_of(LANES)
                && (outputs.end.is_multiple_of(LANES) || outputs.end == self.outputs),
            "{outputs:?} cuts a panel"
        );
        let panels = outputs.start / LANES..outputs.end.div_ceil(LANES);
        let bytes = &self.bytes[panels.start * self.panel_bytes..panels.end * self.panel_bytes];
        Self {
            outputs: outputs.len(),
            bytes,
            ..*self
        }
    }
}
