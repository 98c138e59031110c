//! AVX-512 (F, BW, DQ, VL): which of its sets a processor has.
//!
//! `entries.rs` compiles the algorithms with its instructions, `operations.rs` has those on 16
//! lanes in one register.

mod dots;
mod entries;
mod operations;

use super::amx::{Amx, AmxRefusal};
use crate::Rates;

/// AVX-512 F, BW, DQ and VL; with `VNNI` also dot products of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Set<const VNNI: bool>(Unit);

/// Proof that this processor has AVX-512 F, BW, DQ and VL.
pub type Avx512 = Avx512Set<false>;

/// Proof that this processor has the same and dot products of bytes; those of pairs of halves are
/// used where it has them.
pub type Avx512Vnni = Avx512Set<true>;

/// What multiplies rounded operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Registers, without products of pairs.
    Bytes,
    /// Registers, with AVX512-BF16.
    Pairs,
    /// Tiles of the matrix unit, which comes with both.
    Tiles(Amx),
}

impl Avx512 {
    /// The proof, if the processor and the system have the instructions.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        present.then_some(Self(Unit::Bytes))
    }
}

impl Avx512Vnni {
    /// The proof, if the processor and the system have the instructions.
    pub fn detect() -> Option<Self> {
        let present = Avx512::detect().is_some() && is_x86_feature_detected!("avx512vnni");
        let unit = if is_x86_feature_detected!("avx512bf16") {
            Unit::Pairs
        } else {
            Unit::Bytes
        };
        present.then_some(Self(unit))
    }

    /// The same with the matrix unit for products of prompts.
    ///
    /// # Errors
    /// Why the matrix unit cannot be used.
    pub fn detect_amx() -> Result<Self, AmxRefusal> {
        match Self::detect() {
            Some(Self(Unit::Pairs)) => Amx::detect().map(|amx| Self(Unit::Tiles(amx))),
            _ => Err(AmxRefusal::Absent),
        }
    }

    /// The same with an emulation of the matrix unit: for tests of what surrounds its instructions.
    #[doc(hidden)]
    pub fn with_emulated_amx() -> Option<Self> {
        Self::detect().map(|_| Self(Unit::Tiles(Amx::Emulated)))
    }
}

impl<const VNNI: bool> Avx512Set<VNNI> {
    fn set_name(self) -> &'static str {
        match (VNNI, self.0) {
            (false, _) => "avx512",
            (true, Unit::Tiles(_)) => "amx",
            (true, _) => "avx512vnni",
        }
    }

    fn set_rates(self) -> Rates {
        Rates {
            pairs: self.0 != Unit::Bytes,
            bytes: VNNI,
            few_bytes: true,
            many_bytes: !matches!(self.0, Unit::Tiles(_)),
            // Eight rows take half the time so, 24 rows 0.7 of it, 48 rows 0.83.
            few_rows: 48,
            tiles: matches!(self.0, Unit::Tiles(_)),
        }
    }
}
