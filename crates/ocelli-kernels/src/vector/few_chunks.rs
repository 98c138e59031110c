//! Products of few rows of bytes in groups with panels of bytes in chunks, as they are stored.
//!
//! ```text
//! for each panel, each 8 rows (or as many as there are):
//!     for each chunk of 256 inputs:
//!         for each group of 32:   t = sum over k of byte[k] x[k]         whole numbers
//!                                 c = fma(scale_x, t, c)
//!         y = fma(scale of the output, c, y)
//! ```
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a panel, not in its inner loop"
)]

use crate::operand::{GROUP, SUM};
use crate::panels::bytes::BIAS;
use crate::panels::cast::{self, bits};
use crate::strided::StridedMut;
use crate::vector::Simd;
use crate::vector::ahead::{LINE, PanelRead};
use crate::vector::bytes::four;
use crate::{CHUNK, LANES, Matrix, Operand, Panels};

/// Words of a group.
const WORDS: usize = GROUP / 4;

/// Rounded rows, from their first words on.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    inputs: usize,
}

/// `sums = x W^T` for rows rounded to [`Operand::Int8Groups`].
#[inline(always)]
pub(super) fn multiply<S: Simd>(s: S, x: Matrix<'_>, weight: Panels<'_>, sums: &mut [f32]) {
    let stride = weight.count() * LANES;
    for panel in 0..weight.count() {
        let (bytes, scales) = (weight.panel(panel), weight.scales_of_bytes(panel));
        let mut row = 0;
        while row < x.rows() {
            let left = x.rows() - row;
            let sums = StridedMut {
                values: &mut sums[row * stride + panel * LANES..],
                stride,
            };
            let rows_left = Rows {
                values: &x.values()[row * x.stride()..],
                stride: x.stride(),
                inputs: weight.inputs(),
            };
            let panel = PanelRead {
                bytes,
                is_first: row == 0,
            };
            row += if left >= 8 && S::FEW_ROWS >= 8 {
                rows::<S, 8>(s, panel, scales, rows_left, sums)
            } else if left >= 4 && S::FEW_ROWS >= 4 {
                rows::<S, 4>(s, panel, scales, rows_left, sums)
            } else if left >= 2 {
                rows::<S, 2>(s, panel, scales, rows_left, sums)
            } else {
                rows::<S, 1>(s, panel, scales, rows_left, sums)
            };
        }
    }
}

/// One panel times the first `ROWS` rows; their number.
#[inline(always)]
fn rows<S: Simd, const ROWS: usize>(
    s: S,
    panel: PanelRead<'_>,
    scales: &[f32],
    x: Rows<'_>,
    sums: StridedMut<'_, f32>,
) -> usize {
    let words = cast::words(&panel.bytes[..panel.bytes.len() - size_of_val(scales)]);
    let groups = x.inputs.div_ceil(GROUP);
    let end = (ROWS - 1) * x.stride + Operand::Int8Groups.behind_totals(x.inputs);
    assert!(
        x.values.len() >= end && words.len() >= groups * WORDS * LANES,
        "rounded rows and words of a panel"
    );
    let mut results = [s.splat(0.0); ROWS];
    for (chunk, scale) in scales.as_chunks::<LANES>().0.iter().enumerate() {
        let mut of_chunk = [s.splat(0.0); ROWS];
        let first = chunk * (CHUNK / GROUP);
        for group in first..groups.min(first + CHUNK / GROUP) {
            panel.ask::<S, ROWS>(s, group * WORDS * LINE, WORDS * LINE);
            // SAFETY: the rows have this group, and the panel its words: checked above.
            unsafe { add_group(s, words, x, group, &mut of_chunk) };
        }
        let scale = s.load(scale);
        for (result, of_chunk) in results.iter_mut().zip(of_chunk) {
            *result = s.fma(scale, of_chunk, *result);
        }
    }
    for (r, result) in results.into_iter().enumerate() {
        let target = sums.values[r * sums.stride..].first_chunk_mut();
        s.store(result, target.expect("16 sums for each panel"));
    }
    ROWS
}

/// Adds the products of a group of inputs.
///
/// # Safety
/// `words` has the group's words, and `ROWS` rows have its codes, scales and sums.
#[inline(always)]
unsafe fn add_group<S: Simd, const ROWS: usize>(
    s: S,
    words: &[i32],
    x: Rows<'_>,
    group: usize,
    of_chunk: &mut [S::Floats; ROWS],
) {
    let operand = Operand::Int8Groups;
    let codes = bits(x.values);
    let mut dots = [s.splat_int(0); ROWS];
    if S::BIAS != 0 {
        for (r, dot) in dots.iter_mut().enumerate() {
            let at = r * x.stride + operand.totals_at(x.inputs) + group * (GROUP / SUM);
            // SAFETY: a row that has the group has a sum of its first 16 inputs.
            let mut total = unsafe { *codes.get_unchecked(at) };
            if group * GROUP + SUM < x.inputs {
                // SAFETY: and one of those behind them, where there are any.
                total += unsafe { *codes.get_unchecked(at + 1) };
            }
            *dot = s.splat_int(-S::BIAS * total);
        }
    }
    for word in group * WORDS..(group + 1) * WORDS {
        // SAFETY: as the caller promises.
        let lanes = unsafe { words.get_unchecked(word * LANES..) };
        // SAFETY: as above.
        let mut weights = s.load_ints(unsafe { lanes.first_chunk().unwrap_unchecked() });
        if S::BIAS == 0 {
            weights = s.xor(weights, s.splat_int(four(BIAS)));
        }
        for (r, dot) in dots.iter_mut().enumerate() {
            // SAFETY: codes of rows fill whole groups.
            let x = unsafe { *codes.get_unchecked(r * x.stride + word) };
            *dot = s.dot_biased(*dot, weights, s.splat_int(x));
        }
    }
    for (r, (sum, dot)) in of_chunk.iter_mut().zip(dots).enumerate() {
        let at = r * x.stride + operand.code_words(x.inputs) + group;
        // SAFETY: a row that has the group has its scale.
        let scale = s.splat(unsafe { *x.values.get_unchecked(at) });
        *sum = s.fma(scale, s.to_float(dot), *sum);
    }
}
