//! The list of tensor types of GGUF: ids, names, block sizes.

use std::fmt;

use crate::QuantError;

/// The type of a tensor's elements. The discriminant is the id in the file.
#[allow(
    non_camel_case_types,
    reason = "the names are those of the file format"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum TensorType {
    /// IEEE single.
    F32 = 0,
    /// IEEE half.
    F16 = 1,
    /// 4 bits, scale.
    Q4_0 = 2,
    /// 4 bits, scale and minimum.
    Q4_1 = 3,
    /// 5 bits, scale.
    Q5_0 = 6,
    /// 5 bits, scale and minimum.
    Q5_1 = 7,
    /// 8 bits, scale.
    Q8_0 = 8,
    /// 8 bits, scale and sum: activations only.
    Q8_1 = 9,
    /// 2 bits, 4-bit scales and minima.
    Q2_K = 10,
    /// 3 bits, 6-bit scales.
    Q3_K = 11,
    /// 4 bits, 6-bit scales and minima.
    Q4_K = 12,
    /// 5 bits, 6-bit scales and minima.
    Q5_K = 13,
    /// 6 bits, 8-bit scales.
    Q6_K = 14,
    /// 8 bits, sums: activations only.
    Q8_K = 15,
    /// Grid of 8 elements, 2.06 bits.
    IQ2_XXS = 16,
    /// Grid of 8 elements, 2.31 bits.
    IQ2_XS = 17,
    /// Grid of 4 elements, 3.06 bits.
    IQ3_XXS = 18,
    /// Grid of 8 elements, 1.56 bits.
    IQ1_S = 19,
    /// 4 bits, non-linear values.
    IQ4_NL = 20,
    /// Grid of 4 elements, 3.44 bits.
    IQ3_S = 21,
    /// Grid of 8 elements, 2.56 bits.
    IQ2_S = 22,
    /// 4 bits, non-linear values, 6-bit scales.
    IQ4_XS = 23,
    /// Integer of 8 bits.
    I8 = 24,
    /// Integer of 16 bits.
    I16 = 25,
    /// Integer of 32 bits.
    I32 = 26,
    /// Integer of 64 bits.
    I64 = 27,
    /// IEEE double.
    F64 = 28,
    /// Grid of 8 elements, 1.75 bits.
    IQ1_M = 29,
    /// The upper half of an IEEE single.
    BF16 = 30,
    /// Ternary, 1.69 bits.
    TQ1_0 = 34,
    /// Ternary, 2.06 bits.
    TQ2_0 = 35,
    /// OCP microscaling: 4-bit floats, power-of-two scale.
    MXFP4 = 39,
    /// 4-bit floats, E4M3 scales.
    NVFP4 = 40,
    /// One bit, scale.
    Q1_0 = 41,
    /// Two bits, scale.
    Q2_0 = 42,
}

use TensorType::*;

impl TensorType {
    /// All types, by id.
    pub const ALL: [Self; 35] = [
        F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ2_XXS,
        IQ2_XS, IQ3_XXS, IQ1_S, IQ4_NL, IQ3_S, IQ2_S, IQ4_XS, I8, I16, I32, I64, F64, IQ1_M, BF16,
        TQ1_0, TQ2_0, MXFP4, NVFP4, Q1_0, Q2_0,
    ];

    /// The type with this id in a GGUF file.
    ///
    /// # Errors
    /// [`QuantError::RemovedType`] for ids that once had a meaning, [`QuantError::UnknownType`] for
    /// all others.
    pub fn from_gguf_id(id: u32) -> Result<Self, QuantError> {
        if let Some(ty) = Self::ALL.into_iter().find(|ty| ty.gguf_id() == id) {
            return Ok(ty);
        }
        let name = match id {
            4 => "Q4_2",
            5 => "Q4_3",
            31 => "Q4_0_4_4",
            32 => "Q4_0_4_8",
            33 => "Q4_0_8_8",
            36 => "IQ4_NL_4_4",
            37 => "IQ4_NL_4_8",
            38 => "IQ4_NL_8_8",
            _ => return Err(QuantError::UnknownType { id }),
        };
        Err(QuantError::RemovedType { id, name })
    }

    /// The id in a GGUF file.
    pub const fn gguf_id(self) -> u32 {
        self as u32
    }

    /// The name as the format spells it.
    pub const fn name(self) -> &'static str {
        self.properties().0
    }

    /// Elements of one block; 1 for plain numbers.
    pub const fn block_elements(self) -> usize {
        self.properties().1
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        self.properties().2
    }

    /// Bytes of a row of `elements`; `None` when that is no whole number of blocks or overflows.
    pub const fn row_bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }

    /// Whether tensors of this type can be weights of a running model.
    pub const fn is_runnable(self) -> bool {
        crate::is_dequantizable(self)
    }

    /// Name, elements of a block, bytes of a block.
    const fn properties(self) -> (&'static str, usize, usize) {
        match self {
            F32 => ("F32", 1, 4),
            F16 => ("F16", 1, 2),
            Q4_0 => ("Q4_0", 32, 18),
            Q4_1 => ("Q4_1", 32, 20),
            Q5_0 => ("Q5_0", 32, 22),
            Q5_1 => ("Q5_1", 32, 24),
            Q8_0 => ("Q8_0", 32, 34),
            Q8_1 => ("Q8_1", 32, 36),
            Q2_K => ("Q2_K", 256, 84),
            Q3_K => ("Q3_K", 256, 110),
            Q4_K => ("Q4_K", 256, 144),
            Q5_K => ("Q5_K", 256, 176),
            Q6_K => ("Q6_K", 256, 210),
            Q8_K => ("Q8_K", 256, 292),
            IQ2_XXS => ("IQ2_XXS", 256, 66),
            IQ2_XS => ("IQ2_XS", 256, 74),
            IQ3_XXS => ("IQ3_XXS", 256, 98),
            IQ1_S => ("IQ1_S", 256, 50),
            IQ4_NL => ("IQ4_NL", 32, 18),
            IQ3_S => ("IQ3_S", 256, 110),
            IQ2_S => ("IQ2_S", 256, 82),
            IQ4_XS => ("IQ4_XS", 256, 136),
            I8 => ("I8", 1, 1),
            I16 => ("I16", 1, 2),
            I32 => ("I32", 1, 4),
            I64 => ("I64", 1, 8),
            F64 => ("F64", 1, 8),
            IQ1_M => ("IQ1_M", 256, 56),
            BF16 => ("BF16", 1, 2),
            TQ1_0 => ("TQ1_0", 256, 54),
            TQ2_0 => ("TQ2_0", 256, 66),
            MXFP4 => ("MXFP4", 32, 17),
            NVFP4 => ("NVFP4", 64, 36),
            Q1_0 => ("Q1_0", 128, 18),
            Q2_0 => ("Q2_0", 64, 18),
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_round_trip() {
        for ty in TensorType::ALL {
            assert_eq!(TensorType::from_gguf_id(ty.gguf_id()), Ok(ty));
        }
        assert!(
            TensorType::ALL
                .windows(2)
                .all(|pair| pair[0].gguf_id() < pair[1].gguf_id())
        );
    }

    #[test]
    fn unknown_and_removed_ids_are_told_apart_by_name() {
        for id in [43, 999, u32::MAX] {
            let error = TensorType::from_gguf_id(id).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown tensor type {id}"));
        }
        for (id, name) in [
            (4, "Q4_2"),
            (5, "Q4_3"),
            (31, "Q4_0_4_4"),
            (33, "Q4_0_8_8"),
            (36, "IQ4_NL_4_4"),
        ] {
            let error = TensorType::from_gguf_id(id).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&format!("type {name} was removed")),
                "{error}"
            );
        }
    }

    #[test]
    fn row_bytes_needs_whole_blocks_and_never_overflows() {
        assert_eq!(Q4_0.row_bytes(64), Some(36));
        assert_eq!(Q4_0.row_bytes(33), None);
        assert_eq!(Q6_K.row_bytes(512), Some(420));
        assert_eq!(F32.row_bytes(usize::MAX), None);
        assert_eq!(F32.row_bytes(0), Some(0));
    }
}
