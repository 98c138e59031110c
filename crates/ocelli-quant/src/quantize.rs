//! `f32` rows to blocks by the reference rules, without importance data.
//!
//! The result is byte for byte that of the reference C code compiled without fused multiply-add.
//! Two habits of it matter: blocks of 32 compute codes from the scale before it is rounded to a
//! half, K-quants from the rounded one; and the order of every sum and product is kept.

mod blocks32;
mod fit;
mod k_quants;

use crate::dequantize::check_lengths;
use crate::float::{f32_to_bf16, write_f16_run};
use crate::{QuantError, TensorType};

/// Whether [`quantize`] knows this type.
pub const fn is_quantizable(ty: TensorType) -> bool {
    use TensorType::*;
    matches!(
        ty,
        F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2_K | Q3_K | Q4_K | Q5_K | Q6_K
    )
}

/// Appends the blocks of `values` (whole blocks) to `out`.
///
/// # Errors
/// As [`quantize_into`]; `out` is then unchanged.
pub fn quantize(ty: TensorType, values: &[f32], out: &mut Vec<u8>) -> Result<(), QuantError> {
    let start = out.len();
    out.resize(start + ty.row_bytes(values.len()).unwrap_or(0), 0);
    let done = quantize_into(ty, values, &mut out[start..]);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Writes the blocks of `values` to `out`. Values that are not finite give blocks of no use, never a panic.
///
/// # Errors
/// A type that cannot be written; `values` and `out` that are not the same whole number of blocks.
pub fn quantize_into(ty: TensorType, values: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
    check_lengths(ty, out.len(), values.len())?;
    match ty {
        TensorType::F32 => blocks(values, out, |[x]: &[f32; 1], block| {
            *block = x.to_le_bytes()
        }),
        TensorType::F16 => write_f16_run(values, out),
        TensorType::BF16 => blocks(values, out, |[x]: &[f32; 1], block| {
            *block = f32_to_bf16(*x)
        }),
        TensorType::Q4_0 => blocks(values, out, blocks32::q4_0),
        TensorType::Q4_1 => blocks(values, out, blocks32::q4_1),
        TensorType::Q5_0 => blocks(values, out, blocks32::q5_0),
        TensorType::Q5_1 => blocks(values, out, blocks32::q5_1),
        TensorType::Q8_0 => blocks(values, out, blocks32::q8_0),
        TensorType::Q2_K => blocks(values, out, k_quants::q2_k),
        TensorType::Q3_K => blocks(values, out, k_quants::q3_k),
        TensorType::Q4_K => blocks(values, out, k_quants::q4_k),
        TensorType::Q5_K => blocks(values, out, k_quants::q5_k),
        TensorType::Q6_K => blocks(values, out, k_quants::q6_k),
        _ => {
            return Err(QuantError::Unsupported {
                ty,
                action: "written",
            });
        }
    }
    Ok(())
}

/// Calls `block` for the elements of each block; the lengths were checked.
fn blocks<const BYTES: usize, const ELEMENTS: usize>(
    values: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; ELEMENTS], &mut [u8; BYTES]),
) {
    let (sources, targets) = (
        values.as_chunks::<ELEMENTS>().0,
        out.as_chunks_mut::<BYTES>().0,
    );
    debug_assert_eq!(
        sources.len(),
        targets.len(),
        "one block of bytes for each block of elements"
    );
    for (source, target) in sources.iter().zip(targets) {
        block(source, target);
    }
}
