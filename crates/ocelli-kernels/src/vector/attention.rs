//! The three steps of a block of attention: scores, softmax, weighted sum.

use crate::panels::cast::{bytes, half_bytes};
use crate::strided::StridedMut;
use crate::vector::ahead::LINE;
use crate::vector::tile::{Halves, Lanes, ROW_STRIDE, Singles, TILE_ROWS, TileJob};
use crate::vector::{Simd, kept, math};
use crate::{CHUNK, Element, KeyPanels, LANES, Matrix, Softmax, ValueRows};

/// See [`crate::Kernels::transpose`].
#[inline(always)]
pub(crate) fn transpose<S: Simd>(s: S, x: Matrix<'_>, out: &mut [f32]) {
    let dim = x.columns();
    assert_eq!(
        out.len(),
        x.rows().div_ceil(LANES) * LANES * dim,
        "whole panels of keys"
    );
    if dim == 0 {
        return;
    }
    for (panel, out) in out.chunks_exact_mut(LANES * dim).enumerate() {
        let tokens = (x.rows() - panel * LANES).min(LANES);
        let mut rows = [x.row(panel * LANES); LANES];
        for (lane, row) in rows.iter_mut().enumerate().take(tokens) {
            *row = x.row(panel * LANES + lane);
        }
        let out = out.as_chunks_mut::<LANES>().0;
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        for (index, out) in blocks.iter_mut().enumerate() {
            let mut block = [&[0.0; LANES]; LANES];
            for (block, row) in block.iter_mut().zip(rows).take(tokens) {
                if let Some(row) = row[index * LANES..].first_chunk() {
                    *block = row;
                }
            }
            s.transpose_block(block, out);
        }
        let first = blocks.len() * LANES;
        for (d, out) in (first..).zip(rest) {
            for (out, row) in out.iter_mut().zip(rows) {
                *out = row[d];
            }
            out[tokens..].fill(0.0);
        }
    }
}

/// Adds a product of few rows to `sums`, or stores it.
#[inline(always)]
fn multiply<'a, S: Simd, L: Lanes>(s: S, a: Matrix<'a>, mut job: TileJob<'a, L>) {
    let is_packed = a.stride() == ROW_STRIDE && job.depth <= ROW_STRIDE;
    if a.rows() == 1 || is_packed {
        job.a = a.values();
        job.rows = a.rows();
        return run(s, &mut job);
    }
    let mut packed = [0.0; TILE_ROWS * ROW_STRIDE];
    let depth = job.depth;
    for top in (0..a.rows()).step_by(TILE_ROWS) {
        let rows = top..(top + TILE_ROWS).min(a.rows());
        for start in (0..depth).step_by(CHUNK) {
            let end = (start + CHUNK).min(depth);
            for (row, packed) in rows.clone().zip(packed.chunks_exact_mut(ROW_STRIDE)) {
                packed[..end - start].copy_from_slice(&a.row(row)[start..end]);
            }
            run(
                s,
                &mut TileJob {
                    a: &packed,
                    rows: rows.len(),
                    depth: end - start,
                    b: &job.b[start * job.step..],
                    sums: &mut job.sums[top * job.stride..],
                    is_first: job.is_first && start == 0,
                    ..job
                },
            );
        }
    }
}

#[inline(always)]
fn run<S: Simd, L: Lanes>(s: S, job: &mut TileJob<'_, L>) {
    if L::STREAMED {
        s.stream(job);
    } else {
        s.tiles(job);
    }
}

/// See [`crate::Kernels::scores`].
#[inline(always)]
pub(crate) fn scores<S: Simd>(
    s: S,
    queries: Matrix<'_>,
    keys: KeyPanels<'_>,
    scores: &mut [f32],
    stride: usize,
) {
    let scores = StridedMut {
        values: scores,
        stride,
    };
    match keys.elements {
        Element::F32(of) => scores_of::<S, Singles>(s, queries, of, keys, scores),
        Element::F16(of) => scores_of::<S, Halves>(s, queries, of, keys, scores),
        Element::Q8(of) => {
            let panels = kept::CodedRuns::new(of, queries.columns(), keys.count, keys.step);
            kept::scores(s, queries, panels, memory(keys.ahead), scores);
        }
    }
}

#[inline(always)]
fn scores_of<S: Simd, L: Lanes>(
    s: S,
    queries: Matrix<'_>,
    elements: &[L::Element],
    keys: KeyPanels<'_>,
    scores: StridedMut<'_, f32>,
) {
    let job = TileJob::<L> {
        a: &[],
        rows: 0,
        depth: queries.columns(),
        b: elements,
        step: LANES,
        panel_step: keys.step,
        panels: keys.count,
        sums: scores.values,
        stride: scores.stride,
        is_first: true,
        ahead: memory(keys.ahead),
    };
    multiply(s, queries, job);
}

/// See [`crate::Kernels::ask_for`].
#[inline(always)]
pub(crate) fn ask_for<S: Simd>(s: S, elements: Element<'_>) {
    let bytes = memory(elements);
    for start in (0..bytes.len()).step_by(LINE) {
        s.prefetch_second(bytes, start);
    }
}

/// The bytes of elements.
#[inline(always)]
fn memory(elements: Element<'_>) -> &[u8] {
    match elements {
        Element::F32(elements) => bytes(elements),
        Element::F16(elements) | Element::Q8(elements) => half_bytes(elements),
    }
}

/// See [`crate::Kernels::softmax`].
#[inline(always)]
pub(crate) fn softmax<S: Simd>(s: S, softmax: Softmax<'_>) {
    let rows = softmax.visible.len();
    let width = softmax.sums.len() / rows.max(1);
    for (row, visible) in softmax.visible.iter().enumerate() {
        let scores = &mut softmax.scores[row * softmax.stride..][..softmax.tokens];
        scores[..visible.start].fill(f32::NEG_INFINITY);
        scores[visible.end..].fill(f32::NEG_INFINITY);
        let (scores, rest) = scores.as_chunks_mut::<LANES>();
        assert!(rest.is_empty(), "blocks of 16 tokens");
        let before = softmax.largest[row];
        let mut largest = s.splat(before);
        for scores in &*scores {
            largest = s.max(largest, s.load(scores));
        }
        let largest = s.largest(largest);
        if largest == f32::NEG_INFINITY {
            scores.as_flattened_mut().fill(0.0);
            continue;
        }
        let mut total = s.splat(0.0);
        for scores in scores {
            let weight = math::exp(s, s.sub(s.load(scores), s.splat(largest)));
            total = s.add(total, weight);
            s.store(weight, scores);
        }
        softmax.largest[row] = largest;
        let mut decay = [0.0; LANES];
        s.store(math::exp(s, s.splat(before - largest)), &mut decay);
        softmax.total[row] = softmax.total[row] * decay[0] + s.sum(total);
        for sum in &mut softmax.sums[row * width..][..width] {
            *sum *= decay[0];
        }
    }
}

/// See [`crate::Kernels::weigh`].
#[inline(always)]
pub(crate) fn weigh<S: Simd>(s: S, weights: Matrix<'_>, values: ValueRows<'_>, sums: &mut [f32]) {
    match values.values {
        Element::F32(elements) => weigh_of::<S, Singles>(s, weights, elements, values, sums),
        Element::F16(elements) => weigh_of::<S, Halves>(s, weights, elements, values, sums),
        Element::Q8(words) => {
            let tokens = values.before..values.before + values.tokens;
            kept::weigh(s, weights, words, tokens, memory(values.ahead), sums);
        }
    }
}

#[inline(always)]
fn weigh_of<S: Simd, L: Lanes>(
    s: S,
    weights: Matrix<'_>,
    elements: &[L::Element],
    values: ValueRows<'_>,
    sums: &mut [f32],
) {
    let width = sums.len() / weights.rows().max(1);
    assert!(width.is_multiple_of(LANES), "sums in whole vectors");
    assert!(
        values.tokens <= weights.columns(),
        "one weight per value row"
    );
    let job = TileJob::<L> {
        a: &[],
        rows: 0,
        depth: values.tokens,
        b: elements,
        step: values.stride,
        panel_step: LANES,
        panels: width / LANES,
        sums,
        stride: width,
        is_first: false,
        ahead: memory(values.ahead),
    };
    multiply(s, weights, job);
}
