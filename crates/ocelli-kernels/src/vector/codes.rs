//! Products of pairs with codes on a matrix unit, which multiplies on its own: registers unpack two
//! panels while it works with the two before them.
//!
//! ```text
//! unpack the first two panels of the first chunk
//! for each chunk of 256 inputs, each two panels:
//!     tiles of all rows, sums in and out of memory;       meanwhile, a group of codes at a time:
//!                                                             unpack the next two panels
//!                                                             ask memory for the codes behind them
//!                                                             in the last chunk, finish the rows before
//! ```

use std::ops::Range;

use crate::operand::LINE;
use crate::panels::cast::bits;
use crate::panels::coded::Coding;
use crate::strided::StridedMut;
use crate::tiles::{Covered, Meanwhile, Share};
use crate::vector::finish::Finishing;
use crate::vector::{Simd, ahead};
use crate::word_job::{Ahead, Scales, WordJob};
use crate::workspace::room;
use crate::{CHUNK, Code, LANES, Operand, Panels, Product, Workspace};

/// Panels that are unpacked together.
const PANELS: usize = 2;

/// Words of a chunk of a panel.
const PANEL_WORDS: usize = CHUNK / 2 * LANES;

/// A chunk of two panels, or of the last one.
#[derive(Clone)]
struct Part {
    chunk: Range<usize>,
    panels: Range<usize>,
}

impl Part {
    /// Parts in the order in which they are used: all panels of a chunk, then the next chunk.
    fn at(weight: &Panels<'_>, index: usize) -> Option<Self> {
        let pairs = weight.count().div_ceil(PANELS).max(1);
        let (chunk, pair) = (index / pairs * CHUNK, index % pairs);
        (chunk < weight.inputs()).then(|| Self {
            chunk: chunk..(chunk + CHUNK).min(weight.inputs()),
            panels: pair * PANELS..((pair + 1) * PANELS).min(weight.count()),
        })
    }

    fn groups_of_panel(&self, coding: &Coding) -> usize {
        self.chunk.len() / coding.group
    }

    /// The codes of a panel.
    fn blocks<'w>(&self, weight: &Panels<'w>, coding: &Coding, panel: usize) -> &'w [u8] {
        let block = |input: usize| input / coding.elements * coding.bytes;
        &weight.panel(self.panels.start + panel)[block(self.chunk.start)..block(self.chunk.end)]
    }
}

/// Unpacks a part, and asks for the codes of the one behind it.
struct Unpack<'a, 'p, 'x, S> {
    s: S,
    code: Code,
    weight: &'a Panels<'a>,
    part: Option<Part>,
    behind: Option<Part>,
    out: &'a mut [i32],
    /// Finishes sums of the last chunk.
    finishing: Option<Finishing<'p, 'x, S>>,
}

impl<S: Simd> Meanwhile for Unpack<'_, '_, '_, S> {
    fn run(&mut self, share: Share) {
        let Some(present) = &self.part else {
            return;
        };
        let coding = self.code.coding();
        let of_panel = present.groups_of_panel(coding);
        let count = present.panels.len() * of_panel;
        for index in share.of(count) {
            let (panel, group) = (index / of_panel, index % of_panel);
            let blocks = present.blocks(self.weight, coding, panel);
            let words = coding.group / 2 * LANES;
            let out = &mut self.out[panel * PANEL_WORDS + group * words..][..words];
            self.s
                .unpack_pairs(self.code, blocks, group..group + 1, out);
            self.ask(Share::one(index, count));
        }
    }

    fn finish(&mut self, sums: StridedMut<'_, f32>, made: Covered) {
        if let Some(finishing) = &mut self.finishing {
            finishing.finish(sums, made);
        }
    }
}

impl<S: Simd> Unpack<'_, '_, '_, S> {
    /// Asks for a share of the codes behind.
    fn ask(&self, share: Share) {
        let Some(behind) = &self.behind else {
            return;
        };
        for panel in 0..behind.panels.len() {
            let blocks = behind.blocks(self.weight, self.code.coding(), panel);
            for line in share.of(blocks.len().div_ceil(ahead::LINE)) {
                self.s.prefetch_second(blocks, line * ahead::LINE);
            }
        }
    }
}

/// `workspace.sums = x W^T`, rows of sums [`Simd::sums_stride`] apart; whether they have been finished too.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    s: S,
    code: Code,
    product: &mut Product<'_>,
    workspace: &mut Workspace,
) -> bool {
    let Product { x, weight, .. } = *product;
    let weight = &weight;
    let stride = s.sums_stride(weight.count());
    let sums = room(&mut workspace.sums, x.rows() * stride);
    if weight.inputs() == 0 {
        sums.fill(0.0);
    }
    let pairs = room(&mut workspace.words, 2 * PANELS * PANEL_WORDS);
    let (mut present, mut next) = pairs.split_at_mut(PANELS * PANEL_WORDS);
    let count = weight.count().div_ceil(PANELS).max(1);
    let at = |index| Part::at(weight, index);
    Unpack {
        s,
        code,
        weight,
        part: at(0),
        behind: at(1),
        out: &mut *present,
        finishing: None,
    }
    .run(Share::WHOLE);
    for (index, part) in (0..).map_while(|index| Some((index, at(index)?))) {
        let start = part.chunk.start;
        let depth = Operand::Bf16.code_words(part.chunk.len());
        let lines = Share::one(index % count, count).of(depth / LINE);
        let mut unpack = Unpack {
            s,
            code,
            weight,
            part: at(index + 1),
            behind: at(index + 2),
            out: &mut *next,
            finishing: (part.chunk.end == weight.inputs()).then_some(Finishing {
                s,
                product: &mut *product,
                first_panel: part.panels.start,
            }),
        };
        let mut job = WordJob {
            a: &bits(x.values())[(start / 2).min(x.values().len())..],
            a_stride: x.stride(),
            rows: x.rows(),
            depth,
            b: present,
            panel_step: PANEL_WORDS,
            panels: part.panels.len(),
            scales: Scales::default(),
            sums: &mut sums[(part.panels.start * LANES).min(x.rows() * stride)..],
            stride,
            is_first: start == 0,
            ahead: if part.chunk.end < weight.inputs() {
                Ahead::Rows(lines)
            } else {
                Ahead::Nothing
            },
        };
        s.pair_tiles_while(&mut job, &mut unpack);
        std::mem::swap(&mut present, &mut next);
    }
    weight.inputs() > 0
}
