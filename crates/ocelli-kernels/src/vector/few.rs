//! Products of few rows of bytes in groups with quantised panels, decoded in registers as they are read.
//!
//! ```text
//! for each panel, each 8 rows (or as many as there are):
//!     for each group of inputs:
//!         t = first + sum over k of byte[k] x[k]              whole numbers, the same as (code[k] - offset) x[k]
//!         y = fma(scale scale_x, t, y)
//!         y = fma(minimum, -(scale_x sum(x)), y)              where the type has minima
//! ```
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a panel, not in its inner loop"
)]

use crate::operand::GROUP;
use crate::panels::cast::bits;
use crate::vector::Simd;
use crate::vector::bytes::{biased_words, is_signed};
use crate::vector::decode::{
    AHEAD, Coded, LINE, UNIT, has_minima, scale_and_minimum, upper_planes,
};
use crate::vector::groups::{add_terms, words_of_run};
use crate::workspace::{Buffer, room};
use crate::{LANES, Matrix, Operand, Panels};

/// Rounded rows and what is added to their sums.
struct Rows<'a> {
    /// `[rows]`, `stride` apart.
    codes: &'a [i32],
    /// `[rows]`, `stride` apart.
    scales: &'a [f32],
    stride: usize,
    /// `[rows][groups]`; see [`add_terms`].
    terms: &'a [i32],
    groups: usize,
}

impl Rows<'_> {
    /// Checks what the inner loop relies on, for `rows` rows of a coding.
    #[inline(always)]
    fn check<C: Coded>(&self, rows: usize) {
        let inputs = self.groups * C::CODING.group;
        let before = (rows - 1) * self.stride;
        assert!(self.codes.len() >= before + inputs / 4, "rounded rows");
        let scales = inputs.div_ceil(GROUP);
        assert!(self.scales.len() >= before + scales, "scales of rows");
        assert!(self.terms.len() >= rows * self.groups, "terms of rows");
    }
}

/// `sums[row][16 panel + lane] = x[row] * W[16 panel + lane]` for rows rounded to [`Operand::Int8Groups`].
#[inline(always)]
pub(super) fn multiply_as<S: Simd, C: Coded>(
    s: S,
    (x, weight): (Matrix<'_>, Panels<'_>),
    terms: &mut Buffer<i32>,
    sums: &mut [f32],
) {
    let inputs = weight.inputs();
    let groups = inputs / C::CODING.group;
    let terms = room(terms, x.rows() * groups);
    for (row, terms) in terms.chunks_exact_mut(groups.max(1)).enumerate() {
        add_terms::<S>(&C::CODING, (x.row(row), inputs, 0..inputs), terms);
    }
    let stride = weight.count() * LANES;
    for panel in 0..weight.count() {
        let mut row = 0;
        while row < x.rows() {
            let values = &x.values()[row * x.stride()..];
            let x_rows = Rows {
                codes: bits(values),
                scales: &values[Operand::Int8Groups.code_words(inputs)..],
                stride: x.stride(),
                terms: &terms[row * groups..],
                groups,
            };
            let left = x.rows() - row;
            let sums = &mut sums[row * stride + panel * LANES..];
            let job = (weight.panel(panel), row == 0);
            row += if left >= 8 && S::FEW_ROWS >= 8 {
                rows::<S, C, 8>(s, job, x_rows, (sums, stride))
            } else if left >= 4 && S::FEW_ROWS >= 4 {
                rows::<S, C, 4>(s, job, x_rows, (sums, stride))
            } else if left >= 2 {
                rows::<S, C, 2>(s, job, x_rows, (sums, stride))
            } else {
                rows::<S, C, 1>(s, job, x_rows, (sums, stride))
            };
        }
    }
}

/// One panel times `ROWS` rows; the number of rows. Memory is asked for what comes when the panel is read the first time.
#[inline(always)]
fn rows<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    (panel, is_first): (&[u8], bool),
    x: Rows<'_>,
    (sums, stride): (&mut [f32], usize),
) -> usize {
    let coding = &C::CODING;
    let groups = coding.elements / coding.group;
    let group_bytes = coding.bytes / groups;
    x.check::<C>(ROWS);
    assert_eq!(x.groups * group_bytes, panel.len(), "bytes of a panel");
    let has_start = coding.offset != 0 || (is_signed::<C>() && S::BIAS != 0);
    let mut results = [s.splat(0.0); ROWS];
    for (index, block) in panel.chunks_exact(coding.bytes).enumerate() {
        for group in 0..groups {
            let place = index * groups + group;
            if is_first {
                let passed = index * coding.bytes + group * group_bytes;
                for line in 0..group_bytes.div_ceil(LINE) {
                    s.prefetch(panel, passed + AHEAD + line * LINE);
                }
            }
            let mut terms = [0; ROWS];
            for (r, term) in terms.iter_mut().enumerate() {
                // SAFETY: `check` found the terms of all groups.
                *term = unsafe { *x.terms.get_unchecked(r * x.groups + place) };
            }
            let mut dots = [s.splat_int(0); ROWS];
            if has_start {
                for (dot, term) in dots.iter_mut().zip(terms) {
                    *dot = s.splat_int(term);
                }
            }
            add_dots::<S, C, ROWS>(s, (block, group), (&x, place), &mut dots);
            let (scale, minimum) = scale_and_minimum::<S, C>(s, block, group);
            for (r, (result, dot)) in results.iter_mut().zip(dots).enumerate() {
                let at = r * x.stride + place * coding.group / GROUP;
                // SAFETY: `check` found the scales of all groups.
                let of_row = s.splat(unsafe { *x.scales.get_unchecked(at) });
                *result = s.fma(s.mul(scale, of_row), s.to_float(dot), *result);
                if has_minima::<C>() {
                    let total = s.splat(f32::from_bits(terms[r] as u32));
                    *result = s.fma(minimum, total, *result);
                }
            }
        }
    }
    for (r, result) in results.into_iter().enumerate() {
        let target = sums[r * stride..].first_chunk_mut();
        s.store(result, target.expect("16 sums for each panel"));
    }
    ROWS
}

/// Adds whole numbers: the products of a group's words, in 16 bits where those are wide enough and the set is faster so.
#[inline(always)]
fn add_dots<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    (block, group): (&[u8], usize),
    (x, place): (&Rows<'_>, usize),
    dots: &mut [S::Ints; ROWS],
) {
    let coding = &C::CODING;
    let words = coding.group / 4;
    let is_short = S::SHORT_SUMS && !is_signed::<C>();
    let run = words_of_run(coding.code_bits(), words);
    let mut planes = upper_planes::<S, C>(s, block, group);
    let mut short = [s.splat_int(0); ROWS];
    for unit in 0..coding.group / UNIT {
        let codes = biased_words::<S, C>(s, block, (group, unit), &mut planes);
        for (half, codes) in codes.into_iter().enumerate() {
            let at = place * words + 2 * unit + half;
            for (r, (dot, short)) in dots.iter_mut().zip(&mut short).enumerate() {
                // SAFETY: `Rows::check` found the words of all groups.
                let x = s.splat_int(unsafe { *x.codes.get_unchecked(r * x.stride + at) });
                if is_signed::<C>() {
                    *dot = s.dot_biased(*dot, codes, x);
                } else if is_short {
                    *short = s.dot_short(*short, codes, x);
                } else {
                    *dot = s.dot(*dot, codes, x);
                }
            }
        }
        if is_short && (2 * unit + 2).is_multiple_of(run) {
            for (dot, short) in dots.iter_mut().zip(&mut short) {
                *dot = s.add_short(*dot, *short);
                *short = s.splat_int(0);
            }
        }
    }
}
