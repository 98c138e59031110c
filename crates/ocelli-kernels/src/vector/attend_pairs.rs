//! Attention with queries, keys, weights and values rounded to upper halves: for rows of prompts and pictures.
//!
//! ```text
//! for each block of 128 keys, in order:
//!     words of pairs of the block's keys (two elements of a head) and values (two tokens)
//!     for each 48 queries:
//!         s = q k^T                                  q scaled by log2(e): weights are powers of 2
//!         m' = max(m, s);  p = 2^(s - m');  a = 2^(m - m')
//!         total = a total + sum(p);  sums = a sums + p v
//! out = sums / total
//! ```
//! Scores, weights before rounding and sums are `f32`. Both products are word tiles, on a matrix unit where there is one.

use std::ops::Range;

use crate::attention::{Attention, KeyValues};
use crate::panels::cast::{bits, bits_mut, bytes, halves_mut, word_halves_mut};
use crate::vector::Simd;
use crate::vector::ahead::LINE;
use crate::vector::round::round_to_halves;
use crate::word_job::{Scales, WordJob};
use crate::workspace::{AttentionSpace, room};
use crate::{Kernels, LANES, Matrix, MatrixMut, Operand, Workspace};

/// Keys of one step of the online softmax.
const BLOCK: usize = 128;

/// Query rows of a step: a multiple of every register tile and of the tiles of matrix units.
const TILE: usize = 48;

/// Words from one row of weights to the next: an odd number of cache lines.
const WEIGHT_STRIDE: usize = BLOCK / 2 + LANES;

/// Scores this far below the largest have no weight.
const LEAST: f32 = -120.0;

/// Sizes of an attention.
#[derive(Clone, Copy)]
struct Sizes {
    dim: usize,
    /// Query heads times rows.
    count: usize,
    /// Query heads of a row.
    group: usize,
    /// Words of a head's pairs, whole tiles.
    words: usize,
    /// Words from one rounded query to the next.
    query_stride: usize,
    /// Elements of a head, whole vectors.
    width: usize,
}

/// See [`Kernels::attend_pairs`].
#[inline(always)]
pub(crate) fn attend_pairs<S: Simd + Kernels>(
    s: S,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) {
    let (dim, group) = (attention.dim, attention.queries.columns() / attention.dim);
    let sizes = Sizes {
        dim,
        group,
        count: attention.queries.rows() * group,
        words: Operand::Bf16.code_words(dim),
        query_stride: Operand::Bf16.row_words(dim),
        width: dim.next_multiple_of(LANES),
    };
    let space = &mut workspace.attention;
    round_queries(s, attention, sizes, space);
    room(&mut space.sums, sizes.count * sizes.width).fill(0.0);
    room(&mut space.total, sizes.count).fill(0.0);
    room(&mut space.largest, sizes.count).fill(f32::NEG_INFINITY);
    let Range { start: first, end } = attention.seen_by_all();
    for start in (first / BLOCK * BLOCK..end).step_by(BLOCK) {
        let tokens = start..(start + BLOCK).min(end);
        round_block(s, attention, sizes, (tokens.clone(), first, space));
        let share = BLOCK.div_ceil(sizes.count.div_ceil(TILE));
        for (index, tile) in (0..sizes.count).step_by(TILE).enumerate() {
            let next = start + BLOCK + index * share;
            ask_for(s, attention, next.min(end)..(next + share).min(end));
            let tile = tile..(tile + TILE).min(sizes.count);
            attend_tile(s, attention, sizes, (tokens.clone(), tile, space));
        }
    }
    attention.divide(&space.sums, &space.total[..sizes.count], out);
}

/// Queries times the scale and `log2(e)`, rounded.
#[inline(always)]
fn round_queries<S: Simd>(
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
        round_to_halves(s, scaled, halves_mut(out));
    }
}

/// Asks memory for keys and values that are used soon. Rows of one head are short and far apart: hardware does not
/// follow them by itself.
#[inline(always)]
fn ask_for<S: Simd>(s: S, attention: &Attention<'_>, tokens: Range<usize>) {
    let KeyValues::Rows { keys, values } = &attention.keys_values else {
        return;
    };
    for token in tokens {
        for row in [keys.row(token), values.row(token)] {
            let row = bytes(row);
            for line in 0..=row.len() / LINE {
                s.prefetch(row, line * LINE);
            }
        }
    }
}

/// Keys and values of a block as words; values of tokens before the first that a row sees, and behind the last one, are 0.
#[inline(always)]
fn round_block<S: Simd + Kernels>(
    s: S,
    attention: &Attention<'_>,
    sizes: Sizes,
    (tokens, first, space): (Range<usize>, usize, &mut AttentionSpace),
) {
    let Sizes {
        dim, width, words, ..
    } = sizes;
    let count = tokens.len();
    let mut rows;
    let key_words = room(&mut space.key_words, BLOCK * words);
    let whole = count.next_multiple_of(LANES);
    match &attention.keys_values {
        KeyValues::Rows { keys, values } => {
            // Words of two elements are turned, which is half as many as elements.
            let rounded = room(&mut space.keys, count * words);
            for (token, out) in tokens.clone().zip(rounded.chunks_exact_mut(words)) {
                round_to_halves(s, keys.row(token), halves_mut(out));
            }
            let rounded = Matrix::new(rounded, count, words);
            s.transpose(rounded, &mut key_words[..whole * words]);
            rows = values.part_rows(tokens);
            if dim < width {
                let padded = room(&mut space.values, count * width);
                for (token, row) in padded.chunks_exact_mut(width).enumerate() {
                    row[..dim].copy_from_slice(rows.row(token));
                    row[dim..].fill(0.0);
                }
                rows = Matrix::new(padded, count, width);
            }
        }
        KeyValues::Paged(head) => {
            let panels = room(&mut space.keys, whole * dim);
            let gathered = room(&mut space.values, count * width);
            let unseen = first.saturating_sub(tokens.start);
            head.gather(&s, tokens, dim, (panels, &mut *gathered));
            // Pages before a window are others' by now: 0 * NaN would be NaN.
            gathered[..unseen * width].fill(0.0);
            rows = Matrix::new(gathered, count, width);
            let targets = bits_mut(key_words).chunks_exact_mut(words * LANES);
            for (panel, words) in panels.chunks_exact(dim * LANES).zip(targets) {
                let panel = panel.as_chunks::<LANES>().0;
                for (pair, word) in words.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    *word = join(s, panel.get(2 * pair), panel.get(2 * pair + 1));
                }
            }
        }
    }
    let value_words = room(&mut space.value_words, BLOCK / 2 * width);
    for (panel, words) in value_words.chunks_exact_mut(BLOCK / 2 * LANES).enumerate() {
        let at = |token: usize| {
            let row = (token < count).then(|| rows.row(token))?;
            row[panel * LANES..].first_chunk()
        };
        for (pair, word) in words.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            *word = join(s, at(2 * pair), at(2 * pair + 1));
        }
    }
}

/// 16 words of an even and an odd element, or 0 where there is none.
#[inline(always)]
fn join<S: Simd>(s: S, even: Option<&[f32; LANES]>, odd: Option<&[f32; LANES]>) -> [i32; LANES] {
    let mut words = [0; LANES];
    let (low, high) = (half(s, even), half(s, odd));
    s.store_ints(s.or(low, s.shift_left(high, 16)), &mut words);
    words
}

/// 16 upper halves, or 0 where there is nothing. A closure would be compiled without the instruction set's features.
#[inline(always)]
fn half<S: Simd>(s: S, values: Option<&[f32; LANES]>) -> S::Ints {
    match values {
        Some(values) => s.upper_half(s.load(values)),
        None => s.splat_int(0),
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
fn attend_tile<S: Simd>(
    s: S,
    attention: &Attention<'_>,
    sizes: Sizes,
    (tokens, queries, space): (Range<usize>, Range<usize>, &mut AttentionSpace),
) {
    let Sizes {
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
        depth: words,
        b: bits(&space.key_words),
        panel_step: words * LANES,
        panels,
        scales: Scales::default(),
        sums: scores,
        stride: BLOCK,
        is_first: true,
    });
    let weights = room(&mut space.weights, TILE * WEIGHT_STRIDE);
    let sums = &mut space.sums[queries.start * width..queries.end * width];
    for (row, query) in queries.clone().enumerate() {
        let scores = &mut scores[row * BLOCK..][..panels * LANES];
        let decay = softmax_row(
            s,
            (scores, visible[row].clone()),
            &mut weights[row * WEIGHT_STRIDE..][..BLOCK / 2],
            (&mut space.largest[query], &mut space.total[query]),
        );
        if decay != 1.0 {
            let decay = s.splat(decay);
            for sum in sums[row * width..][..width].as_chunks_mut::<LANES>().0 {
                s.store(s.mul(s.load(sum), decay), sum);
            }
        }
    }
    s.pair_tiles(&mut WordJob {
        a: weights,
        a_stride: WEIGHT_STRIDE,
        rows: queries.len(),
        depth: Operand::Bf16.code_words(seen),
        b: &space.value_words,
        panel_step: BLOCK / 2 * LANES,
        panels: width / LANES,
        scales: Scales::default(),
        sums,
        stride: width,
        is_first: false,
    });
}

/// Weights of a row's scores, rounded; what the sums so far are to be multiplied by.
#[inline(always)]
fn softmax_row<S: Simd>(
    s: S,
    (scores, visible): (&mut [f32], Range<usize>),
    weights: &mut [i32],
    (largest, total): (&mut f32, &mut f32),
) -> f32 {
    if visible.is_empty() {
        weights.fill(0);
        return 1.0;
    }
    scores[..visible.start].fill(f32::NEG_INFINITY);
    scores[visible.end..].fill(f32::NEG_INFINITY);
    let scores = scores.as_chunks::<LANES>().0;
    let before = *largest;
    let mut most = s.splat(before);
    for scores in scores {
        most = s.max(most, s.load(scores));
    }
    let most = s.largest(most);
    let mut sum = s.splat(0.0);
    let halves = word_halves_mut(weights);
    let (used, behind) = halves.split_at_mut(scores.len() * LANES);
    behind.fill(0);
    for (scores, out) in scores.iter().zip(used.as_chunks_mut::<LANES>().0) {
        let weight = power_of_two(s, s.sub(s.load(scores), s.splat(most)));
        sum = s.add(sum, weight);
        s.store_halves(s.upper_half(weight), out);
    }
    let mut decay = [0.0; LANES];
    s.store(power_of_two(s, s.splat(before - most)), &mut decay);
    *largest = most;
    *total = *total * decay[0] + s.sum(sum);
    decay[0]
}

/// `2^x` for `x <= 0` with a relative error below 5e-5, far below that of the rounding that follows; 0 below [`LEAST`].
#[inline(always)]
fn power_of_two<S: Simd>(s: S, x: S::Floats) -> S::Floats {
    let limited = s.max(s.splat(LEAST), x);
    let whole = s.round(limited);
    let f = s.sub(limited, s.to_float(whole));
    let mut p = s.splat(9.618_13e-3);
    for c in [5.550_411e-2, 0.240_226_5, std::f32::consts::LN_2, 1.0] {
        p = s.fma(p, f, s.splat(c));
    }
    let scaled = s.float(s.add_int(s.bits(p), s.shift_left(whole, 23)));
    // What is not a number stays one: it is not less.
    s.select_less(
        x,
        s.splat(LEAST),
        s.splat(0.0),
        s.add(scaled, s.mul(x, s.splat(0.0))),
    )
}
