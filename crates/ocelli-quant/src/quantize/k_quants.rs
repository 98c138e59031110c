//! Q2_K to Q6_K: fit each group, quantise the groups' scales, then choose the codes for the quantised scales.

use super::fit::{self, Deviation, LANES, Search, ZERO, round_even};
use crate::float::write_f16;
use crate::k_quants::{q2_k, q3_k, q4_k, q5_k, q6_k, scale_and_min};

pub(super) fn q2_k(x: &[f32; 256], block: &mut [u8; q2_k::BYTES]) {
    const SEARCH: Search = Search {
        most: 3,
        first: -0.5,
        tries: 15,
        deviation: Deviation::Absolute,
    };
    let groups = x.as_chunks::<16>().0;
    let mut codes = [[0u8; 16]; 16];
    let (mut scales, mut mins) = ([0f32; 16], [0f32; 16]);
    for half in [0, LANES] {
        let lanes = half..half + LANES;
        let x = fit::side_by_side(&groups[lanes.clone()]);
        let weights = x.map(|x| x.map(f32::abs));
        let (scale, min, code) = fit::with_minimum(&x, &weights, SEARCH);
        scales[lanes.clone()].copy_from_slice(&scale);
        mins[lanes.clone()].copy_from_slice(&min);
        codes[lanes].copy_from_slice(&fit::one_by_one(&code));
    }
    let (max_scale, max_min) = (largest(&scales), largest(&mins));
    let inverse = |max: f32| if max > 0.0 { 15.0 / max } else { 0.0 };
    let (inverse_scale, inverse_min) = (inverse(max_scale), inverse(max_min));
    for k in 0..16 {
        let (scale, min) = (
            round_even(inverse_scale * scales[k]),
            round_even(inverse_min * mins[k]),
        );
        block[q2_k::SCALES + k] = (scale & 15) as u8 | (min << 4) as u8;
    }
    let d = write_f16(block, q2_k::D, max_scale / 15.0);
    let dmin = write_f16(block, q2_k::DMIN, max_min / 15.0);
    for (k, group) in groups.iter().enumerate() {
        let packed = block[q2_k::SCALES + k];
        let (scale, min) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
        if scale != 0.0 {
            codes[k] = group.map(|x| round_even((x + min) / scale).clamp(0, 3) as u8);
        }
    }
    put_two_bits(codes.as_flattened(), &mut block[q2_k::QS..]);
}

pub(super) fn q3_k(x: &[f32; 256], block: &mut [u8; q3_k::BYTES]) {
    let groups = x.as_chunks::<16>().0;
    let mut codes = [[0u8; 16]; 16];
    let mut scales = [0f32; 16];
    for half in [0, LANES] {
        let lanes = half..half + LANES;
        let (scale, code) = fit::refined::<LANES>(&fit::side_by_side(&groups[lanes.clone()]));
        scales[lanes.clone()].copy_from_slice(&scale);
        codes[lanes].copy_from_slice(&fit::one_by_one(&code));
    }
    let largest = largest_magnitude(&scales);
    *block = [0; q3_k::BYTES];
    let mut d = 0.0;
    if largest != 0.0 {
        let inverse = -32.0 / largest;
        for (k, scale) in scales.into_iter().enumerate() {
            let code = (round_even(inverse * scale).clamp(-32, 31) + 32) as u8;
            block[q3_k::SCALES + k % 8] |= (code & 15) << (k / 8 * 4);
            block[q3_k::SCALES + 8 + k % 4] |= (code >> 4) << (k / 4 * 2);
        }
        d = write_f16(block, q3_k::D, 1.0 / inverse);
    }
    let packed = q3_k::scales(block);
    for (k, group) in groups.iter().enumerate() {
        let scale = d * (i32::from(packed[k]) - 32) as f32;
        if scale != 0.0 {
            codes[k] = group.map(|x| (round_even(x / scale).clamp(-4, 3) + 4) as u8);
        }
    }
    let codes = codes.as_flattened();
    put_top_bits(codes, 2, &mut block[q3_k::HMASK..]);
    put_two_bits(codes, &mut block[q3_k::QS..]);
}

pub(super) fn q4_k(x: &[f32; 256], block: &mut [u8; q4_k::BYTES]) {
    const SEARCH: Search = Search {
        most: 15,
        first: -1.0,
        tries: 20,
        deviation: Deviation::Square,
    };
    let codes = codes_with_minima(x, SEARCH, &mut block[..q4_k::QS]);
    put_nibbles(&codes, &mut block[q4_k::QS..]);
}

pub(super) fn q5_k(x: &[f32; 256], block: &mut [u8; q5_k::BYTES]) {
    const SEARCH: Search = Search {
        most: 31,
        first: -0.5,
        tries: 15,
        deviation: Deviation::Square,
    };
    let codes = codes_with_minima(x, SEARCH, &mut block[..q5_k::QH]);
    put_top_bits(&codes, 4, &mut block[q5_k::QH..]);
    put_nibbles(&codes, &mut block[q5_k::QS..]);
}

pub(super) fn q6_k(x: &[f32; 256], block: &mut [u8; q6_k::BYTES]) {
    let groups = x.as_chunks::<16>().0;
    let mut codes = [[0u8; 16]; 16];
    let mut scales = [0f32; 16];
    for half in [0, LANES] {
        let lanes = half..half + LANES;
        let (scale, code) = fit::symmetric(&fit::side_by_side(&groups[lanes.clone()]));
        scales[lanes.clone()].copy_from_slice(&scale);
        codes[lanes].copy_from_slice(&fit::one_by_one(&code));
    }
    let largest = largest_magnitude(&scales);
    *block = [0; q6_k::BYTES];
    if largest.abs() < ZERO {
        return;
    }
    let inverse = -128.0 / largest;
    let d = write_f16(block, q6_k::D, 1.0 / inverse);
    for (k, group) in groups.iter().enumerate() {
        let code = round_even(inverse * scales[k]).min(127) as i8;
        block[q6_k::SCALES + k] = code as u8;
        let scale = d * f32::from(code);
        if scale != 0.0 {
            codes[k] = group.map(|x| (round_even(x / scale).clamp(-32, 31) + 32) as u8);
        }
    }
    let halves = codes.as_flattened().as_chunks::<128>().0;
    for (half, codes) in halves.iter().enumerate() {
        let low = &mut block[q6_k::QL + half * 64..][..64];
        for (l, byte) in low.iter_mut().enumerate() {
            *byte = (codes[l] & 15) | (codes[l + 64] << 4);
        }
        let high = &mut block[q6_k::QH + half * 32..][..32];
        for (l, byte) in high.iter_mut().enumerate() {
            let bits = |quarter: usize| codes[l + 32 * quarter] >> 4 << (2 * quarter);
            *byte = bits(0) | bits(1) | bits(2) | bits(3);
        }
    }
}

/// Writes the first 16 bytes of a Q4_K or Q5_K block (scales and minima) to `head`; returns the codes.
fn codes_with_minima(x: &[f32; 256], search: Search, head: &mut [u8]) -> [u8; 256] {
    let groups = x.as_chunks::<32>().0;
    let lanes = fit::side_by_side::<32, LANES>(groups);
    let mut squares = [0.0; LANES];
    for x in &lanes {
        squares = std::array::from_fn(|k| squares[k] + x[k] * x[k]);
    }
    let average = squares.map(|squares: f32| (squares / 32.0).sqrt());
    let weights = lanes.map(|x| std::array::from_fn(|k| average[k] + x[k].abs()));
    let (scales, mins, codes) = fit::with_minimum(&lanes, &weights, search);
    let mut codes = fit::one_by_one(&codes);
    let (max_scale, max_min) = (largest(&scales), largest(&mins));
    let six_bits = |max: f32, value: f32| {
        let inverse = if max > 0.0 { 63.0 / max } else { 0.0 };
        (round_even(inverse * value) as u8).min(63)
    };
    let d = write_f16(head, q4_k::D, max_scale / 63.0);
    let dmin = write_f16(head, q4_k::DMIN, max_min / 63.0);
    let mut packed = [0u8; 12];
    for k in 0..8 {
        let (scale, min) = (six_bits(max_scale, scales[k]), six_bits(max_min, mins[k]));
        if k < 4 {
            (packed[k], packed[k + 4]) = (scale, min);
        } else {
            packed[k + 4] = (scale & 15) | (min << 4);
            packed[k - 4] |= scale >> 4 << 6;
            packed[k] |= min >> 4 << 6;
        }
    }
    head[q4_k::SCALES..q4_k::SCALES + 12].copy_from_slice(&packed);
    for (k, group) in groups.iter().enumerate() {
        let (scale, min) = scale_and_min(&packed, k);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        if scale != 0.0 {
            codes[k] = group.map(|x| round_even((x + min) / scale).clamp(0, search.most) as u8);
        }
    }
    std::array::from_fn(|e| codes[e / 32][e % 32])
}

/// The largest value, at least 0.
fn largest(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0, |most, &v| if v > most { v } else { most })
}

/// The first value of the largest magnitude, with its sign.
fn largest_magnitude(values: &[f32]) -> f32 {
    values.iter().fold(
        0.0,
        |most: f32, &v| if v.abs() > most.abs() { v } else { most },
    )
}

/// The low 2 bits of 256 codes to 64 bytes: in each half, byte `e % 32`, elements 32 apart in one byte.
fn put_two_bits(codes: &[u8], out: &mut [u8]) {
    let halves = codes.as_chunks::<128>().0.iter();
    for (codes, bytes) in halves.zip(out.as_chunks_mut::<32>().0) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            let bits = |quarter: usize| (codes[l + 32 * quarter] & 3) << (2 * quarter);
            *byte = bits(0) | bits(1) | bits(2) | bits(3);
        }
    }
}

/// The bit at `place` of 256 codes to 32 bytes: elements 32 apart in one byte.
fn put_top_bits(codes: &[u8], place: u32, out: &mut [u8]) {
    let (groups, out) = (codes.as_chunks::<32>().0, &mut out[..32]);
    out.fill(0);
    for (bit, codes) in groups.iter().enumerate() {
        for (byte, code) in out.iter_mut().zip(codes) {
            *byte |= (code >> place & 1) << bit;
        }
    }
}

/// The low nibbles of 256 codes to 128 bytes: each 32 bytes hold one group low and the next one high.
fn put_nibbles(codes: &[u8; 256], out: &mut [u8]) {
    for (pair, bytes) in codes
        .as_chunks::<64>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<32>().0)
    {
        for (j, byte) in bytes.iter_mut().enumerate() {
            *byte = (pair[j] & 15) | (pair[j + 32] << 4);
        }
    }
}
