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
use crate::strided::StridedMut;
use crate::vector::Simd;
use crate::vector::ahead::PanelRead;
use crate::vector::bytes::{biased_words, is_signed};
use crate::vector::decode::{
    Coded, ScaleAndMinimum, UNIT, UnitPlace, group_scales, halves_of_block, has_minima,
    upper_planes,
};
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
    ///
    /// # Safety
    /// [`Rows::check`] has passed for this row, which has the group.
    #[inline(always)]
    unsafe fn term(&self, row: usize, group: usize) -> i32 {
        // SAFETY: `check` found the terms of all groups of all rows.
        unsafe { *self.terms.get_unchecked(row * self.groups + group) }
    }
}

/// `sums[row][16 panel + lane] = x[row] * W[16 panel + lane]` for rows rounded to [`Operand::Int8Groups`].
#[inline(always)]
pub(super) fn multiply_as<S: Simd, C: Coded>(
    s: S,
    x: Matrix<'_>,
    weight: Panels<'_>,
    terms: &mut Buffer<i32>,
    sums: &mut [f32],
) {
    let inputs = weight.inputs();
    let groups = inputs / C::CODING.group;
    let terms = room(terms, x.rows() * groups);
    for (row, terms) in terms.chunks_exact_mut(groups.max(1)).enumerate() {
        add_terms::<S>(&C::CODING, x.row(row), inputs, 0..inputs, terms);
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
            let sums = StridedMut {
                values: &mut sums[row * stride + panel * LANES..],
                stride,
            };
            let panel = PanelRead {
                bytes: weight.panel(panel),
                is_first: row == 0,
            };
            row += if left >= 8 && S::FEW_ROWS >= 8 {
                rows::<S, C, 8>(s, panel, x_rows, sums)
            } else if left >= 4 && S::FEW_ROWS >= 4 {
                rows::<S, C, 4>(s, panel, x_rows, sums)
            } else if left >= 2 {
                rows::<S, C, 2>(s, panel, x_rows, sums)
            } else {
                rows::<S, C, 1>(s, panel, x_rows, sums)
            };
        }
    }
}

/// One panel times `ROWS` rows; the number of rows.
#[inline(always)]
fn rows<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    panel: PanelRead<'_>,
    x: Rows<'_>,
    sums: StridedMut<'_, f32>,
) -> usize {
    let coding = &C::CODING;
    let groups = coding.elements / coding.group;
    let group_bytes = coding.bytes / groups;
    x.check::<C>(ROWS);
    assert_eq!(
        x.groups * group_bytes,
        panel.bytes.len(),
        "bytes of a panel"
    );
    let has_start = coding.offset != 0 || (is_signed::<C>() && S::BIAS != 0);
    let mut results = [s.splat(0.0); ROWS];
    for (index, block) in panel.bytes.chunks_exact(coding.bytes).enumerate() {
        let halves = halves_of_block::<S, C>(s, block);
        for group in 0..groups {
            let place = index * groups + group;
            panel.ask::<S, ROWS>(s, place * group_bytes, group_bytes);
            let mut dots = [s.splat_int(0); ROWS];
            if has_start {
                for (r, dot) in dots.iter_mut().enumerate() {
                    // SAFETY: `check` found the terms of all groups of `ROWS` rows.
                    *dot = s.splat_int(unsafe { x.term(r, place) });
                }
            }
            let codes = Group {
                block,
                group,
                place,
            };
            // SAFETY: `check` found the words of all groups of `ROWS` rows.
            unsafe { add_dots::<S, C, ROWS>(s, codes, &x, &mut dots) };
            let ScaleAndMinimum { scale, minimum } = group_scales::<S, C>(s, block, group, halves);
            for (r, (result, dot)) in results.iter_mut().zip(dots).enumerate() {
                let at = r * x.stride + place * coding.group / GROUP;
                // SAFETY: `check` found the scales of all groups.
                let of_row = s.splat(unsafe { *x.scales.get_unchecked(at) });
                *result = s.fma(s.mul(scale, of_row), s.to_float(dot), *result);
                if has_minima::<C>() {
                    // SAFETY: `check` found the terms of all groups of `ROWS` rows.
                    let total = unsafe { x.term(r, place) };
                    let total = s.splat(f32::from_bits(total as u32));
                    *result = s.fma(minimum, total, *result);
                }
            }
        }
    }
    for (r, result) in results.into_iter().enumerate() {
        let target = sums.values[r * sums.stride..].first_chunk_mut();
        s.store(result, target.expect("16 sums for each panel"));
    }
    ROWS
}

/// A group of inputs of a panel.
#[derive(Clone, Copy)]
struct Group<'a> {
    block: &'a [u8],
    /// Which group of the block.
    group: usize,
    /// Which group of the panel.
    place: usize,
}

/// Adds whole numbers: the products of a group's words, in 16 bits where those are wide enough and
/// the set is faster so.
///
/// Where the registers hold the codes of a whole group, four rows at a time go through all of them:
/// that hides the time a product takes, and needs few addresses.
///
/// # Safety
/// [`Rows::check`] has passed for `ROWS` rows, which have the group.
#[inline(always)]
unsafe fn add_dots<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    Group {
        block,
        group,
        place,
    }: Group<'_>,
    x: &Rows<'_>,
    dots: &mut [S::Ints; ROWS],
) {
    let mut planes = upper_planes::<S, C>(s, block, group);
    let mut short = [s.splat_int(0); ROWS];
    let mut words = Words {
        x,
        row: 0,
        group: place * (C::CODING.group / 4),
        first: 0,
    };
    if S::FEW_ROWS < 8 {
        for unit in 0..C::CODING.group / UNIT {
            let codes = biased_words::<S, C>(s, block, UnitPlace { group, unit }, &mut planes);
            words.first = 2 * unit;
            // SAFETY: as the caller promises: a group has two words for each unit.
            unsafe { words.add::<S, C, 2>(s, &codes, dots, &mut short) };
        }
        return;
    }
    let mut codes = [s.splat_int(0); 2 * MOST_UNITS];
    // Not a loop: one that is not unrolled keeps the codes in memory.
    for_units!(unit, C::CODING.group / UNIT, {
        let pair = biased_words::<S, C>(s, block, UnitPlace { group, unit }, &mut planes);
        [codes[2 * unit], codes[2 * unit + 1]] = pair;
    });
    for (part, (dots, short)) in dots.chunks_mut(4).zip(short.chunks_mut(4)).enumerate() {
        words.row = 4 * part;
        if C::CODING.group == GROUP {
            // SAFETY: as the caller promises: the group has 8 words.
            unsafe { words.add::<S, C, 8>(s, &codes, dots, short) };
        } else if let Some(codes) = codes.first_chunk() {
            // SAFETY: as the caller promises: the group has 4 words.
            unsafe { words.add::<S, C, 4>(s, codes, dots, short) };
        }
    }
}

/// Words of a group of some rows.
#[derive(Clone, Copy)]
struct Words<'r, 'a> {
    x: &'r Rows<'a>,
    /// The first of the rows.
    row: usize,
    /// The first word of the group in a row.
    group: usize,
    /// The first word that is multiplied, counted from there.
    first: usize,
}

impl Words<'_, '_> {
    /// Adds the products of `codes` and as many words of each row to the sums of the rows, one of
    /// `dots` and of `short` each.
    ///
    /// # Safety
    /// [`Rows::check`] has passed for these rows, which have these words.
    #[inline(always)]
    unsafe fn add<S: Simd, C: Coded, const WORDS: usize>(
        self,
        s: S,
        codes: &[S::Ints; WORDS],
        dots: &mut [S::Ints],
        short: &mut [S::Ints],
    ) {
        let is_short = S::SHORT_SUMS && !is_signed::<C>();
        let run = words_of_run(C::CODING.code_bits(), C::CODING.group / 4);
        for (word, codes) in codes.iter().enumerate() {
            let at = self.group + self.first + word;
            for (r, (dot, short)) in dots.iter_mut().zip(&mut *short).enumerate() {
                let at = (self.row + r) * self.x.stride + at;
                // SAFETY: as the caller promises.
                let x = s.splat_int(unsafe { *self.x.codes.get_unchecked(at) });
                if is_signed::<C>() {
                    *dot = s.dot_biased(*dot, *codes, x);
                } else if is_short {
                    *short = s.dot_short(*short, *codes, x);
                } else {
                    *dot = s.dot(*dot, *codes, x);
                }
            }
            if is_short && (self.first + word + 1).is_multiple_of(run) {
                for (dot, short) in dots.iter_mut().zip(&mut *short) {
                    *dot = s.add_short(*dot, *short);
                    *short = s.splat_int(0);
                }
            }
        }
    }
}
