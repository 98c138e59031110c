//! Attention with queries, keys, weights and values rounded to upper halves: for rows of prompts
//! and pictures.
//!
//! ```text
//! for each block of 128 keys, in order:
//!     words of pairs of the block's keys (two elements of a head) and values (two tokens)
//!     for each 48 queries:
//!         s = q k^T                                  q scaled by log2(e): weights are powers of 2
//!         p, total = weights of s                    see `weights.rs`
//!         sums += p v
//! out = sums / total
//! ```
//! Scores, weights before rounding and sums are `f32`. Both products are word tiles;
//! `attend_tiles.rs` has the loop for a matrix unit.

use std::ops::Range;

use crate::attention::{Attention, KeyValues};
use crate::panels::cast::{bits, bits_mut, bytes, halves_mut};
use crate::vector::ahead::LINE;
use crate::vector::halves::{lanes, round_row};
use crate::vector::weights::{Row, weigh_row};
use crate::vector::{Halves, Simd};
use crate::word_job::{Ahead, Scales, WordJob};
use crate::workspace::{AttentionSpace, room};
use crate::{Kernels, LANES, Matrix, MatrixMut, Operand, Workspace};

/// Keys of one step of the online softmax.
pub(super) const BLOCK: usize = 128;

/// Query rows of a step: a multiple of every register tile.
pub(super) const TILE: usize = 48;

/// Words from one row of weights to the next: an odd number of cache lines.
pub(super) const WEIGHT_STRIDE: usize = BLOCK / 2 + LANES;

/// Sizes of an attention.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) dim: usize,
    /// Query heads times rows.
    pub(super) count: usize,
    /// Query heads of a row.
    pub(super) group: usize,
    /// Words of a rounded head, whole tiles.
    pub(super) words: usize,
    /// Words from one rounded query to the next.
    pub(super) query_stride: usize,
    /// Elements of a head, whole vectors.
    pub(super) width: usize,
}

impl Sizes {
    /// Those of an attention whose operands are rounded so.
    pub(super) fn of(attention: &Attention<'_>, operand: Operand) -> Self {
        let (dim, group) = (attention.dim, attention.queries.columns() / attention.dim);
        Self {
            dim,
            group,
            count: attention.queries.rows() * group,
            words: operand.code_words(dim),
            query_stride: operand.row_words(dim),
            width: dim.next_multiple_of(LANES),
        }
    }
}

/// See [`Kernels::attend_pairs`].
#[inline(always)]
pub(crate) fn attend_pairs<S: Simd + Kernels>(
    s: S,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) {
    s.attend_pairs(attention, out, workspace);
}

/// The same, for one way to round.
#[inline(always)]
pub(crate) fn attend_pairs_of<S: Simd + Kernels, H: Halves<S>>(
    s: S,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) {
    let sizes = Sizes::of(attention, Operand::Bf16);
    let space = &mut workspace.attention;
    round_queries::<S, H>(s, attention, sizes, space);
    clear(sizes, sizes.count, space);
    let Range { start: first, end } = attention.seen_by_all();
    for start in (first / BLOCK * BLOCK..end).step_by(BLOCK) {
        let tokens = start..(start + BLOCK).min(end);
        round_block::<S, H>(s, attention, sizes, tokens.clone(), first, space);
        let share = BLOCK.div_ceil(sizes.count.div_ceil(TILE));
        for (index, tile) in (0..sizes.count).step_by(TILE).enumerate() {
            let next = start + BLOCK + index * share;
            ask_for(s, attention, next.min(end)..(next + share).min(end));
            let tile = tile..(tile + TILE).min(sizes.count);
            attend_tile::<S, H>(s, attention, sizes, tokens.clone(), tile, space);
        }
    }
    divide(s, sizes, space, out);
}

/// Sums and weights of so many queries before the first block.
#[inline(always)]
pub(super) fn clear(sizes: Sizes, queries: usize, space: &mut AttentionSpace) {
    room(&mut space.sums, queries * sizes.width).fill(0.0);
    room(&mut space.total, queries * LANES).fill(0.0);
    room(&mut space.largest, queries).fill(f32::NEG_INFINITY);
}

/// Weighted sums by the sums of their weights.
#[inline(always)]
pub(super) fn divide<S: Simd>(
    s: S,
    sizes: Sizes,
    space: &mut AttentionSpace,
    out: &mut MatrixMut<'_>,
) {
    let totals = space.total.as_chunks::<LANES>().0;
    let sums = space.sums.chunks_exact_mut(sizes.width);
    for (query, (sums, total)) in sums.zip(totals).take(sizes.count).enumerate() {
        let inverse = s.splat(1.0 / s.sum(s.load(total)));
        for sum in sums.as_chunks_mut::<LANES>().0 {
            s.store(s.mul(s.load(sum), inverse), sum);
        }
        let row = out.row(query / sizes.group);
        row[query % sizes.group * sizes.dim..][..sizes.dim].copy_from_slice(&sums[..sizes.dim]);
    }
}

/// Queries times the scale and `log2(e)`, rounded.
#[inline(always)]
pub(super) fn round_queries<S: Simd, H: Halves<S>>(
    s: S,
    attention: &Attention<'_>,
    sizes: Sizes,
    space: &mut AttentionSpace,
) {
    let factor = attention.scale * std::f32::consts::LOG2_E;
    let queries = room(&mut space.queries, sizes.count * sizes.query_stride);
    let scaled = room(&mut space.scores, sizes.dim);
    for (query, out) in queries.chunks_exact_mut(sizes.query_stride).enumerate() {
        let row = attention.queries.row(query / sizes.group);
        let head = &row[query % sizes.group * sizes.dim..][..sizes.dim];
        for (scaled, x) in scaled.iter_mut().zip(head) {
            *scaled = x * factor;
        }
        round_row::<S, H>(s, scaled, halves_mut(out));
    }
}

/// Asks memory for keys and values that are used soon. Rows of one head are short and far apart:
/// hardware does not follow them by itself.
#[inline(always)]
pub(super) fn ask_for<S: Simd>(s: S, attention: &Attention<'_>, tokens: Range<usize>) {
    let KeyValues::Rows { keys, values } = &attention.keys_values else {
        return;
    };
    for token in tokens {
        for row in [keys.row(token), values.row(token)] {
            let row = bytes(row);
            for line in 0..=row.len() / LINE {
                s.prefetch_second(row, line * LINE);
            }
        }
    }
}

/// Keys and values of a block as words; values of tokens before `first`, which is the first that a
/// row sees, and behind the last one, are 0.
#[inline(always)]
pub(super) fn round_block<S: Simd + Kernels, H: Halves<S>>(
    s: S,
    attention: &Attention<'_>,
    sizes: Sizes,
    tokens: Range<usize>,
    first: usize,
    space: &mut AttentionSpace,
) {
    let Sizes {
        dim, width, words, ..
    } = sizes;
    let count = tokens.len();
    let rows;
    let key_words = room(&mut space.key_words, BLOCK * words);
    let whole = count.next_multiple_of(LANES);
    match &attention.keys_values {
        KeyValues::Rows { keys, values } => {
            // Words of two elements are turned, which is half as many as elements.
            let rounded = room(&mut space.keys, count * words);
            for (token, out) in tokens.clone().zip(rounded.chunks_exact_mut(words)) {
                round_row::<S, H>(s, keys.row(token), halves_mut(out));
            }
            let rounded = Matrix::new(rounded, count, words);
            s.transpose(rounded, &mut key_words[..whole * words]);
            rows = values.part_rows(tokens);
        }
        KeyValues::Paged(head) => {
            let panels = room(&mut space.keys, whole * dim);
            let gathered = room(&mut space.values, count * width);
            let unseen = first.saturating_sub(tokens.start);
            head.gather(&s, tokens, dim, panels, gathered);
            // Pages before a window are others' by now: 0 * NaN would be NaN.
            gathered[..unseen * width].fill(0.0);
            rows = Matrix::new(gathered, count, width);
            let targets = bits_mut(key_words).chunks_exact_mut(words * LANES);
            for (panel, words) in panels.chunks_exact(dim * LANES).zip(targets) {
                let panel = panel.as_chunks::<LANES>().0;
                for (pair, word) in words.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    *word = join::<S, H>(s, panel.get(2 * pair), panel.get(2 * pair + 1));
                }
            }
        }
    }
    // Rows are read in order; half the tokens of a tile of depth may be behind the last one.
    let value_words = room(&mut space.value_words, BLOCK / 2 * width);
    for pair in 0..Operand::Bf16.code_words(count) {
        let even = (2 * pair < count).then(|| rows.row(2 * pair));
        let odd = (2 * pair + 1 < count).then(|| rows.row(2 * pair + 1));
        let (even, odd) = (even.unwrap_or_default(), odd.unwrap_or_default());
        let places = value_words.chunks_exact_mut(BLOCK / 2 * LANES);
        for (panel, words) in places.enumerate() {
            let at = panel * LANES;
            let word = H::join(s, lanes(s, even, at), lanes(s, odd, at));
            s.store_ints(word, &mut words.as_chunks_mut().0[pair]);
        }
    }
}

/// 16 words of an even and an odd element, or 0 where there is none.
#[inline(always)]
fn join<S: Simd, H: Halves<S>>(
    s: S,
    even: Option<&[f32; LANES]>,
    odd: Option<&[f32; LANES]>,
) -> [i32; LANES] {
    let mut words = [0; LANES];
    s.store_ints(H::join(s, load(s, even), load(s, odd)), &mut words);
    words
}

/// 16 elements, or 0 where there is nothing. A closure would be compiled without the instruction
/// set's features.
#[inline(always)]
fn load<S: Simd>(s: S, values: Option<&[f32; LANES]>) -> S::Floats {
    match values {
        Some(values) => s.load(values),
        None => s.splat(0.0),
    }
}

/// Which tokens of a block each query sees; `None` when none of them sees any.
fn visible_in(
    attention: &Attention<'_>,
    group: usize,
    tokens: &Range<usize>,
    queries: Range<usize>,
) -> Option<[Range<usize>; TILE]> {
    let mut visible = [const { 0..0 }; TILE];
    let mut is_seen = false;
    for (visible, query) in visible.iter_mut().zip(queries) {
        let seen = (attention.visible)(query / group);
        let clip = |t: usize| t.clamp(tokens.start, tokens.end) - tokens.start;
        *visible = clip(seen.start)..clip(seen.end);
        is_seen |= visible.start < visible.end;
    }
    is_seen.then_some(visible)
}

/// A block of keys for some queries.
#[inline(always)]
fn attend_tile<S: Simd, H: Halves<S>>(
    s: S,
    attention: &Attention<'_>,
    sizes: Sizes,
    tokens: Range<usize>,
    queries: Range<usize>,
    space: &mut AttentionSpace,
) {
    let Sizes {
        dim,
        words,
        query_stride,
        width,
        ..
    } = sizes;
    let Some(visible) = visible_in(attention, sizes.group, &tokens, queries.clone()) else {
        return;
    };
    // Nothing is done for keys behind the last one that any of these queries sees: their weights would be 0.
    let seen = visible.iter().map(|seen| seen.end).max().unwrap_or(0);
    let panels = seen.div_ceil(LANES);
    let scores = room(&mut space.scores, TILE * BLOCK);
    s.pair_tiles(&mut WordJob {
        a: &bits(&space.queries)[queries.start * query_stride..],
        a_stride: query_stride,
        rows: queries.len(),
        depth: dim.div_ceil(2),
        b: bits(&space.key_words),
        panel_step: words * LANES,
        panels,
        scales: Scales::default(),
        sums: scores,
        stride: BLOCK,
        is_first: true,
        ahead: Ahead::Nothing,
    });
    let weights = room(&mut space.weights, TILE * WEIGHT_STRIDE);
    let sums = &mut space.sums[queries.start * width..queries.end * width];
    let totals = space.total.as_chunks_mut::<LANES>().0;
    for (row, query) in queries.clone().enumerate() {
        weigh_row::<S, H, false>(
            s,
            &mut scores[row * BLOCK..][..panels * LANES],
            visible[row].clone(),
            &mut weights[row * WEIGHT_STRIDE..][..panels.div_ceil(2) * LANES],
            Row {
                largest: &mut space.largest[query],
                total: &mut totals[query],
                sums: &mut sums[row * width..][..width],
            },
        );
    }
    s.pair_tiles(&mut WordJob {
        a: weights,
        a_stride: WEIGHT_STRIDE,
        rows: queries.len(),
        depth: seen.div_ceil(2),
        b: &space.value_words,
        panel_step: BLOCK / 2 * LANES,
        panels: width / LANES,
        scales: Scales::default(),
        sums,
        stride: width,
        is_first: false,
        ahead: Ahead::Nothing,
    });
}
