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
use crate::vector::ahead::ask;
use crate::vector::bytes::{biased_words, is_signed};
use crate::vector::decode::{Coded, UNIT, group_scales, halves_of_block, has_minima, upper_planes};
use crate::vector::groups::{add_terms, words_of_run};
use crate::workspace::{Buffer, room};
use crate::{LANES, Matrix, Operand, Panels};

/// Most units of a group.
const MOST_UNITS: usize = GROUP / UNIT;

/// Repeats a block for each unit of a group.
macro_rules! for_units {
    ($unit:ident, $count:expr, $block:block) => {
        for_units! { @times $unit, $count, $block, 0, 1, 2, 3 }
    };
    (@times $unit:ident, $count:expr, $block:block, $($value:literal),*) => {
        $(if $value < $count { let $unit = $value; $block })*
    };
}

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

    /// What belongs to the sum of a group of a row.
    #[inline(always)]
    fn term(&self, row: usize, group: usize) -> i32 {
        // SAFETY: `check` found the terms of all groups.
        unsafe { *self.terms.get_unchecked(row * self.groups + group) }
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

/// One panel times `ROWS` rows; the number of rows. Memory is asked for what comes when the panel
/// is read the first time.
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
        let halves = halves_of_block::<S, C>(s, block);
        for group in 0..groups {
            let place = index * groups + group;
            if is_first {
                ask::<S, ROWS>(s, panel, place * group_bytes, group_bytes);
            }
            let mut dots = [s.splat_int(0); ROWS];
            if has_start {
                for (r, dot) in dots.iter_mut().enumerate() {
                    *dot = s.splat_int(x.term(r, place));
                }
            }
            add_dots::<S, C, ROWS>(s, (block, group), (&x, place), &mut dots);
            let (scale, minimum) = group_scales::<S, C>(s, block, group, halves);
            for (r, (result, dot)) in results.iter_mut().zip(dots).enumerate() {
                let at = r * x.stride + place * coding.group / GROUP;
                // SAFETY: `check` found the scales of all groups.
                let of_row = s.splat(unsafe { *x.scales.get_unchecked(at) });
                *result = s.fma(s.mul(scale, of_row), s.to_float(dot), *result);
                if has_minima::<C>() {
                    let total = s.splat(f32::from_bits(x.term(r, place) as u32));
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

/// Adds whole numbers: the products of a group's words, in 16 bits where those are wide enough and
/// the set is faster so.
///
/// Where the registers hold the codes of a whole group, four rows at a time go through all of them:
/// that hides the time a product takes, and needs few addresses.
#[inline(always)]
fn add_dots<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    (block, group): (&[u8], usize),
    (x, place): (&Rows<'_>, usize),
    dots: &mut [S::Ints; ROWS],
) {
    let words = C::CODING.group / 4;
    let mut planes = upper_planes::<S, C>(s, block, group);
    let mut short = [s.splat_int(0); ROWS];
    if S::FEW_ROWS < 8 {
        for unit in 0..C::CODING.group / UNIT {
            let codes = biased_words::<S, C>(s, block, (group, unit), &mut planes);
            let at = (place * words, 2 * unit);
            add_words::<S, C, 2>(s, &codes, (x, 0, at), (dots, &mut short));
        }
        return;
    }
    let mut codes = [s.splat_int(0); 2 * MOST_UNITS];
    // Not a loop: one that is not unrolled keeps the codes in memory.
    for_units!(unit, C::CODING.group / UNIT, {
        let pair = biased_words::<S, C>(s, block, (group, unit), &mut planes);
        [codes[2 * unit], codes[2 * unit + 1]] = pair;
    });
    for (part, (dots, short)) in dots.chunks_mut(4).zip(short.chunks_mut(4)).enumerate() {
        let at = (place * words, 0);
        if C::CODING.group == GROUP {
            add_words::<S, C, 8>(s, &codes, (x, 4 * part, at), (dots, short));
        } else if let Some(codes) = codes.first_chunk() {
            add_words::<S, C, 4>(s, codes, (x, 4 * part, at), (dots, short));
        }
    }
}

/// Adds the products of some words of a group, the first of them word `first` of the group, to the
/// sums of some rows.
#[inline(always)]
fn add_words<S: Simd, C: Coded, const WORDS: usize>(
    s: S,
    codes: &[S::Ints; WORDS],
    (x, row, (start, first)): (&Rows<'_>, usize, (usize, usize)),
    (dots, short): (&mut [S::Ints], &mut [S::Ints]),
) {
    let is_short = S::SHORT_SUMS && !is_signed::<C>();
    let run = words_of_run(C::CODING.code_bits(), C::CODING.group / 4);
    for (word, codes) in codes.iter().enumerate() {
        let at = start + first + word;
        for (r, (dot, short)) in dots.iter_mut().zip(&mut *short).enumerate() {
            // SAFETY: `Rows::check` found the words of all groups.
            let x = s.splat_int(unsafe { *x.codes.get_unchecked((row + r) * x.stride + at) });
            if is_signed::<C>() {
                *dot = s.dot_biased(*dot, *codes, x);
            } else if is_short {
                *short = s.dot_short(*short, *codes, x);
            } else {
                *dot = s.dot(*dot, *codes, x);
            }
        }
        if is_short && (first + word + 1).is_multiple_of(run) {
            for (dot, short) in dots.iter_mut().zip(&mut *short) {
                *dot = s.add_short(*dot, *short);
                *short = s.splat_int(0);
            }
        }
    }
}
