//! Weights of a block of keys: one step of the online softmax for some queries.
//!
//! ```text
//! p = 2^(score - m)
//! where the sums of p of a row's block are above 2^16, and in its first block:
//!     m' = max(m, scores);  total, sums *= 2^(m - m');  p = 2^(score - m')
//! total += sums of p                                each lane has its own total
//! ```
//! A largest score that is a little too small does no harm, as weights keep their relative
//! precision whatever their size. So scores are not looked at for it: weights that have become too
//! large are computed once more, which hardly ever happens.

use std::ops::Range;

use crate::LANES;
use crate::panels::cast::word_halves_mut;
use crate::vector::{Halves, Simd};

/// Sums of a block's weights in a lane above which they are computed anew: far from infinity.
const MOST: f32 = 65536.0;

/// What a query's attention consists of until its last block.
pub(crate) struct Row<'a> {
    /// What is taken for the largest score so far; negative infinity before the first block.
    pub(crate) largest: &'a mut f32,
    /// Sums of weights by lane.
    pub(crate) total: &'a mut [f32; LANES],
    /// Weighted sums of values.
    pub(crate) sums: &'a mut [f32],
}

/// Whether a row has seen a block: scores of others are not lowered by their largest one.
#[inline(always)]
pub(crate) fn is_known(largest: f32) -> bool {
    largest > f32::NEG_INFINITY
}

/// Turns a row's scores into rounded weights, 0 where nothing is visible.
///
/// `scores` are panels of a block, `LOWERED` by the row's largest where [`is_known`]; `weights`
/// have a half for each, and 0 for a panel that makes them even.
#[inline(always)]
pub(crate) fn weigh_row<S: Simd, H: Halves<S>, const LOWERED: bool>(
    s: S,
    scores: &mut [f32],
    visible: Range<usize>,
    weights: &mut [i32],
    mut row: Row<'_>,
) {
    if visible.is_empty() {
        return weights.fill(0);
    }
    if visible.start > 0 {
        scores[..visible.start].fill(f32::NEG_INFINITY);
    }
    if visible.end < scores.len() {
        scores[visible.end..].fill(f32::NEG_INFINITY);
    }
    let scores = scores.as_chunks::<LANES>().0;
    let before = *row.largest;
    if is_known(before) {
        let block = weigh::<S, H, LOWERED>(s, scores, before, weights);
        if !s.any_less(s.splat(MOST), block) {
            return s.store(s.add(s.load(row.total), block), row.total);
        }
    }
    let lowered = if LOWERED && is_known(before) {
        before
    } else {
        0.0
    };
    raise(s, scores, lowered, &mut row);
    let block = weigh::<S, H, false>(s, scores, *row.largest - lowered, weights);
    s.store(s.add(s.load(row.total), block), row.total);
}

/// Takes the largest of `scores + lowered` for the row's, if it is larger.
#[inline(always)]
fn raise<S: Simd>(s: S, scores: &[[f32; LANES]], lowered: f32, row: &mut Row<'_>) {
    let before = *row.largest;
    let mut most = s.splat(before - lowered);
    for scores in scores {
        most = s.max(most, s.load(scores));
    }
    *row.largest = s.largest(most) + lowered;
    // Sums are 0 before the first block.
    if is_known(before) {
        let decay = s.power_of_two(s.splat(before - *row.largest));
        s.store(s.mul(s.load(row.total), decay), row.total);
        for sum in row.sums.as_chunks_mut::<LANES>().0 {
            s.store(s.mul(s.load(sum), decay), sum);
        }
    }
}

/// Weights `2^(score - largest)`, or `2^score` where scores are `LOWERED` already; their sums by lane.
#[inline(always)]
fn weigh<S: Simd, H: Halves<S>, const LOWERED: bool>(
    s: S,
    scores: &[[f32; LANES]],
    largest: f32,
    weights: &mut [i32],
) -> S::Floats {
    let largest = s.splat(largest);
    let mut totals = [s.splat(0.0); 2];
    let halves = word_halves_mut(weights).as_chunks_mut().0;
    let (pairs, rest) = scores.as_chunks::<2>();
    let mut halves = halves.iter_mut();
    for ([first, second], out) in pairs.iter().zip(&mut halves) {
        let first = weight::<S, LOWERED>(s, first, largest);
        let second = weight::<S, LOWERED>(s, second, largest);
        totals = [s.add(totals[0], first), s.add(totals[1], second)];
        H::store(s, first, second, out);
    }
    for (last, out) in rest.iter().zip(&mut halves) {
        let last = weight::<S, LOWERED>(s, last, largest);
        totals[0] = s.add(totals[0], last);
        H::store(s, last, s.splat(0.0), out);
    }
    s.add(totals[0], totals[1])
}

#[inline(always)]
fn weight<S: Simd, const LOWERED: bool>(
    s: S,
    scores: &[f32; LANES],
    largest: S::Floats,
) -> S::Floats {
    let scores = s.load(scores);
    s.power_of_two(if LOWERED {
        scores
    } else {
        s.sub(scores, largest)
    })
}
