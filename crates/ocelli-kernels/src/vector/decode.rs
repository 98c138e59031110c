//! Products that read quantised panels once and decode them in registers, for few rows.
//!
//! ```text
//! for each group of inputs:
//!     t = sum over k of x[k] * code[k]                 two sums: even k and odd k
//!     y += scale * t - (minimum + offset scale) * sum(x)
//! ```
//! A lane is an output, so nothing is added across lanes, and the order does not depend on the number of rows.

use crate::panels::coded::{Coding, GroupScales};
use crate::vector::Simd;
use crate::{LANES, Matrix, Panels};

/// A [`Coding`] as a type, so that its layout is known when a loop is compiled.
pub(crate) trait Coded {
    const CODING: Coding;
}

pub(crate) struct Q4_0;
pub(crate) struct Q8_0;
pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;

impl Coded for Q4_0 {
    const CODING: Coding = Coding::Q4_0;
}
impl Coded for Q8_0 {
    const CODING: Coding = Coding::Q8_0;
}
impl Coded for Q4K {
    const CODING: Coding = Coding::Q4_K;
}
impl Coded for Q5K {
    const CODING: Coding = Coding::Q5_K;
}
impl Coded for Q6K {
    const CODING: Coding = Coding::Q6_K;
}

/// Repeats a block for each input of a unit. A loop is not always unrolled, and then its shifts are by variables.
macro_rules! each_of_unit {
    ($k:ident, $block:block) => {
        each_of_unit! { @times $k, $block, 0, 1, 2, 3, 4, 5, 6, 7 }
    };
    (@times $k:ident, $block:block, $($value:literal),*) => {
        $({ let $k = $value; $block })*
    };
}

/// Inputs that are decoded together: one word of nibbles.
const UNIT: usize = 8;

/// Most activation rows that share a decoded weight.
const MOST_ROWS: usize = 4;

/// `sums[row][16 panel + lane] = x[row] * W[16 panel + lane]`; `totals` is scratch for the sums of each group of x.
#[inline(always)]
pub(crate) fn multiply<S: Simd, C: Coded>(
    s: S,
    x: Matrix<'_>,
    weight: Panels<'_>,
    totals: &mut [f32],
    sums: &mut [f32],
) {
    let groups = weight.inputs() / C::CODING.group;
    let stride = weight.count() * LANES;
    for (row, totals) in totals.chunks_exact_mut(groups.max(1)).enumerate() {
        add_groups(s, x.row(row), C::CODING.group, totals);
    }
    for panel in 0..weight.count() {
        let bytes = weight.panel(panel);
        let mut row = 0;
        while row < x.rows() {
            let left = x.rows() - row;
            let job = (x, row, &totals[row * groups..]);
            let sums = &mut sums[row * stride + panel * LANES..];
            row += if left >= MOST_ROWS && S::ROWS >= MOST_ROWS {
                rows::<S, C, MOST_ROWS>(s, bytes, job, (sums, stride))
            } else if left >= 2 {
                rows::<S, C, 2>(s, bytes, job, (sums, stride))
            } else {
                rows::<S, C, 1>(s, bytes, job, (sums, stride))
            };
        }
    }
}

/// `totals[g]` is the sum of group `g` of `x`.
#[inline(always)]
fn add_groups<S: Simd>(s: S, x: &[f32], group: usize, totals: &mut [f32]) {
    for (total, x) in totals.iter_mut().zip(x.chunks_exact(group)) {
        let mut sum = s.splat(0.0);
        for x in x.as_chunks().0 {
            sum = s.add(sum, s.load(x));
        }
        *total = s.sum(sum);
    }
}

/// One panel times `ROWS` rows; the number of rows.
#[inline(always)]
fn rows<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    panel: &[u8],
    (x, first, totals): (Matrix<'_>, usize, &[f32]),
    (sums, stride): (&mut [f32], usize),
) -> usize {
    let groups = C::CODING.elements / C::CODING.group;
    let all_groups = x.columns() / C::CODING.group;
    let mut results = [s.splat(0.0); ROWS];
    for (index, block) in panel.chunks_exact(C::CODING.bytes).enumerate() {
        for group in 0..groups {
            let place = index * groups + group;
            let mut units: [&[[f32; UNIT]]; ROWS] = [&[]; ROWS];
            for (r, units) in units.iter_mut().enumerate() {
                let inputs = &x.row(first + r)[place * C::CODING.group..][..C::CODING.group];
                *units = inputs.as_chunks().0;
            }
            let mut partial = [[s.splat(0.0); 2]; ROWS];
            let mut high = high_bits::<S, C>(s, block, group);
            for unit in 0..C::CODING.group / UNIT {
                let codes = codes::<S, C>(s, block, (group, unit), &mut high);
                each_of_unit!(k, {
                    for (partial, units) in partial.iter_mut().zip(units) {
                        partial[k % 2] = s.fma(s.splat(units[unit][k]), codes[k], partial[k % 2]);
                    }
                });
            }
            let (scale, minimum) = scales::<S, C>(s, block, group);
            for (r, (result, partial)) in results.iter_mut().zip(partial).enumerate() {
                *result = s.fma(scale, s.add(partial[0], partial[1]), *result);
                if C::CODING.minima_at.is_some() || C::CODING.offset != 0 {
                    let total = s.splat(-totals[r * all_groups + place]);
                    *result = s.fma(minimum, total, *result);
                }
            }
        }
    }
    for (r, result) in results.into_iter().enumerate() {
        let target = sums[r * stride..]
            .first_chunk_mut()
            .expect("16 sums for each panel");
        s.store(result, target);
    }
    ROWS
}

/// The scale of a group, and what a code of 0 stands for, negated.
#[inline(always)]
fn scales<S: Simd, C: Coded>(s: S, block: &[u8], group: usize) -> (S::Floats, S::Floats) {
    let (scale, minimum) = scale_and_minimum::<S, C>(s, block, group);
    let offset = s.mul(scale, s.splat(C::CODING.offset as f32));
    (scale, s.add(minimum, offset))
}

#[inline(always)]
fn scale_and_minimum<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    group: usize,
) -> (S::Floats, S::Floats) {
    let coding = &C::CODING;
    let bytes = |start: usize| {
        block[start + group * LANES..]
            .first_chunk()
            .expect("16 bytes for each group")
    };
    let d = halves(s, block, 0);
    let scale = match coding.scales {
        GroupScales::None => d,
        GroupScales::Unsigned => s.mul(d, s.to_float(s.load_u8(bytes(coding.scales_at)))),
        GroupScales::Signed => s.mul(d, s.to_float(s.load_i8(bytes(coding.scales_at)))),
    };
    let minimum = match coding.minima_at {
        Some(start) => s.mul(
            halves(s, block, 2 * LANES),
            s.to_float(s.load_u8(bytes(start))),
        ),
        None => s.splat(0.0),
    };
    (scale, minimum)
}

/// A half for each lane.
#[inline(always)]
fn halves<S: Simd>(s: S, block: &[u8], start: usize) -> S::Floats {
    let bytes: &[u8; 2 * LANES] = block[start..].first_chunk().expect("16 halves");
    let mut halves = [0; LANES];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
        *half = u16::from_le_bytes(*bytes);
    }
    s.load_f16(&halves)
}

/// 16 words of a plane of bits.
#[inline(always)]
fn word<S: Simd>(s: S, block: &[u8], start: usize, index: usize) -> S::Ints {
    let bytes = block[start + index * 4 * LANES..].first_chunk();
    s.load_words(bytes.expect("16 words"))
}

/// The words with the high bits of a group; a word holds as many inputs as a group has.
#[inline(always)]
fn high_bits<S: Simd, C: Coded>(s: S, block: &[u8], group: usize) -> S::Ints {
    if C::CODING.high_bits > 0 {
        word(s, block, C::CODING.high_at, group)
    } else {
        s.splat_int(0)
    }
}

/// Codes of 8 inputs: unit `unit` of group `group`, each a vector of 16 lanes.
///
/// `high` holds the group's high bits, this unit's lowest; they are shifted on to the next unit's.
#[inline(always)]
fn codes<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    (group, unit): (usize, usize),
    high: &mut S::Ints,
) -> [S::Floats; UNIT] {
    let coding = &C::CODING;
    let place = group * (coding.group / UNIT) + unit;
    let mut codes = [s.splat(0.0); UNIT];
    if coding.low_bits == 8 {
        let first = word(s, block, coding.low_at, 2 * place);
        let second = word(s, block, coding.low_at, 2 * place + 1);
        each_of_unit!(k, {
            let bytes = if k < 4 { first } else { second };
            let left = s.shift_left(bytes, 24 - 8 * (k as i32 % 4));
            codes[k] = s.to_float(s.shift_right_signed(left, 24));
        });
        return codes;
    }
    let low = word(s, block, coding.low_at, place);
    each_of_unit!(k, {
        let (byte, part) = (8 * (k as i32 % 4), k as i32 / 4);
        let mut bits = s.and(s.shift_right(low, byte + 4 * part), s.splat_int(15));
        if coding.high_bits > 0 {
            let shift = byte + coding.high_bits as i32 * part - 4;
            let moved = if shift >= 0 {
                s.shift_right(*high, shift)
            } else {
                s.shift_left(*high, -shift)
            };
            let mask = s.splat_int((16 << coding.high_bits) - 16);
            bits = s.or(bits, s.and(moved, mask));
        }
        codes[k] = s.to_float(bits);
    });
    *high = s.shift_right(*high, 2 * coding.high_bits as i32);
    codes
}

/// Values of some blocks of a panel: `out[k][lane] = scale (code - offset) - minimum`.
#[inline(always)]
pub(crate) fn unpack<S: Simd, C: Coded>(s: S, blocks: &[u8], out: &mut [f32]) {
    let coding = &C::CODING;
    let blocks = blocks.chunks_exact(coding.bytes);
    for (block, out) in blocks.zip(out.chunks_exact_mut(coding.elements * LANES)) {
        for (group, out) in out.chunks_exact_mut(coding.group * LANES).enumerate() {
            let (scale, minimum) = scale_and_minimum::<S, C>(s, block, group);
            let mut high = high_bits::<S, C>(s, block, group);
            for (unit, out) in out.chunks_exact_mut(UNIT * LANES).enumerate() {
                let codes = codes::<S, C>(s, block, (group, unit), &mut high);
                for (code, out) in codes.into_iter().zip(out.as_chunks_mut().0) {
                    let mut value = code;
                    if coding.offset != 0 {
                        value = s.sub(value, s.splat(coding.offset as f32));
                    }
                    value = s.mul(scale, value);
                    if coding.minima_at.is_some() {
                        value = s.sub(value, minimum);
                    }
                    s.store(value, out);
                }
            }
        }
    }
}
