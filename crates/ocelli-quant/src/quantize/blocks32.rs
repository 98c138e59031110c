//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use crate::blocks32::{q4_0, q4_1, q5_0, q5_1, q8_0};
use crate::float::write_f16;

pub(super) fn q4_0(x: &[f32; 32], block: &mut [u8; q4_0::BYTES]) {
    let (d, inverse) = scale(largest(x) / -8.0);
    write_f16(block, q4_0::D, d);
    let code = |x: f32| ((x * inverse + 8.5) as i8).min(15) as u8;
    for j in 0..16 {
        block[q4_0::QS + j] = code(x[j]) | (code(x[j + 16]) << 4);
    }
}

pub(super) fn q4_1(x: &[f32; 32], block: &mut [u8; q4_1::BYTES]) {
    let (min, max) = range(x);
    let (d, inverse) = scale((max - min) / 15.0);
    write_f16(block, q4_1::D, d);
    write_f16(block, q4_1::M, min);
    let code = |x: f32| (((x - min) * inverse + 0.5) as i8).min(15) as u8;
    for j in 0..16 {
        block[q4_1::QS + j] = code(x[j]) | (code(x[j + 16]) << 4);
    }
}

pub(super) fn q5_0(x: &[f32; 32], block: &mut [u8; q5_0::BYTES]) {
    let (d, inverse) = scale(largest(x) / -16.0);
    write_f16(block, q5_0::D, d);
    let codes = x.map(|x| ((x * inverse + 16.5) as i8).min(31) as u8);
    put_five_bits(&codes, &mut block[q5_0::QH..]);
}

pub(super) fn q5_1(x: &[f32; 32], block: &mut [u8; q5_1::BYTES]) {
    let (min, max) = range(x);
    let (d, inverse) = scale((max - min) / 31.0);
    write_f16(block, q5_1::D, d);
    write_f16(block, q5_1::M, min);
    let codes = x.map(|x| ((x - min) * inverse + 0.5) as u8 & 31);
    put_five_bits(&codes, &mut block[q5_1::QH..]);
}

pub(super) fn q8_0(x: &[f32; 32], block: &mut [u8; q8_0::BYTES]) {
    let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
    let (d, inverse) = scale(largest / 127.0);
    write_f16(block, q8_0::D, d);
    for (code, x) in block[q8_0::QS..].iter_mut().zip(x) {
        // Half away from zero, as C's `roundf`.
        *code = (x * inverse).round() as i8 as u8;
    }
}

/// The scale and its inverse, 0 for 0.
fn scale(d: f32) -> (f32, f32) {
    (d, if d == 0.0 { 0.0 } else { 1.0 / d })
}

/// The first element of the largest magnitude, with its sign.
fn largest(x: &[f32; 32]) -> f32 {
    x.iter().fold(
        0.0,
        |most: f32, &x| if x.abs() > most.abs() { x } else { most },
    )
}

/// The smallest and the largest element.
fn range(x: &[f32; 32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, f32::MIN), |(min, max), &x| {
        (if x < min { x } else { min }, if x > max { x } else { max })
    })
}

/// 32 high bits, then 16 bytes of nibbles.
fn put_five_bits(codes: &[u8; 32], out: &mut [u8]) {
    let high = (0..32).fold(0u32, |bits, j| bits | (u32::from(codes[j] >> 4) << j));
    out[..4].copy_from_slice(&high.to_le_bytes());
    for j in 0..16 {
        out[4 + j] = (codes[j] & 15) | (codes[j + 16] << 4);
    }
}
