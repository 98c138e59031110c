//! Products of rows of bytes in groups with quantised panels in their own codes, for many rows.
//!
//! ```text
//! for each chunk of 256 inputs:
//!     for each 2 panels:
//!         unpack the codes of the chunk to bytes, and the scales of its groups      (stay in the first-level cache)
//!         for each 6 rows: a register tile, sums in and out of memory
//!             for each group of inputs:
//!                 t = first + sum over k of byte[k] x[k]                  whole numbers, in registers
//!                 y = fma(scale scale_x, t, y)
//!                 y = fma(minimum, -(scale_x sum(x)), y)                  where the type has minima
//! ```
//! Each element goes through the same operations in the same order as in [`super::few`], so a row
//! of a prompt has the bits that it would have alone.

mod terms;
mod tile;

use std::ops::Range;

use crate::operand::{GROUP, LINE, SUM};
use crate::panels::cast::bits;
use crate::panels::coded::{Coding, Minima};
use crate::vector::ahead::Ahead;
use crate::vector::decode::UnpackedPanel;
use crate::vector::{Simd, decode};
use crate::workspace::room;
use crate::{CHUNK, LANES, Operand, PanelFormat, Panels, Product, Workspace};

use terms::add_chunk_terms;
pub(super) use terms::add_terms;
pub(crate) use tile::{CodeKind, GroupJob, group_tile, words_of_run};
use tile::{Minimum4, Minimum5, NEXT_LINES, Offset4, Offset5, ShortMinimum, ShortOffset, Signed};

/// Panels that are unpacked together: as many as a register tile has, or more.
const PANELS: usize = 2;

/// Rows of the largest register tile.
const MOST_ROWS: usize = 6;

/// Most groups of a chunk, and elements from a row's terms to the next row's.
const GROUPS: usize = CHUNK / 16;

/// Words of a chunk of a panel.
const PANEL_WORDS: usize = CHUNK / 4 * LANES;

/// Scales of a chunk of a panel.
const PANEL_SCALES: usize = GROUPS * LANES;

#[inline(always)]
fn run<S: Simd>(s: S, coding: &Coding, mut job: GroupJob<'_>) {
    let job = &mut job;
    let has_minima = coding.minima != Minima::None;
    match (coding.group, coding.code_bits(), has_minima) {
        (GROUP, _, false) if coding.is_signed() => s.group_tiles::<Signed>(job),
        (GROUP, 4, false) => s.group_tiles::<Offset4>(job),
        (GROUP, 5, false) => s.group_tiles::<Offset5>(job),
        (GROUP, 4, true) => s.group_tiles::<Minimum4>(job),
        (GROUP, 5, true) => s.group_tiles::<Minimum5>(job),
        (SUM, 3 | 6, false) => s.group_tiles::<ShortOffset>(job),
        (SUM, 2, true) => s.group_tiles::<ShortMinimum>(job),
        (group, bits, _) => panic!("codes of {bits} bits in groups of {group}"),
    }
}

/// `workspace.sums = x W^T` for rows rounded to bytes in groups.
#[inline(always)]
pub(super) fn multiply<S: Simd>(s: S, product: &Product<'_>, workspace: &mut Workspace) {
    let Product { x, weight, .. } = *product;
    let PanelFormat::Coded(code) = weight.format() else {
        panic!("{:?} has no codes", weight.format());
    };
    let coding = code.coding();
    let (inputs, panels, stride) = (weight.inputs(), weight.count(), weight.count() * LANES);
    let sums = room(&mut workspace.sums, x.rows() * stride);
    let words = room(&mut workspace.words, PANELS * PANEL_WORDS);
    let scales = room(&mut workspace.scales, 2 * PANELS * PANEL_SCALES);
    let (scales, minima) = scales.split_at_mut(PANELS * PANEL_SCALES);
    let terms = room(&mut workspace.terms, x.rows() * GROUPS);
    let row = RowLayout::new(inputs);
    let behind = |at: usize| &x.values()[at.min(x.values().len())..];
    if inputs == 0 {
        sums.fill(0.0);
    }
    for start in (0..inputs).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(inputs);
        add_chunk_terms::<S>(coding, x, inputs, chunk.clone(), terms);
        for panel in (0..panels).step_by(PANELS) {
            let count = (panels - panel).min(PANELS);
            let of_panels = words
                .chunks_exact_mut(PANEL_WORDS)
                .zip(scales.chunks_exact_mut(PANEL_SCALES))
                .zip(minima.chunks_exact_mut(PANEL_SCALES));
            for (index, ((words, scales), minima)) in of_panels.enumerate().take(count) {
                let blocks = blocks(weight, coding, panel + index, chunk.clone());
                let out = UnpackedPanel {
                    words,
                    scales,
                    minima,
                };
                decode::unpack_words(s, code, blocks, out);
            }
            let soon = blocks_behind(weight, coding, panel, &chunk);
            let job = GroupJob {
                a: bits(behind(start / 4)),
                row_scales: behind(row.scales + start / GROUP),
                of_minima: behind(row.of_minima + start / GROUP),
                a_stride: x.stride(),
                terms,
                rows: x.rows(),
                groups: chunk.len() / coding.group,
                words,
                scales,
                minima,
                panels: count,
                sums: &mut sums[panel * LANES..],
                stride,
                is_first: start == 0,
                next: row.next_lines(&chunk).filter(|_| panel == 0),
                ahead: soon.map(|blocks| Ahead::new(blocks, x.rows() / MOST_ROWS)),
            };
            run(s, coding, job);
        }
    }
}

/// Blocks of some inputs of a panel; none behind the last panel.
#[inline(always)]
fn blocks<'a>(weight: Panels<'a>, coding: &Coding, panel: usize, inputs: Range<usize>) -> &'a [u8] {
    if panel >= weight.count() {
        return &[];
    }
    let block = |input: usize| input / coding.elements * coding.bytes;
    &weight.panel(panel)[block(inputs.start)..block(inputs.end)]
}

/// Blocks of the panels that are unpacked behind those from `panel` on: the next ones of the chunk,
/// or the first ones of the next chunk.
#[inline(always)]
fn blocks_behind<'a>(
    weight: Panels<'a>,
    coding: &Coding,
    panel: usize,
    chunk: &Range<usize>,
) -> [&'a [u8]; PANELS] {
    let (first, inputs) = if panel + PANELS < weight.count() {
        (panel + PANELS, chunk.clone())
    } else {
        let end = (chunk.end + CHUNK).min(weight.inputs());
        (0, chunk.end..end)
    };
    std::array::from_fn(|index| blocks(weight, coding, first + index, inputs.clone()))
}

/// Where what belongs to codes lies in a row rounded to [`Operand::Int8Groups`], in words.
struct RowLayout {
    inputs: usize,
    /// A scale for each 32 inputs.
    scales: usize,
    /// A sum for each 16 inputs.
    totals: usize,
    /// What a minimum is multiplied by, for each 32 inputs.
    of_minima: usize,
}

impl RowLayout {
    fn new(inputs: usize) -> Self {
        let operand = Operand::Int8Groups;
        Self {
            inputs,
            scales: operand.code_words(inputs),
            totals: operand.totals_at(inputs),
            of_minima: operand.behind_totals(inputs),
        }
    }

    /// Where the lines of a row that the next chunk needs lie behind the first codes of this one;
    /// none behind the last.
    fn next_lines(&self, chunk: &Range<usize>) -> Option<[usize; NEXT_LINES]> {
        let (first, end) = (chunk.start / 4, chunk.end);
        let line = |index: usize| end / 4 + index * LINE - first;
        let lines = [
            line(0),
            line(1),
            line(2),
            line(3),
            self.scales + end / GROUP - first,
            self.totals + end / SUM - first,
            self.of_minima + end / GROUP - first,
        ];
        (end < self.inputs).then_some(lines)
    }
}
