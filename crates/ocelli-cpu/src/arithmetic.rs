//! Which arithmetic products use: what `--precision` means on an instruction set.

use ocelli_kernels::{Operand, PanelFormat, Rates};
use ocelli_quant::TensorType;

use crate::Precision;

/// Arithmetic of products, by kind of row and of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arithmetic {
    /// Prompt rows against weights that are numbers.
    plain: Operand,
    /// Prompt rows against weights that are blocks of codes.
    coded: Operand,
    /// Generated rows against weights that are blocks of codes, or bytes. Those against numbers
    /// stay in `f32`: reading the weights bounds them.
    generated: Operand,
    /// Whether attention of prompt rows and pictures rounds its operands to pairs.
    pub(crate) attends_in_pairs: bool,
    /// Whether attention of pictures rounds them to bytes, where that is faster.
    pub(crate) attends_in_bytes: bool,
    /// What weights that are numbers become when they are packed.
    numbers: Numbers,
}

/// What weights that are numbers become when they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    /// Those of 32 bits.
    singles: PanelFormat,
    /// IEEE halves.
    halves: PanelFormat,
    /// Upper halves of singles.
    upper_halves: PanelFormat,
}

impl Numbers {
    /// As in the file.
    const KEPT: Self = Self {
        singles: PanelFormat::F32,
        halves: PanelFormat::F16,
        upper_halves: PanelFormat::BF16,
    };

    /// Halves as pairs.
    const HALVES_IN_PAIRS: Self = Self {
        halves: PanelFormat::BF16,
        ..Self::KEPT
    };

    /// All as pairs.
    const PAIRS: Self = Self {
        singles: PanelFormat::BF16,
        ..Self::HALVES_IN_PAIRS
    };

    /// Those of 16 bits as bytes. Patch embeddings and routers of experts, which have 32, are a
    /// small part of the work, and where an error does most harm.
    const BYTES: Self = Self {
        halves: PanelFormat::Bytes,
        upper_halves: PanelFormat::Bytes,
        ..Self::PAIRS
    };
}

impl Arithmetic {
    pub(crate) fn new(precision: Precision, rates: Rates) -> Self {
        let pairs = if rates.pairs {
            Operand::Bf16
        } else {
            Operand::F32
        };
        match precision {
            Precision::F32 => Self {
                plain: Operand::F32,
                coded: Operand::F32,
                generated: Operand::F32,
                attends_in_pairs: false,
                attends_in_bytes: false,
                numbers: Numbers::KEPT,
            },
            Precision::Bf16 => Self {
                plain: Operand::Bf16,
                coded: Operand::Bf16,
                generated: Operand::F32,
                attends_in_pairs: true,
                attends_in_bytes: false,
                numbers: Numbers::PAIRS,
            },
            Precision::Int8 => Self {
                plain: Operand::Bf16,
                // Whole chunks suit what multiplies bytes faster than it scales them.
                coded: if rates.bytes || !rates.many_bytes {
                    Operand::Int8Chunks
                } else {
                    Operand::Int8Groups
                },
                generated: Operand::Int8Groups,
                attends_in_pairs: true,
                attends_in_bytes: true,
                numbers: Numbers::BYTES,
            },
            Precision::Auto => Self {
                plain: pairs,
                // Bytes in chunks are faster still, but change answers: see docs/numerics.md.
                coded: if rates.many_bytes {
                    Operand::Int8Groups
                } else {
                    pairs
                },
                generated: if rates.few_bytes {
                    Operand::Int8Groups
                } else {
                    Operand::F32
                },
                attends_in_pairs: rates.pairs,
                attends_in_bytes: false,
                numbers: if rates.pairs {
                    Numbers::HALVES_IN_PAIRS
                } else {
                    Numbers::KEPT
                },
            },
        }
    }

    /// True when some operand is rounded.
    pub(crate) fn rounds(&self) -> bool {
        let operands = [self.plain, self.coded, self.generated];
        self.attends_in_pairs || operands.iter().any(|operand| *operand != Operand::F32)
    }

    /// What prompt rows are rounded to.
    pub(crate) fn prompt(&self, format: PanelFormat) -> Operand {
        match format {
            PanelFormat::Coded(_) => self.coded,
            PanelFormat::Bytes if self.rounds() => Operand::Int8Chunks,
            PanelFormat::Bytes => Operand::F32,
            // Whoever stored a weight in 32 bits wanted them, for example for a router of experts.
            PanelFormat::F32 => Operand::F32,
            _ => self.plain,
        }
    }

    /// What generated rows are rounded to.
    pub(crate) fn generated(&self, format: PanelFormat) -> Operand {
        match format {
            PanelFormat::Coded(_) | PanelFormat::Bytes => self.generated,
            _ => Operand::F32,
        }
    }

    /// The layout for products with weights of a type, if the type can be run.
    pub(crate) fn format(&self, ty: TensorType) -> Option<PanelFormat> {
        match ty {
            TensorType::F32 => Some(self.numbers.singles),
            TensorType::F16 => Some(self.numbers.halves),
            TensorType::BF16 => Some(self.numbers.upper_halves),
            _ => PanelFormat::for_type(ty),
        }
    }
}
