//! Weights of a block of keys: one step of the online softmax for some queries.
//!
//! ```text
//! where a score of a row is larger than m + 16:   m' = max(m, scores);  total, sums *= 2^(m - m')
//! p = 2^(score - m);  total += p                  each lane has its own total
//! ```
//! A largest score that is a little too small does no harm, as weights keep their relative precision whatever their size. So scores
//! are looked at for it, but a row hardly ever waits for it.

use std::ops::Range;

use crate::LANES;
use crate::panels::cast::word_halves_mut;
use crate::vector::{Halves, Simd};

/// Scores may be larger than what is taken for the largest by this: weights up to `2^16`, whose sums are far from infinity.
const SLACK: f32 = 16.0;

/// What a query's attention consists of until its last block.
pub(crate) struct Row<'a> {
    /// No score so far is larger by more than [`SLACK`].
    pub(crate) largest: &'a mut f32,
    /// Sums of weights by lane.
    pub(crate) total: &'a mut [f32; LANES],
    /// Weighted sums of values.
    pub(crate) sums: &'a mut [f32],
}

/// Turns a row's scores into rounded weights, 0 where nothing is visible.
///
/// `scores` are panels of a block; `weights` have a half for each, and 0 for a panel that makes them even.
#[inline(always)]
pub(crate) fn weigh_row<S: Simd, H: Halves<S>>(
    (s, _): (S, H),
    (scores, visible): (&mut [f32], Range<usize>),
    weights: &mut [i32],
    row: Row<'_>,
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
    let mut most = s.splat(*row.largest);
    for scores in scores {
        most = s.max(most, s.load(scores));
    }
    if s.any_less(s.splat(*row.largest + SLACK), most) {
        let before = *row.largest;
        *row.largest = s.largest(most);
        // Sums are 0 before the first block.
        if before > f32::NEG_INFINITY {
            let decay = s.power_of_two(s.splat(before - *row.largest));
            s.store(s.mul(s.load(row.total), decay), row.total);
            for sum in row.sums.as_chunks_mut::<LANES>().0 {
                s.store(s.mul(s.load(sum), decay), sum);
            }
        }
    }
    let largest = s.splat(*row.largest);
    let mut totals = [s.load(row.total), s.splat(0.0)];
    let halves = word_halves_mut(weights).as_chunks_mut().0;
    let (pairs, rest) = scores.as_chunks::<2>();
    let mut halves = halves.iter_mut();
    for ([first, second], out) in pairs.iter().zip(&mut halves) {
        let first = s.power_of_two(s.sub(s.load(first), largest));
        let second = s.power_of_two(s.sub(s.load(second), largest));
        totals = [s.add(totals[0], first), s.add(totals[1], second)];
        H::store(s, first, second, out);
    }
    for (last, out) in rest.iter().zip(&mut halves) {
        let last = s.power_of_two(s.sub(s.load(last), largest));
        totals[0] = s.add(totals[0], last);
        H::store(s, last, s.splat(0.0), out);
    }
    s.store(s.add(totals[0], totals[1]), row.total);
}
