//! Rounding of rows for products; see [`crate::Operand`] for the layout.

use crate::panels::cast::{bits_mut, bytes_mut, halves_mut};
use crate::vector::Simd;
use crate::{LANES, Operand};

/// See [`crate::Kernels::round`].
#[inline(always)]
pub(crate) fn round<S: Simd>(s: S, operand: Operand, x: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), operand.row_words(x.len()), "a rounded row");
    match operand {
        Operand::F32 => out.copy_from_slice(x),
        Operand::Bf16 => round_to_halves(s, x, halves_mut(out)),
        Operand::Int8Chunks | Operand::Int8Groups => round_to_bytes(s, operand, x, out),
    }
}

/// 16 elements, or those there are and zeros.
#[inline(always)]
fn lanes<S: Simd>(s: S, x: &[f32]) -> S::Floats {
    match x.first_chunk() {
        Some(x) => s.load(x),
        None => {
            let mut padded = [0.0; LANES];
            padded[..x.len()].copy_from_slice(x);
            s.load(&padded)
        }
    }
}

/// `out = upper halves of x`, then zeros.
#[inline(always)]
pub(crate) fn round_to_halves<S: Simd>(s: S, x: &[f32], out: &mut [u16]) {
    let used = x.len().next_multiple_of(LANES);
    for (x, out) in x.chunks(LANES).zip(out.as_chunks_mut::<LANES>().0) {
        s.store_halves(s.upper_half(lanes(s, x)), out);
    }
    out[used..].fill(0);
}

#[inline(always)]
fn round_to_bytes<S: Simd>(s: S, operand: Operand, x: &[f32], out: &mut [f32]) {
    let codes = operand.code_words(x.len());
    let totals_at = operand.totals_at(x.len());
    let (out_codes, rest) = out.split_at_mut(codes);
    let (scales, totals) = rest.split_at_mut(totals_at - codes);
    let (out_codes, totals) = (bytes_mut(out_codes), bits_mut(totals));
    out_codes[x.len()..].fill(0);
    totals.fill(0);
    let run = operand.scale_inputs();
    let vectors = out_codes.as_chunks_mut::<LANES>().0;
    for (index, x) in x.chunks(run).enumerate() {
        let (scale, inverse) = scale_of(s, x);
        scales[index] = scale;
        let inverse = s.splat(inverse);
        for (part, x) in x.chunks(LANES).enumerate() {
            let place = index * run / LANES + part;
            let codes = s.round(s.mul(lanes(s, x), inverse));
            s.store_bytes(codes, &mut vectors[place]);
            let mut sum = [0; LANES];
            s.store_ints(codes, &mut sum);
            let total = &mut totals[place * LANES / operand.sum_inputs()];
            *total = sum.iter().fold(*total, |a, b| a.wrapping_add(*b));
        }
    }
}

/// `max |x| / 127` and its inverse, or 0 where a value so small would not matter. Not a number where an element is not finite.
#[inline(always)]
fn scale_of<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let zero = s.splat(0.0);
    let (mut largest, mut poison) = (zero, zero);
    for x in x.chunks(LANES) {
        let x = lanes(s, x);
        largest = s.max(s.max(x, s.sub(zero, x)), largest);
        poison = s.fma(x, zero, poison);
    }
    let largest = s.largest(largest);
    let inverse = if largest > 1e-30 {
        127.0 / largest
    } else {
        0.0
    };
    (largest / 127.0 + s.sum(poison), inverse)
}
