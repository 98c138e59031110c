//! Products of rows of bytes in groups with quantised panels in their own codes, for many rows.
//!
//! ```text
//! for each chunk of 256 inputs:
//!     unpack the codes of the chunk of all panels to bytes, and the scales of its groups   (stay in the caches)
//!     for each 2 panels, each 6 rows: a register tile, sums in and out of memory
//!         for each group of inputs:
//!             t = first + sum over k of byte[k] x[k]                  whole numbers, in registers
//!             y = fma(scale scale_x, t, y)
//!             y = fma(minimum, -(scale_x sum(x)), y)                  where the type has minima
//! ```
//! Each element goes through the same operations in the same order as in [`super::few`], so a row of a prompt has the bits that
//! it would have alone.

mod terms;
mod tile;

use crate::operand::{GROUP, SUM};
use crate::panels::cast::bits;
use crate::panels::coded::{Coding, Minima};
use crate::vector::{Simd, decode};
use crate::workspace::room;
use crate::{CHUNK, LANES, Operand, PanelFormat, Product, Workspace};

pub(super) use terms::add_terms;
pub(crate) use tile::{GroupJob, Kind, group_tile, words_of_run};
use tile::{Minimum4, Minimum5, Offset4, Offset5, ShortMinimum, ShortOffset, Signed};

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
        (GROUP, _, false) if coding.is_signed() => s.group_tiles(Signed, job),
        (GROUP, 4, false) => s.group_tiles(Offset4, job),
        (GROUP, 5, false) => s.group_tiles(Offset5, job),
        (GROUP, 4, true) => s.group_tiles(Minimum4, job),
        (GROUP, 5, true) => s.group_tiles(Minimum5, job),
        (SUM, 3 | 6, false) => s.group_tiles(ShortOffset, job),
        (SUM, 2, true) => s.group_tiles(ShortMinimum, job),
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
    let (inputs, panels) = (weight.inputs(), weight.count());
    let stride = panels * LANES;
    let sums = room(&mut workspace.sums, x.rows() * stride);
    if inputs == 0 {
        sums.fill(0.0);
    }
    let words = room(&mut workspace.words, panels * PANEL_WORDS);
    let scales = room(&mut workspace.scales, 2 * panels * PANEL_SCALES);
    let (scales, minima) = scales.split_at_mut(panels * PANEL_SCALES);
    let terms = room(&mut workspace.terms, x.rows() * GROUPS);
    let scales_at = Operand::Int8Groups.code_words(inputs);
    let behind = |at: usize| at.min(x.values().len());
    for start in (0..inputs).step_by(CHUNK) {
        let end = (start + CHUNK).min(inputs);
        let groups = (end - start) / coding.group;
        let block = |input: usize| input / coding.elements * coding.bytes;
        for panel in 0..panels {
            let blocks = &weight.panel(panel)[block(start)..block(end)];
            let words = &mut words[panel * PANEL_WORDS..][..PANEL_WORDS];
            let of_panel = panel * PANEL_SCALES..(panel + 1) * PANEL_SCALES;
            let scales = (&mut scales[of_panel.clone()], &mut minima[of_panel]);
            decode::unpack_words(s, code, blocks, (words, scales));
        }
        for (row, terms) in terms.as_chunks_mut::<GROUPS>().0.iter_mut().enumerate() {
            add_terms::<S>(coding, (x.row(row), inputs, start..end), terms);
        }
        let job = GroupJob {
            a: &bits(x.values())[behind(start / 4)..],
            row_scales: &x.values()[behind(scales_at + start / GROUP)..],
            a_stride: x.stride(),
            terms,
            rows: x.rows(),
            groups,
            words,
            scales,
            minima,
            panels,
            sums,
            stride,
            is_first: start == 0,
        };
        run(s, coding, job);
    }
}
