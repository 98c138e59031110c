//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Everything is written so that the compiler can do several elements with one instruction: no sum
//! or comparison waits for that of the element before, and no conversion has a case for what is out
//! of range.

use crate::blocks32::{q4_0, q4_1, q5_0, q5_1, q8_0};
use crate::float::write_f16;

pub(super) fn q4_0(x: &[f32; 32], block: &mut [u8; q4_0::BYTES]) {
    let (d, inverse) = scale(largest(x) / -8.0);
    write_f16(block, q4_0::D, d);
    let codes = x.map(|x| whole_part(x * inverse + 8.5, 15.0));
    put_nibbles(&codes, &mut block[q4_0::QS..]);
}

pub(super) fn q4_1(x: &[f32; 32], block: &mut [u8; q4_1::BYTES]) {
    let (min, max) = range(x);
    let (d, inverse) = scale((max - min) / 15.0);
    write_f16(block, q4_1::D, d);
    write_f16(block, q4_1::M, min);
    let codes = x.map(|x| whole_part((x - min) * inverse + 0.5, 15.0));
    put_nibbles(&codes, &mut block[q4_1::QS..]);
}

pub(super) fn q5_0(x: &[f32; 32], block: &mut [u8; q5_0::BYTES]) {
    let (d, inverse) = scale(largest(x) / -16.0);
    write_f16(block, q5_0::D, d);
    let codes = x.map(|x| whole_part(x * inverse + 16.5, 31.0));
    put_five_bits(&codes, &mut block[q5_0::QH..]);
}

pub(super) fn q5_1(x: &[f32; 32], block: &mut [u8; q5_1::BYTES]) {
    let (min, max) = range(x);
    let (d, inverse) = scale((max - min) / 31.0);
    write_f16(block, q5_1::D, d);
    write_f16(block, q5_1::M, min);
    let codes = x.map(|x| whole_part((x - min) * inverse + 0.5, 31.0));
    put_five_bits(&codes, &mut block[q5_1::QH..]);
}

pub(super) fn q8_0(x: &[f32; 32], block: &mut [u8; q8_0::BYTES]) {
    let mut lanes = [0f32; LANES];
    for x in x.as_chunks::<LANES>().0 {
        lanes = std::array::from_fn(|k| larger(x[k].abs(), lanes[k]));
    }
    let largest = lanes.into_iter().fold(0.0, |most, x| larger(x, most));
    let (d, inverse) = scale(largest / 127.0);
    write_f16(block, q8_0::D, d);
    // Half away from zero, as C's `roundf`: to the whole part of the magnitude and a half. The half
    // is the number before it, as 0.5 would lift the number before 0.5 to 1.
    const HALF: f32 = 0.5 - f32::EPSILON / 4.0;
    let codes = x.map(|x| {
        let x = x * inverse;
        let magnitude = whole_part(x.abs() + HALF, 127.0);
        if x < 0.0 {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }
    });
    block[q8_0::QS..].copy_from_slice(&codes);
}

/// Elements that are compared side by side.
const LANES: usize = 8;

/// The whole part of a number of 0 and more, `most` for larger ones and for what is no number.
fn whole_part(x: f32, most: f32) -> u8 {
    // Rounds to a whole number that stands in the low bits of the mantissa.
    const WHOLE: f32 = 8_388_608.0;
    let x = if x < most { x } else { most };
    let nearest = (x + WHOLE) - WHOLE;
    let below = if nearest > x { nearest - 1.0 } else { nearest };
    (below + WHOLE).to_bits() as u8
}

/// The scale and its inverse, 0 for 0.
fn scale(d: f32) -> (f32, f32) {
    (d, if d == 0.0 { 0.0 } else { 1.0 / d })
}

fn larger(x: f32, most: f32) -> f32 {
    if x > most { x } else { most }
}

fn smaller(x: f32, least: f32) -> f32 {
    if x < least { x } else { least }
}

/// The smallest and the largest of all elements and `start`.
fn extremes(x: &[f32; 32], start: [f32; LANES]) -> (f32, f32) {
    let (mut low, mut high) = (start, start);
    for x in x.as_chunks::<LANES>().0 {
        low = std::array::from_fn(|k| smaller(x[k], low[k]));
        high = std::array::from_fn(|k| larger(x[k], high[k]));
    }
    let low = low[1..].iter().fold(low[0], |least, &x| smaller(x, least));
    let high = high[1..].iter().fold(high[0], |most, &x| larger(x, most));
    (low, high)
}

/// The first element of the largest magnitude, with its sign.
fn largest(x: &[f32; 32]) -> f32 {
    let (low, high) = extremes(x, [0.0; LANES]);
    if high > -low {
        high
    } else if high < -low {
        low
    } else {
        // Both signs have it: the first one counts.
        let first = x.iter().find(|x| x.abs() == high && high > 0.0);
        first.copied().unwrap_or(0.0)
    }
}

/// The smallest and the largest element.
fn range(x: &[f32; 32]) -> (f32, f32) {
    let (low, high) = extremes(x, x.first_chunk().map_or([0.0; LANES], |first| *first));
    // Zeroes of both signs are equal, and the bytes are those of the first.
    let first = |value: f32| match value == 0.0 {
        true => x.iter().find(|x| **x == 0.0).copied().unwrap_or(value),
        false => value,
    };
    (first(low), first(high))
}

/// 32 codes of 4 bits to 16 bytes.
fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for (j, byte) in out[..16].iter_mut().enumerate() {
        *byte = codes[j] | (codes[j + 16] << 4);
    }
}

/// 32 high bits, then 16 bytes of nibbles.
fn put_five_bits(codes: &[u8; 32], out: &mut [u8]) {
    let high = (0..32).fold(0u32, |bits, j| bits | (u32::from(codes[j] >> 4) << j));
    out[..4].copy_from_slice(&high.to_le_bytes());
    put_nibbles(&codes.map(|code| code & 15), &mut out[4..]);
}
