//! Products of rounded rows: panels become words of pairs or of bytes, a chunk at a time, and word
//! tiles multiply them.
//!
//! ```text
//! for each chunk of inputs:
//!     words of the chunk of all panels: as stored, or recoded   (stay in the second-level cache)
//!     word tiles of all rows, sums in and out of memory
//! ```

use std::ops::Range;

use crate::operand::LINE;
use crate::panels::bytes::BIAS;
use crate::panels::cast::bits;
use crate::strided::{Strided, StridedMut};
use crate::vector::bytes::four;
use crate::vector::finish::{Finishing, finish_rows};
use crate::vector::{Simd, codes, decode, unpack};
use crate::word_job::{Ahead, Scales, WordJob};
use crate::workspace::room;
use crate::{CHUNK, LANES, Operand, PanelFormat, Panels, Product, Workspace};

/// A product of rows rounded to pairs.
#[inline(always)]
pub(super) fn product_pairs<S: Simd>(s: S, product: &mut Product<'_>, workspace: &mut Workspace) {
    let stride = s.sums_stride(product.weight.count());
    let is_finished = match product.weight.format() {
        PanelFormat::BF16 => multiply_stored_pairs(s, product, workspace),
        PanelFormat::Coded(code) if s.multiplies_alone() => {
            codes::multiply(s, code, product, workspace)
        }
        _ => {
            multiply_halves(s, product, workspace);
            false
        }
    };
    if !is_finished {
        let sums = room(&mut workspace.sums, product.x.rows() * stride);
        let sums = StridedMut {
            values: sums,
            stride,
        };
        finish_rows(s, product, sums);
    }
}

/// `workspace.sums = x W^T`; whether they have been finished too.
#[inline(always)]
fn multiply_stored_pairs<S: Simd>(
    s: S,
    product: &mut Product<'_>,
    workspace: &mut Workspace,
) -> bool {
    let Product { x, weight, .. } = *product;
    let stride = s.sums_stride(weight.count());
    let sums = room(&mut workspace.sums, x.rows() * stride);
    if weight.inputs() == 0 {
        sums.fill(0.0);
    }
    let words = Operand::Bf16.code_words(weight.inputs());
    let chunk = s.stored_chunk() / 2;
    for start in (0..words).step_by(chunk) {
        let depth = (words - start).min(chunk);
        let is_last = start + depth == words;
        let mut job = WordJob {
            a: &bits(x.values())[start.min(x.values().len())..],
            a_stride: x.stride(),
            rows: x.rows(),
            depth,
            b: &weight.words()[start * LANES..],
            panel_step: words * LANES,
            panels: weight.count(),
            scales: Scales::default(),
            sums,
            stride,
            is_first: start == 0,
            ahead: if is_last {
                Ahead::Nothing
            } else {
                Ahead::RowsAndPanels
            },
        };
        if is_last && s.multiplies_alone() {
            let first_panel = 0;
            s.pair_tiles_while(
                &mut job,
                &mut Finishing {
                    s,
                    product,
                    first_panel,
                },
            );
            return true;
        }
        s.pair_tiles(&mut job);
    }
    false
}

/// A product of pairs with weights that are unpacked and rounded.
#[inline(always)]
fn multiply_halves<S: Simd>(s: S, product: &Product<'_>, workspace: &mut Workspace) {
    let Product { x, weight, .. } = product;
    let stride = s.sums_stride(weight.count());
    let sums = room(&mut workspace.sums, x.rows() * stride);
    let values = room(&mut workspace.weights, CHUNK * LANES);
    let panel_step = CHUNK / 2 * LANES;
    let pairs = room(&mut workspace.words, weight.count() * panel_step);
    if weight.inputs() == 0 {
        sums.fill(0.0);
    }
    for start in (0..weight.inputs()).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(weight.inputs());
        // Whole tiles: what is behind the last input is 0.
        let depth = Operand::Bf16.code_words(chunk.len());
        for panel in 0..weight.count() {
            let pairs = &mut pairs[panel * panel_step..][..depth * LANES];
            unpack_halves(s, *weight, panel, chunk.clone(), values, pairs);
        }
        s.pair_tiles(&mut WordJob {
            a: &bits(x.values())[(start / 2).min(x.values().len())..],
            a_stride: x.stride(),
            rows: x.rows(),
            depth,
            b: pairs,
            panel_step,
            panels: weight.count(),
            scales: Scales::default(),
            sums,
            stride,
            is_first: start == 0,
            ahead: Ahead::Nothing,
        });
    }
}

/// A chunk of a panel as words of pairs, zeros behind its last input. `values` is scratch.
#[inline(always)]
fn unpack_halves<S: Simd>(
    s: S,
    weight: Panels<'_>,
    panel: usize,
    chunk: Range<usize>,
    values: &mut [f32],
    pairs: &mut [i32],
) {
    if let PanelFormat::Coded(code) = weight.format() {
        let coding = code.coding();
        let block = |input: usize| input / coding.elements * coding.bytes;
        let blocks = &weight.panel(panel)[block(chunk.start)..block(chunk.end)];
        let (pairs, behind) = pairs.split_at_mut(chunk.len() / 2 * LANES);
        behind.fill(0);
        return s.unpack_pairs(code, blocks, 0..chunk.len() / coding.group, pairs);
    }
    let (used, behind) = values.split_at_mut(chunk.len() * LANES);
    behind.fill(0.0);
    unpack(s, weight, panel, chunk, used);
    round_pairs(s, values, pairs);
}

/// 16 values as upper halves. Not a closure: that would be compiled without the instruction set's features.
#[inline(always)]
fn half<S: Simd>(s: S, values: &[f32]) -> S::Ints {
    s.upper_half(s.load(values.first_chunk().expect("16 values")))
}

/// `[inputs][16]` values to `[inputs / 2][16]` words of pairs.
#[inline(always)]
fn round_pairs<S: Simd>(s: S, values: &[f32], pairs: &mut [i32]) {
    let values = values.as_chunks::<{ 2 * LANES }>().0;
    for (values, pairs) in values.iter().zip(pairs.as_chunks_mut::<LANES>().0) {
        let (even, odd) = values.split_at(LANES);
        let (even, odd) = (half(s, even), half(s, odd));
        s.store_ints(s.or(even, s.shift_left(odd, 16)), pairs);
    }
}

/// `workspace.sums = x W^T` for rows rounded to bytes in chunks.
#[inline(always)]
pub(super) fn multiply_bytes<S: Simd>(s: S, product: &Product<'_>, workspace: &mut Workspace) {
    let Product { x, weight, .. } = product;
    let inputs = weight.inputs();
    let stride = weight.count() * LANES;
    let sums = room(&mut workspace.sums, x.rows() * stride);
    let words = room(&mut workspace.words, weight.count() * CHUNK_WORDS);
    let scales = room(&mut workspace.scales, stride);
    if inputs == 0 {
        sums.fill(0.0);
    }
    let operand = Operand::Int8Chunks;
    let (scales_at, totals_at) = (operand.code_words(inputs), operand.totals_at(inputs));
    let behind = |at: usize| at.min(x.values().len());
    for start in (0..inputs).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(inputs);
        let depth = operand.code_words(chunk.len());
        let index = start / CHUNK;
        let panels = chunk_words(s, *weight, chunk.clone(), &mut *words, &mut *scales);
        s.byte_tiles(&mut WordJob {
            a: &bits(x.values())[behind(start / 4)..],
            a_stride: x.stride(),
            rows: x.rows(),
            depth,
            b: panels.values,
            panel_step: panels.stride,
            panels: weight.count(),
            scales: Scales {
                rows: &x.values()[behind(scales_at + index)..],
                totals: &bits(x.values())[behind(totals_at + index)..],
                panels: scales,
            },
            sums,
            stride,
            is_first: start == 0,
            ahead: if chunk.end == inputs {
                Ahead::Nothing
            } else if weight.format() == PanelFormat::Bytes {
                Ahead::RowsAndPanels
            } else {
                Ahead::Rows(0..depth / LINE)
            },
        });
    }
}

/// Words of a chunk of a panel.
const CHUNK_WORDS: usize = CHUNK / 4 * LANES;

/// Words of a chunk of all panels, as rows; their scales in `scales`. Words that are not stored as
/// products take them are put into `words`.
#[inline(always)]
fn chunk_words<'a, S: Simd>(
    s: S,
    weight: Panels<'a>,
    chunk: Range<usize>,
    words: &'a mut [i32],
    scales: &mut [f32],
) -> Strided<'a, i32> {
    let len = Operand::Int8Chunks.code_words(chunk.len()) * LANES;
    let panels = words.chunks_exact_mut(CHUNK_WORDS);
    let panels = panels.zip(scales.chunks_exact_mut(LANES)).enumerate();
    match weight.format() {
        PanelFormat::Bytes => {
            let step = weight.words().len() / weight.count().max(1);
            let stored = &weight.words()[(chunk.start / 4 * LANES).min(weight.words().len())..];
            for (panel, (words, scales)) in panels {
                let of_panel = &weight.scales_of_bytes(panel)[chunk.start / CHUNK * LANES..];
                scales.copy_from_slice(&of_panel[..LANES]);
                if S::BIAS == 0 {
                    unbias(s, &stored[panel * step..][..len], words);
                }
            }
            if S::BIAS != 0 {
                return Strided {
                    values: stored,
                    stride: step,
                };
            }
        }
        PanelFormat::Coded(code) => {
            let coding = code.coding();
            let block = |input: usize| input / coding.elements * coding.bytes;
            for (panel, (words, scales)) in panels {
                let blocks = &weight.panel(panel)[block(chunk.start)..block(chunk.end)];
                decode::recode(s, code, blocks, &mut words[..len], scales);
            }
        }
        format => panic!("{format:?} has no codes"),
    }
    Strided {
        values: words,
        stride: CHUNK_WORDS,
    }
}

/// Bytes as signed numbers.
#[inline(always)]
fn unbias<S: Simd>(s: S, stored: &[i32], words: &mut [i32]) {
    let bias = s.splat_int(four(BIAS));
    let words = words.as_chunks_mut::<LANES>().0;
    for (stored, words) in stored.as_chunks::<LANES>().0.iter().zip(words) {
        s.store_ints(s.xor(s.load_ints(stored), bias), words);
    }
}
