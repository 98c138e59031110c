//! Half and bfloat16 numbers in bytes.

use half::{bf16, f16};

/// The IEEE half at `bytes[at..at + 2]` as a single.
///
/// # Panics
/// When the two bytes are not inside `bytes`.
pub fn read_f16(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Writes `value`, rounded to nearest even, to `bytes[at..at + 2]`; returns the rounded value.
///
/// # Panics
/// When the two bytes are not inside `bytes`.
pub fn write_f16(bytes: &mut [u8], at: usize, value: f32) -> f32 {
    let rounded = f16::from_f32(value);
    bytes[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// The bfloat16 of two bytes as a single.
pub fn bf16_to_f32(bytes: [u8; 2]) -> f32 {
    bf16::from_le_bytes(bytes).to_f32()
}

/// The bfloat16 nearest to `value`, ties to even; NaN stays NaN (quiet).
pub fn f32_to_bf16(value: f32) -> [u8; 2] {
    bf16::from_f32(value).to_le_bytes()
}
