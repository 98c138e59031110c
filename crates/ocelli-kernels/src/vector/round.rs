//! Rounding of rows for products; see [`crate::Operand`] for the layout.

use crate::operand::{GROUP, SUM};
use crate::panels::cast::{bits, bits_mut, bytes_mut, halves_mut};
use crate::vector::Simd;
use crate::vector::halves::lanes;
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

/// `out = upper halves of x`, then zeros.
#[inline(always)]
pub(crate) fn round_to_halves<S: Simd>(s: S, x: &[f32], out: &mut [u16]) {
    let used = x.len().next_multiple_of(LANES);
    for (x, out) in x.chunks(LANES).zip(out.as_chunks_mut::<LANES>().0) {
        s.store_halves(s.upper_half(lanes(s, x, 0)), out);
    }
    out[used..].fill(0);
}

#[inline(always)]
fn round_to_bytes<S: Simd>(s: S, operand: Operand, x: &[f32], out: &mut [f32]) {
    let codes = operand.code_words(x.len());
    let totals_at = operand.totals_at(x.len());
    let (out_codes, rest) = out.split_at_mut(codes);
    let (scales, rest) = rest.split_at_mut(totals_at - codes);
    let (totals, of_minima) = rest.split_at_mut(operand.behind_totals(x.len()) - totals_at);
    let bytes = bytes_mut(out_codes);
    bytes[x.len()..].fill(0);
    let run = operand.scale_inputs();
    let vectors = bytes.as_chunks_mut::<LANES>().0;
    // 0, or not a number where an element is not finite.
    let mut poison = s.splat(0.0);
    for (index, x) in x.chunks(run).enumerate() {
        let (scale, inverse) = scale_of(s, x, &mut poison);
        scales[index] = scale;
        let inverse = s.splat(inverse);
        let mut total = s.splat_int(0);
        let out = vectors[index * run / LANES..].iter_mut();
        for (x, out) in x.chunks(LANES).zip(out) {
            let codes = s.round(s.mul(lanes(s, x, 0), inverse));
            total = s.add_int(total, codes);
            s.store_bytes(codes, out);
        }
        if operand == Operand::Int8Chunks {
            let mut of_lanes = [0; LANES];
            s.store_ints(total, &mut of_lanes);
            let of_lanes = of_lanes
                .iter()
                .fold(0_i32, |sum, lane| sum.wrapping_add(*lane));
            bits_mut(totals)[index] = of_lanes;
        }
    }
    if s.sum(poison) != 0.0 {
        spoil(x.chunks(run).zip(scales.iter_mut()));
    }
    of_minima.fill(0.0);
    if operand == Operand::Int8Groups {
        add_bytes(s, bits(out_codes), bits_mut(totals));
        multiply_totals(scales, bits(totals), of_minima);
    }
}

/// Makes scales of runs that are not finite no numbers: rows are hardly ever so.
#[inline(never)]
fn spoil<'a>(runs: impl Iterator<Item = (&'a [f32], &'a mut f32)>) {
    for (x, scale) in runs {
        if x.iter().any(|x| !x.is_finite()) {
            *scale = f32::NAN;
        }
    }
}

/// `out = -(scale * sum)` of each group; see [`Operand::Int8Groups`].
#[inline(always)]
fn multiply_totals(scales: &[f32], totals: &[i32], out: &mut [f32]) {
    for ((scale, totals), out) in scales.iter().zip(totals.chunks(GROUP / SUM)).zip(out) {
        let total: i32 = totals.iter().sum();
        *out = -(scale * total as f32);
    }
}

/// A word of four bytes of 1.
const ONES: i32 = 0x0101_0101;

/// `totals[i]` is the sum of bytes `16 i` and those that follow; 0 behind the last.
#[inline(always)]
fn add_bytes<S: Simd>(s: S, words: &[i32], totals: &mut [i32]) {
    /// Words of a sum.
    const WORDS: usize = SUM / 4;
    for (words, totals) in words.chunks(LANES).zip(totals.chunks_mut(LANES / WORDS)) {
        let mut sums = [0; LANES];
        match words.first_chunk() {
            Some(words) => sums = *words,
            None => sums[..words.len()].copy_from_slice(words),
        }
        let of_words = s.dot(s.splat_int(0), s.splat_int(ONES), s.load_ints(&sums));
        s.store_ints(of_words, &mut sums);
        for (total, [a, b, c, d]) in totals.iter_mut().zip(sums.as_chunks::<WORDS>().0) {
            *total = (a + b) + (c + d);
        }
    }
}

/// `max |x| / 127` and its inverse, or 0 where a value so small would not matter. Elements that are
/// not finite make `poison` no number.
#[inline(always)]
fn scale_of<S: Simd>(s: S, x: &[f32], poison: &mut S::Floats) -> (f32, f32) {
    let zero = s.splat(0.0);
    let mut largest = zero;
    for x in x.chunks(LANES) {
        let x = lanes(s, x, 0);
        *poison = s.fma(x, zero, *poison);
        largest = s.max(s.max(x, s.sub(zero, x)), largest);
    }
    let largest = s.largest(largest);
    let inverse = if largest > 1e-30 {
        127.0 / largest
    } else {
        0.0
    };
    (largest / 127.0, inverse)
}
