//! Products of few rows that are not rounded with quantised panels, which are read once and decoded
//! in registers.
//!
//! ```text
//! for each group of inputs:
//!     t = sum over k of x[k] * code[k]                 two sums: even k and odd k
//!     y += scale * t - (minimum + offset scale) * sum(x)
//! ```
//! A lane is an output, so nothing is added across lanes, and the order does not depend on the
//! number of rows.

use crate::strided::StridedMut;
use crate::vector::Simd;
use crate::vector::ahead::ask;
use crate::vector::decode::{
    Coded, ScaleAndMinimum, UNIT, UnitPlace, codes, each_of_unit, has_minima, scale_and_zero,
    upper_planes,
};
use crate::{LANES, Matrix, Panels};

/// Most activation rows that share a decoded weight.
const MOST_ROWS: usize = 4;

/// `sums[row][16 panel + lane] = x[row] * W[16 panel + lane]`; `totals` is scratch for the sums of
/// each group of x.
#[inline(always)]
pub(super) fn multiply_as<S: Simd, C: Coded>(
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
            let (x, totals) = (x.part_rows(row..x.rows()), &totals[row * groups..]);
            let sums = StridedMut {
                values: &mut sums[row * stride + panel * LANES..],
                stride,
            };
            row += if left >= MOST_ROWS && S::ROWS >= MOST_ROWS {
                rows::<S, C, MOST_ROWS>(s, bytes, x, totals, sums)
            } else if left >= 2 {
                rows::<S, C, 2>(s, bytes, x, totals, sums)
            } else {
                rows::<S, C, 1>(s, bytes, x, totals, sums)
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

/// One panel times the first `ROWS` rows; their number.
#[inline(always)]
fn rows<S: Simd, C: Coded, const ROWS: usize>(
    s: S,
    panel: &[u8],
    x: Matrix<'_>,
    totals: &[f32],
    sums: StridedMut<'_, f32>,
) -> usize {
    let groups = C::CODING.elements / C::CODING.group;
    let all_groups = x.columns() / C::CODING.group;
    let mut results = [s.splat(0.0); ROWS];
    for (index, block) in panel.chunks_exact(C::CODING.bytes).enumerate() {
        for group in 0..groups {
            let place = index * groups + group;
            if ROWS == 1 {
                let group_bytes = C::CODING.bytes / groups;
                ask::<S, ROWS>(s, panel, place * group_bytes, group_bytes);
            }
            let mut units: [&[[f32; UNIT]]; ROWS] = [&[]; ROWS];
            for (r, units) in units.iter_mut().enumerate() {
                let inputs = &x.row(r)[place * C::CODING.group..][..C::CODING.group];
                *units = inputs.as_chunks().0;
            }
            let mut partial = [[s.splat(0.0); 2]; ROWS];
            let mut planes = upper_planes::<S, C>(s, block, group);
            for unit in 0..C::CODING.group / UNIT {
                let codes = codes::<S, C>(s, block, UnitPlace { group, unit }, &mut planes);
                each_of_unit!(k, {
                    for (partial, units) in partial.iter_mut().zip(units) {
                        partial[k % 2] = s.fma(s.splat(units[unit][k]), codes[k], partial[k % 2]);
                    }
                });
            }
            let ScaleAndMinimum { scale, minimum } = scale_and_zero::<S, C>(s, block, group);
            for (r, (result, partial)) in results.iter_mut().zip(partial).enumerate() {
                *result = s.fma(scale, s.add(partial[0], partial[1]), *result);
                if has_minima::<C>() || C::CODING.offset != 0 {
                    let total = s.splat(-totals[r * all_groups + place]);
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
