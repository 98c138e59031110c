//! Any run of whole blocks to `f32`.

use crate::blocks32::{q4_0, q4_1, q5_0, q5_1, q8_0};
use crate::codebook::{iq4_nl, iq4_xs, mxfp4};
use crate::float::{bf16_to_f32, read_f16_run};
use crate::grids::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs};
use crate::k_quants::{q2_k, q3_k, q4_k, q5_k, q6_k};
use crate::{QuantError, TensorType};

/// Whether [`dequantize`] knows this type.
pub const fn is_dequantizable(ty: TensorType) -> bool {
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
            | IQ1_S
            | IQ1_M
            | IQ2_XXS
            | IQ2_XS
            | IQ2_S
            | IQ3_XXS
            | IQ3_S
    )
}

/// Writes the values of whole blocks (`bytes`) to `out`; scalar, the reference for every kernel.
///
/// # Errors
/// A type without a reference; `bytes` and `out` that are not the same whole number of blocks.
pub fn dequantize(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    check_lengths(ty, bytes.len(), out.len())?;
    match ty {
        TensorType::F32 => blocks(bytes, out, |block, [y]| *y = f32::from_le_bytes(*block)),
        TensorType::F16 => read_f16_run(bytes, out),
        TensorType::BF16 => blocks(bytes, out, |block, [y]| *y = bf16_to_f32(*block)),
        TensorType::Q4_0 => blocks(bytes, out, q4_0::dequantize_block),
        TensorType::Q4_1 => blocks(bytes, out, q4_1::dequantize_block),
        TensorType::Q5_0 => blocks(bytes, out, q5_0::dequantize_block),
        TensorType::Q5_1 => blocks(bytes, out, q5_1::dequantize_block),
        TensorType::Q8_0 => blocks(bytes, out, q8_0::dequantize_block),
        TensorType::Q2_K => blocks(bytes, out, q2_k::dequantize_block),
        TensorType::Q3_K => blocks(bytes, out, q3_k::dequantize_block),
        TensorType::Q4_K => blocks(bytes, out, q4_k::dequantize_block),
        TensorType::Q5_K => blocks(bytes, out, q5_k::dequantize_block),
        TensorType::Q6_K => blocks(bytes, out, q6_k::dequantize_block),
        TensorType::IQ4_NL => blocks(bytes, out, iq4_nl::dequantize_block),
        TensorType::IQ4_XS => blocks(bytes, out, iq4_xs::dequantize_block),
        TensorType::MXFP4 => blocks(bytes, out, mxfp4::dequantize_block),
        TensorType::IQ1_S => blocks(bytes, out, iq1_s::dequantize_block),
        TensorType::IQ1_M => blocks(bytes, out, iq1_m::dequantize_block),
        TensorType::IQ2_XXS => blocks(bytes, out, iq2_xxs::dequantize_block),
        TensorType::IQ2_XS => blocks(bytes, out, iq2_xs::dequantize_block),
        TensorType::IQ2_S => blocks(bytes, out, iq2_s::dequantize_block),
        TensorType::IQ3_XXS => blocks(bytes, out, iq3_xxs::dequantize_block),
        TensorType::IQ3_S => blocks(bytes, out, iq3_s::dequantize_block),
        _ => return Err(QuantError::Unsupported { ty, action: "run" }),
    }
    Ok(())
}

/// Checks that this many bytes and elements are the same whole number of blocks.
pub(crate) fn check_lengths(
    ty: TensorType,
    bytes: usize,
    elements: usize,
) -> Result<(), QuantError> {
    if ty.row_bytes(elements) == Some(bytes) {
        return Ok(());
    }
    Err(QuantError::WrongLength {
        ty,
        bytes,
        elements,
        block_bytes: ty.block_bytes(),
        block_elements: ty.block_elements(),
    })
}

/// Calls `block` for each block and its elements; the lengths were checked.
fn blocks<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    let (sources, targets) = (
        bytes.as_chunks::<BYTES>().0,
        out.as_chunks_mut::<ELEMENTS>().0,
    );
    debug_assert_eq!(
        sources.len(),
        targets.len(),
        "one block of elements for each block of bytes"
    );
    for (source, target) in sources.iter().zip(targets) {
        block(source, target);
    }
}
