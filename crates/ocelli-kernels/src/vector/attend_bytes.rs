//! Attention of pictures with queries, keys, weights and values rounded to bytes.
//!
//! ```text
//! c = mean of all keys                               a key less c gives the same weights, and is smaller
//! for each block of 128 keys, in order:
//!     bytes of the block's keys (a scale for each token) and of its values (a scale for each column)
//!     for each 48 queries:
//!         s = q (k - c)^T                            q has log2(e) in its scale: weights are powers of 2
//!         p = 127 * 2^(s - largest s of the block and query), to whole numbers
//!         total += p before rounding;  sums += p v   in units of the block
//! out = sums / total
//! ```
//! Weights have a scale for each block, so that only what is less than a 250th of the block's
//! largest counts as 0. Both products are register tiles of bytes; scores, sums and what weights
//! are divided by are `f32`.

use std::ops::Range;

use crate::attention::{Attention, KeyValues};
use crate::panels::bytes::BIAS;
use crate::panels::cast::{bits, bits_mut, bytes_mut};
use crate::vector::attend_pairs::{BLOCK, Sizes, TILE, ask_for, clear, divide};
use crate::vector::bytes::four;
use crate::vector::halves::lanes;
use crate::vector::{Simd, round};
use crate::word_job::{Ahead, Scales, WordJob};
use crate::workspace::{AttentionSpace, room};
use crate::{CHUNK, Kernels, LANES, Matrix, MatrixMut, Operand, Workspace};

/// Words of a block's weights of a query.
const WEIGHT_WORDS: usize = BLOCK / 4;

/// Words from one row of weights to the next: codes, their scale, their sum, and an odd number of
/// cache lines.
const WEIGHT_STRIDE: usize = WEIGHT_WORDS + LANES;

/// Logarithm to base 2 of 127, the largest weight of a block in bytes.
const LOG2_MOST: f32 = 6.988_684_7;

/// Scores may be larger than what is taken for the largest by this: sums are far from infinity.
const SLACK: f32 = 16.0;

/// Least keys for which making them bytes pays.
const LEAST_KEYS: usize = 2 * BLOCK;

/// Whether [`attend_bytes`] takes an attention: rows that are all seen by all queries, enough of
/// them, in heads of one chunk.
pub(crate) fn fits_bytes(attention: &Attention<'_>) -> bool {
    let KeyValues::Rows { keys, .. } = &attention.keys_values else {
        return false;
    };
    let all = 0..keys.rows();
    let rows = 0..attention.queries.rows();
    attention.dim <= CHUNK
        && keys.rows() >= LEAST_KEYS
        && rows.map(attention.visible).all(|seen| seen == all)
}

/// See [`Kernels::attend_bytes`], for an attention that [`fits_bytes`].
#[inline(always)]
pub(crate) fn attend_bytes<S: Simd + Kernels>(
    s: S,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) {
    let KeyValues::Rows { keys, values } = attention.keys_values else {
        panic!("keys in pages are not rounded to bytes");
    };
    let sizes = Sizes::of(attention, Operand::Int8Chunks);
    let space = &mut workspace.attention;
    round_queries(s, attention, sizes, space);
    clear(sizes, sizes.count, space);
    let mut mean = [0.0; CHUNK];
    add_up(s, keys, &mut mean);
    for start in (0..keys.rows()).step_by(BLOCK) {
        let tokens = start..(start + BLOCK).min(keys.rows());
        round_keys(s, keys.part_rows(tokens.clone()), &mean, sizes, space);
        round_values(s, values.part_rows(tokens.clone()), sizes, space);
        let share = BLOCK.div_ceil(sizes.count.div_ceil(TILE));
        for (index, tile) in (0..sizes.count).step_by(TILE).enumerate() {
            let next = start + BLOCK + index * share;
            let next = next.min(keys.rows())..(next + share).min(keys.rows());
            ask_for(s, attention, next);
            let tile = tile..(tile + TILE).min(sizes.count);
            attend_tile(s, sizes, tokens.len(), tile, space);
        }
    }
    divide(s, sizes, space, out);
}

/// `mean = ` that of all rows.
#[inline(always)]
fn add_up<S: Simd>(s: S, rows: Matrix<'_>, mean: &mut [f32; CHUNK]) {
    mean.fill(0.0);
    let sums = mean.as_chunks_mut::<LANES>().0;
    for row in 0..rows.rows() {
        for (sum, x) in sums.iter_mut().zip(rows.row(row).chunks(LANES)) {
            s.store(s.add(s.load(sum), lanes(s, x, 0)), sum);
        }
    }
    let share = s.splat(1.0 / rows.rows() as f32);
    for sum in sums {
        s.store(s.mul(s.load(sum), share), sum);
    }
}

/// Queries as bytes, with the scale and `log2(e)` in their scales.
#[inline(always)]
fn round_queries<S: Simd>(
    s: S,
    attention: &Attention<'_>,
    sizes: Sizes,
    space: &mut AttentionSpace,
) {
    let factor = attention.scale * std::f32::consts::LOG2_E;
    let queries = room(&mut space.queries, sizes.count * sizes.query_stride);
    for (query, out) in queries.chunks_exact_mut(sizes.query_stride).enumerate() {
        let row = attention.queries.row(query / sizes.group);
        let head = &row[query % sizes.group * sizes.dim..][..sizes.dim];
        round(s, Operand::Int8Chunks, head, out);
        out[sizes.words] *= factor;
    }
}

/// Keys of a block less their mean as bytes: words of four elements, `[panels][words][16]`, and a
/// scale for each token.
#[inline(always)]
fn round_keys<S: Simd + Kernels>(
    s: S,
    keys: Matrix<'_>,
    mean: &[f32; CHUNK],
    sizes: Sizes,
    space: &mut AttentionSpace,
) {
    let Sizes { words, dim, .. } = sizes;
    let stride = sizes.query_stride;
    let rounded = room(&mut space.keys, BLOCK * stride);
    let scales = room(&mut space.key_scales, BLOCK);
    scales.fill(0.0);
    let centred = &mut [0.0; CHUNK][..dim];
    let targets = rounded.chunks_exact_mut(stride).zip(scales.iter_mut());
    for (token, (out, scale)) in (0..keys.rows()).zip(targets) {
        let key = keys.row(token);
        for ((centred, key), mean) in centred.iter_mut().zip(key).zip(mean) {
            *centred = key - mean;
        }
        round(s, Operand::Int8Chunks, centred, out);
        *scale = out[words];
    }
    let whole = keys.rows().next_multiple_of(LANES);
    let key_words = &mut room(&mut space.key_words, BLOCK * words)[..whole * words];
    let rounded = Matrix::new(rounded, BLOCK, stride).part(0..keys.rows(), 0..words);
    s.transpose(rounded, key_words);
    if S::BIAS != 0 {
        let bias = s.splat_int(four(BIAS));
        for words in bits_mut(key_words).as_chunks_mut::<LANES>().0 {
            s.store_ints(s.xor(s.load_ints(words), bias), words);
        }
    }
}

/// Values of a block as bytes: words of four tokens, `[columns / 16][32][16]`, and a scale for each column.
#[inline(always)]
fn round_values<S: Simd>(s: S, values: Matrix<'_>, sizes: Sizes, space: &mut AttentionSpace) {
    let panels = sizes.width / LANES;
    let value_words = room(&mut space.value_words, WEIGHT_WORDS * sizes.width);
    let value_words = value_words.as_chunks_mut::<LANES>().0;
    let scales = room(&mut space.value_scales, sizes.width);
    let scales = scales.as_chunks_mut::<LANES>().0;
    let zero = s.splat(0.0);
    let mut bounds = [zero; CHUNK / LANES];
    // 0, or not a number where an element is not finite.
    let mut poison = zero;
    for token in 0..values.rows() {
        let row = values.row(token);
        for (panel, bound) in bounds.iter_mut().enumerate().take(panels) {
            let value = lanes(s, row, panel * LANES);
            poison = s.fma(value, zero, poison);
            *bound = s.max(s.max(value, s.sub(zero, value)), *bound);
        }
    }
    let mut inverses = [zero; CHUNK / LANES];
    for ((scale, bound), inverse) in scales.iter_mut().zip(bounds).zip(&mut inverses) {
        s.store(s.fma(bound, s.splat(1.0 / 127.0), poison), scale);
        let of_bound = s.div(s.splat(127.0), bound);
        *inverse = s.select_less(bound, s.splat(1e-30), zero, of_bound);
    }
    let low = s.splat_int(0xFF);
    for word in 0..values.rows().div_ceil(4) {
        let row = |token: usize| (token < values.rows()).then(|| values.row(token));
        let rows: [&[f32]; 4] =
            std::array::from_fn(|of_word| row(4 * word + of_word).unwrap_or_default());
        for (panel, inverse) in inverses.iter().enumerate().take(panels) {
            let mut joined = s.splat_int(0);
            // The last token is the highest byte.
            for row in rows.iter().rev() {
                let code = s.round(s.mul(lanes(s, row, panel * LANES), *inverse));
                joined = s.or(s.shift_left(joined, 8), s.and(code, low));
            }
            let biased = s.xor(joined, s.splat_int(four(S::BIAS)));
            s.store_ints(biased, &mut value_words[panel * WEIGHT_WORDS + word]);
        }
    }
}

/// A block of keys for some queries.
#[inline(always)]
fn attend_tile<S: Simd>(
    s: S,
    sizes: Sizes,
    tokens: usize,
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
    let panels = tokens.div_ceil(LANES);
    let scores = room(&mut space.scores, TILE * BLOCK);
    let rows = &space.queries[queries.start * query_stride..];
    s.byte_tiles(&mut WordJob {
        a: bits(rows),
        a_stride: query_stride,
        rows: queries.len(),
        depth: dim.div_ceil(4),
        b: bits(&space.key_words),
        panel_step: words * LANES,
        panels,
        scales: Scales {
            rows: &rows[words..],
            totals: &bits(rows)[words + 1..],
            panels: &space.key_scales,
        },
        sums: scores,
        stride: BLOCK,
        is_first: true,
        ahead: Ahead::Nothing,
    });
    weigh(s, sizes.width, tokens, queries.clone(), space);
    let weights = &*space.weights_of_bytes;
    let sums = &mut space.sums[queries.start * width..queries.end * width];
    s.byte_tiles(&mut WordJob {
        a: bits(weights),
        a_stride: WEIGHT_STRIDE,
        rows: queries.len(),
        depth: tokens.div_ceil(4),
        b: &space.value_words,
        panel_step: WEIGHT_WORDS * LANES,
        panels: width / LANES,
        scales: Scales {
            rows: &weights[WEIGHT_WORDS..],
            totals: &bits(weights)[WEIGHT_WORDS + 1..],
            panels: &space.value_scales,
        },
        sums,
        stride: width,
        is_first: false,
        ahead: Ahead::Nothing,
    });
}

/// Weights of a block of keys for some queries, from their scores.
#[inline(always)]
fn weigh<S: Simd>(
    s: S,
    width: usize,
    tokens: usize,
    queries: Range<usize>,
    space: &mut AttentionSpace,
) {
    let weights = room(&mut space.weights_of_bytes, TILE * WEIGHT_STRIDE);
    let sums = space.sums.chunks_exact_mut(width).skip(queries.start);
    let totals = space.total.as_chunks_mut::<LANES>().0;
    let scores = space.scores.chunks_exact_mut(BLOCK);
    let rows = scores
        .zip(weights.chunks_exact_mut(WEIGHT_STRIDE))
        .zip(sums);
    for (query, ((scores, weights), sums)) in queries.zip(rows) {
        let scores = &mut scores[..tokens.next_multiple_of(LANES)];
        scores[tokens..].fill(f32::NEG_INFINITY);
        let row = Row {
            largest: &mut space.largest[query],
            total: &mut totals[query],
            sums,
        };
        weigh_row(s, scores, weights, row);
    }
}

/// What a query's attention consists of until its last block.
struct Row<'a> {
    /// No score so far is larger by more than [`SLACK`].
    largest: &'a mut f32,
    /// Sums of weights by lane.
    total: &'a mut [f32; LANES],
    /// Weighted sums of values.
    sums: &'a mut [f32],
}

/// Turns a row's scores of a block into bytes, their scale and their sum.
#[inline(always)]
fn weigh_row<S: Simd>(s: S, scores: &[f32], out: &mut [f32], row: Row<'_>) {
    let scores = scores.as_chunks::<LANES>().0;
    let mut most = s.splat(f32::NEG_INFINITY);
    for scores in scores {
        most = s.max(s.load(scores), most);
    }
    let most = s.largest(most);
    if most > *row.largest + SLACK {
        // Sums are 0 before the first block.
        if *row.largest > f32::NEG_INFINITY {
            let decay = s.power_of_two(s.splat(*row.largest - most));
            s.store(s.mul(s.load(row.total), decay), row.total);
            for sum in row.sums.as_chunks_mut::<LANES>().0 {
                s.store(s.mul(s.load(sum), decay), sum);
            }
        }
        *row.largest = most;
    }
    let (codes, rest) = out.split_at_mut(WEIGHT_WORDS);
    let codes = bytes_mut(codes).as_chunks_mut::<LANES>().0;
    let (codes, behind) = codes.split_at_mut(scores.len());
    behind.as_flattened_mut().fill(0);
    let unit = s.splat(most - LOG2_MOST);
    let (mut total, mut of_codes) = (s.splat(0.0), s.splat_int(0));
    for (scores, out) in scores.iter().zip(codes) {
        let weight = s.power_of_two(s.sub(s.load(scores), unit));
        total = s.add(total, weight);
        let code = s.round(weight);
        of_codes = s.add_int(of_codes, code);
        s.store_bytes(code, out);
    }
    let scale = s.power_of_two(s.splat(most - LOG2_MOST - *row.largest));
    s.store(s.fma(total, scale, s.load(row.total)), row.total);
    let mut scales = [0.0; LANES];
    s.store(scale, &mut scales);
    rest[0] = scales[0];
    // Whole numbers below 2^14, which `f32` adds without error.
    bits_mut(rest)[1] = s.sum(s.to_float(of_codes)) as i32;
}
