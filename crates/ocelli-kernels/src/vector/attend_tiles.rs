//! Attention in pairs on a matrix unit, which multiplies on its own once it has an instruction:
//! while registers weigh the scores of some queries, it works for their neighbours.
//!
//! ```text
//! for each block of 128 keys, in order:
//!     words of the block's keys and values               as in `attend_pairs.rs`
//!     scores of the first 32 queries
//!     for each 32 queries t, row by row:
//!         registers: p, total = weights of a row of t    see `weights.rs`
//!         unit:      the row's share of
//!                        sums[t - 1] += p v
//!                        scores[t + 1] = q k^T - largest
//!     sums of the last 32 queries
//! ```
//! Scores and weights are kept twice, so that neighbours do not wait for each other. Scores start
//! at what is subtracted from them, so that registers, which have more to do than the unit, need
//! not. Rows behind the last query are computed too, from what lies there, and thrown away.

use std::ops::Range;

use crate::panels::cast::{bits, bits_mut};
use crate::strided::{Strided, StridedMut};
use crate::tiles::{self, DEPTH, TILE, TileUnit};
use crate::vector::attend_pairs::{
    BLOCK, Sizes, WEIGHT_STRIDE, ask_for, clear, divide, round_block, round_queries,
};
use crate::vector::weights::{Row, is_known, weigh_row};
use crate::vector::{Halves, Simd};
use crate::workspace::{AttentionSpace, room};
use crate::{Attention, Kernels, LANES, MatrixMut, Operand, Workspace};

/// Queries that are weighed together: two tiles of rows.
const QUERIES: usize = 2 * tiles::ROWS;

/// Tokens of a step of the products with values.
const TOKENS: usize = 2 * DEPTH;

/// Scores of some queries.
const SCORES: usize = QUERIES * BLOCK;

/// Weights of some queries.
const WEIGHTS: usize = QUERIES * WEIGHT_STRIDE;

/// Some queries, of which one at least sees a token of the block.
#[derive(Clone, Copy)]
struct Queries {
    /// The first one.
    first: usize,
    /// The end of what any of them sees.
    seen: usize,
    /// Which scores and weights are theirs.
    side: usize,
}

/// The same with the tokens of the block that each sees.
struct Visible {
    queries: Queries,
    visible: [Range<usize>; QUERIES],
}

impl Visible {
    /// The first such queries from `first` on; their scores and weights are on `side`.
    fn from(
        attention: &Attention<'_>,
        sizes: Sizes,
        tokens: &Range<usize>,
        first: usize,
        side: usize,
    ) -> Option<Self> {
        (first..sizes.count).step_by(QUERIES).find_map(|first| {
            let mut visible = [const { 0..0 }; QUERIES];
            let mut seen = 0;
            for (visible, query) in visible.iter_mut().zip(first..sizes.count) {
                let all = (attention.visible)(query / sizes.group);
                let clip = |t: usize| t.clamp(tokens.start, tokens.end) - tokens.start;
                *visible = clip(all.start)..clip(all.end);
                if visible.start < visible.end {
                    seen = seen.max(visible.end);
                }
            }
            let queries = Queries { first, seen, side };
            (seen > 0).then_some(Self { queries, visible })
        })
    }
}

impl Queries {
    /// Steps of 32 tokens, those with values and those with keys alike.
    fn token_steps(&self) -> usize {
        self.seen.div_ceil(TOKENS)
    }
}

/// What the unit does while queries are weighed.
struct UnitWork {
    sizes: Sizes,
    /// Queries whose values are added.
    former: Option<Queries>,
    /// Queries that get scores.
    next: Option<Queries>,
}

impl UnitWork {
    /// Steps of the products with values.
    fn value_steps(&self) -> usize {
        let pairs = self.sizes.width.div_ceil(2 * LANES);
        self.former.map_or(0, |tile| tile.token_steps() * pairs)
    }

    /// Steps of depth of a head.
    fn head_steps(&self) -> usize {
        self.sizes.words / DEPTH
    }

    /// Steps of both products.
    fn steps(&self) -> usize {
        let of_keys = self.next.map_or(0, |tile| tile.token_steps());
        self.value_steps() + of_keys * self.head_steps()
    }

    /// Hands some of the steps to the unit.
    #[inline(always)]
    fn run<U: TileUnit>(&self, unit: &mut U, steps: Range<usize>, space: &mut AttentionSpace) {
        let of_values = self.value_steps();
        for step in steps {
            match (self.former, self.next) {
                (Some(tile), _) if step < of_values => {
                    let depth = tile.token_steps();
                    self.add_values(unit, tile, step / depth, step % depth, space);
                }
                (_, Some(tile)) => {
                    let (step, depth) = (step - of_values, self.head_steps());
                    self.score_keys(unit, tile, step / depth, step % depth, space);
                }
                _ => {}
            }
        }
    }

    /// Step `k` of `sums += p v` for two panels of values.
    #[inline(always)]
    fn add_values<U: TileUnit>(
        &self,
        unit: &mut U,
        tile: Queries,
        pair: usize,
        k: usize,
        space: &mut AttentionSpace,
    ) {
        let width = self.sizes.width;
        let weights = Strided {
            values: &space.weights[tile.side * WEIGHTS + k * DEPTH..],
            stride: WEIGHT_STRIDE,
        };
        let panel_step = BLOCK / 2 * LANES;
        let values = Strided {
            values: &space.value_words[2 * pair * panel_step + k * DEPTH * LANES..],
            stride: panel_step,
        };
        let sums = StridedMut {
            values: bits_mut(&mut space.sums[tile.first * width + 2 * pair * LANES..]),
            stride: width,
        };
        let step = DepthStep {
            index: k,
            count: tile.token_steps(),
        };
        if width - 2 * pair * LANES == LANES {
            add::<U, 1>(unit, weights, values, sums, step);
        } else {
            add::<U, 2>(unit, weights, values, sums, step);
        }
    }

    /// Step `k` of `scores = starts + q k^T` for two panels of keys.
    #[inline(always)]
    fn score_keys<U: TileUnit>(
        &self,
        unit: &mut U,
        tile: Queries,
        pair: usize,
        k: usize,
        space: &mut AttentionSpace,
    ) {
        let stride = self.sizes.query_stride;
        let queries = Strided {
            values: &bits(&space.queries)[tile.first * stride + k * DEPTH..],
            stride,
        };
        let panel_step = self.sizes.words * LANES;
        let keys = Strided {
            values: &bits(&space.key_words)[2 * pair * panel_step + k * DEPTH * LANES..],
            stride: panel_step,
        };
        if k == 0 {
            let (first, second) = bits(&space.starts).split_at(TILE);
            unit.load::<0>(first, LANES);
            unit.load::<1>(first, LANES);
            unit.load::<2>(second, LANES);
            unit.load::<3>(second, LANES);
        }
        tiles::step::<U, 2, 2, false>(unit, queries, keys);
        if k + 1 == self.head_steps() {
            let scores = &mut space.scores[tile.side * SCORES + pair * TOKENS..];
            tiles::store::<U, 2, 2>(unit, bits_mut(scores), BLOCK);
        }
    }
}

/// Where scores of the queries start: at their largest so far, negated, for all tokens of a panel.
#[inline(always)]
fn start_scores<S: Simd>(s: S, queries: Option<Queries>, space: &mut AttentionSpace) {
    let Some(queries) = queries else {
        return;
    };
    let starts = room(&mut space.starts, QUERIES * LANES);
    let starts = starts.as_chunks_mut::<LANES>().0;
    for (start, largest) in starts.iter_mut().zip(&space.largest[queries.first..]) {
        let largest = if is_known(*largest) { *largest } else { 0.0 };
        s.store(s.splat(-largest), start);
    }
}

/// One of the steps of depth in which a product is made.
#[derive(Clone, Copy)]
struct DepthStep {
    index: usize,
    count: usize,
}

/// A step of a product that adds to what is in memory.
#[inline(always)]
fn add<U: TileUnit, const PT: usize>(
    unit: &mut U,
    a: Strided<'_, i32>,
    b: Strided<'_, i32>,
    sums: StridedMut<'_, i32>,
    step: DepthStep,
) {
    if step.index == 0 {
        tiles::load::<U, 2, PT>(unit, sums.values, sums.stride);
    }
    tiles::step::<U, 2, PT, false>(unit, a, b);
    if step.index + 1 == step.count {
        tiles::store::<U, 2, PT>(unit, sums.values, sums.stride);
    }
}

/// See [`Kernels::attend_pairs`].
#[inline(always)]
pub(crate) fn attend_tiles_of<U: TileUnit, S: Simd + Kernels, H: Halves<S>>(
    unit: &mut U,
    s: S,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) {
    let sizes = Sizes::of(attention, Operand::Bf16);
    let space = &mut workspace.attention;
    let rows = sizes.count.next_multiple_of(QUERIES);
    room(&mut space.queries, rows * sizes.query_stride);
    round_queries::<S, H>(s, attention, sizes, space);
    clear(sizes, rows, space);
    room(&mut space.scores, 2 * SCORES);
    room(&mut space.weights, 2 * WEIGHTS);
    let Range { start: first, end } = attention.seen_by_all();
    for start in (first / BLOCK * BLOCK..end).step_by(BLOCK) {
        let tokens = start..(start + BLOCK).min(end);
        round_block::<S, H>(s, attention, sizes, tokens.clone(), first, space);
        let mut work = UnitWork {
            sizes,
            former: None,
            next: None,
        };
        let mut present = Visible::from(attention, sizes, &tokens, 0, 0);
        work.next = present.as_ref().map(|tile| tile.queries);
        start_scores(s, work.next, space);
        work.run(unit, 0..work.steps(), space);
        while let Some(tile) = present {
            let Queries { first, side, .. } = tile.queries;
            let share = |query: usize| start + BLOCK + BLOCK * query.min(rows) / rows;
            let soon = share(first).min(end)..share(first + QUERIES).min(end);
            ask_for(s, attention, soon);
            present = Visible::from(attention, sizes, &tokens, first + QUERIES, 1 - side);
            work.next = present.as_ref().map(|tile| tile.queries);
            start_scores(s, work.next, space);
            weigh_tile::<U, S, H>(unit, s, &tile, &work, space);
            work.former = Some(tile.queries);
        }
        work.run(unit, 0..work.steps(), space);
    }
    divide(s, sizes, space, out);
}

/// Weights of some queries, row by row, and after each row a share of the unit's work.
#[inline(always)]
fn weigh_tile<U: TileUnit, S: Simd, H: Halves<S>>(
    unit: &mut U,
    s: S,
    Visible { queries, visible }: &Visible,
    meanwhile: &UnitWork,
    space: &mut AttentionSpace,
) {
    let Sizes { width, count, .. } = meanwhile.sizes;
    let panels = queries.seen.div_ceil(LANES);
    let (steps, rows) = (meanwhile.steps(), (count - queries.first).min(QUERIES));
    for (row, visible) in visible.iter().enumerate().take(rows) {
        let query = queries.first + row;
        let scores = &mut space.scores[queries.side * SCORES + row * BLOCK..][..panels * LANES];
        let weights = &mut space.weights[queries.side * WEIGHTS + row * WEIGHT_STRIDE..];
        weigh_row::<S, H, true>(
            s,
            scores,
            visible.clone(),
            &mut weights[..panels.div_ceil(2) * LANES],
            Row {
                largest: &mut space.largest[query],
                total: &mut space.total.as_chunks_mut::<LANES>().0[query],
                sums: &mut space.sums[query * width..][..width],
            },
        );
        meanwhile.run(unit, steps * row / rows..steps * (row + 1) / rows, space);
    }
}
