//! Half and bfloat16 numbers in bytes.

use half::slice::HalfFloatSliceExt as _;
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

/// Numbers that are converted together: the instruction for eight halves is then worth its detection.
const RUN: usize = 64;

/// Writes every value as [`write_f16`] does; `out` has two bytes for each.
pub(crate) fn write_f16_run(values: &[f32], out: &mut [u8]) {
    let mut halves = [f16::ZERO; RUN];
    for (values, out) in values.chunks(RUN).zip(out.chunks_mut(2 * RUN)) {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        for (bytes, half) in out.as_chunks_mut().0.iter_mut().zip(halves) {
            *bytes = half.to_le_bytes();
        }
    }
}

/// Reads every value as [`read_f16`] does; `bytes` has two for each of `out`.
pub(crate) fn read_f16_run(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; RUN];
    for (bytes, out) in bytes.chunks(2 * RUN).zip(out.chunks_mut(RUN)) {
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_halves_are_converted_as_single_ones_are() {
        // Every half, and singles between, at and beyond them.
        let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut values = vec![0.0; 1 << 16];
        read_f16_run(&halves, &mut values);
        for (i, value) in values.iter().enumerate() {
            let alone = read_f16(&halves, 2 * i);
            assert!(value.to_bits() == alone.to_bits() || value.is_nan() && alone.is_nan());
        }
        let singles: Vec<f32> = (0..100_003u32)
            .map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)))
            .collect();
        let mut out = vec![0; 2 * singles.len()];
        write_f16_run(&singles, &mut out);
        for (value, bytes) in singles.iter().zip(out.chunks_exact(2)) {
            let mut alone = [0; 2];
            write_f16(&mut alone, 0, *value);
            assert!(bytes == alone || value.is_nan(), "{value}");
        }
    }
}
