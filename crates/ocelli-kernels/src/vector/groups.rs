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
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a tile, not in its inner loop"
)]

use std::ops::Range;

use crate::operand::{GROUP, SUM};
use crate::panels::cast::bits;
use crate::panels::coded::{Coding, Minima};
use crate::vector::{Simd, decode};
use crate::workspace::room;
use crate::{CHUNK, LANES, Operand, PanelFormat, Product, Workspace};

/// Most groups of a chunk, and elements from a row's terms to the next row's.
const GROUPS: usize = CHUNK / 16;

/// Words of a chunk of a panel.
const PANEL_WORDS: usize = CHUNK / 4 * LANES;

/// Scales of a chunk of a panel.
const PANEL_SCALES: usize = GROUPS * LANES;

/// What a register tile must know of a coding, as a type so that its inner loop is compiled for it.
pub(crate) trait Kind: Copy {
    /// Words of a group.
    const WORDS: usize;
    /// Bits of a code, or 0 for codes with a sign, and [`Simd::BIAS`] added.
    const BITS: usize;
    /// Whether something is taken off codes.
    const OFFSET: bool;
    /// Whether groups have minima.
    const MINIMA: bool;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $words:literal, $bits:literal, $offset:literal, $minima:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        impl Kind for $name {
            const WORDS: usize = $words;
            const BITS: usize = $bits;
            const OFFSET: bool = $offset;
            const MINIMA: bool = $minima;
        }
    )* };
}

kinds! {
    /// Q8_0 and codes that are looked up.
    Signed: 8, 0, false, false;
    /// Q4_0.
    Offset4: 8, 4, true, false;
    /// Q5_0.
    Offset5: 8, 5, true, false;
    /// Q4_1, Q4_K.
    Minimum4: 8, 4, false, true;
    /// Q5_1, Q5_K.
    Minimum5: 8, 5, false, true;
    /// Q3_K, Q6_K.
    ShortOffset: 4, 6, true, false;
    /// Q2_K.
    ShortMinimum: 4, 2, false, true;
}

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

/// Words whose products of codes of `bits` bits can be added in 16 bits, two products of a word at a time; of a group of `words`.
pub(super) const fn words_of_run(bits: usize, words: usize) -> usize {
    let most = 2 * ((1 << bits) - 1) * 127;
    let mut run = words;
    while run * most > i16::MAX as usize {
        run /= 2;
    }
    run
}

/// Rounded rows, unpacked panels of a chunk and the sums they are added to.
pub(crate) struct GroupJob<'a> {
    /// `[rows]`, `a_stride` apart; the first word of each is the first of the chunk.
    a: &'a [i32],
    /// Scale of row `r` for inputs `32 g ..` at `r * a_stride + g`.
    row_scales: &'a [f32],
    a_stride: usize,
    /// `[rows][16]`: for each group where its sum starts, or the bits of what its minimum is multiplied by.
    terms: &'a [i32],
    pub(crate) rows: usize,
    groups: usize,
    /// `[panels][words][16]`, panels [`PANEL_WORDS`] apart.
    words: &'a [i32],
    /// `[panels][groups][16]`, panels [`PANEL_SCALES`] apart.
    scales: &'a [f32],
    minima: &'a [f32],
    pub(crate) panels: usize,
    /// `[rows, 16 * panels]`, rows `stride` apart.
    sums: &'a mut [f32],
    stride: usize,
    is_first: bool,
}

impl GroupJob<'_> {
    /// Checks what the inner loop relies on.
    #[inline(always)]
    pub(crate) fn check<K: Kind>(&self) {
        if self.rows == 0 || self.panels == 0 {
            return;
        }
        let words = self.groups * K::WORDS;
        assert!(
            self.groups <= GROUPS && words * LANES <= PANEL_WORDS,
            "groups of a chunk"
        );
        let rows = (self.rows - 1) * self.a_stride;
        assert!(self.a.len() >= rows + words, "rounded rows");
        let scales = (words * 4).div_ceil(GROUP);
        assert!(self.row_scales.len() >= rows + scales, "scales of rows");
        assert!(self.terms.len() >= self.rows * GROUPS, "terms of rows");
        assert!(
            self.words.len() >= self.panels * PANEL_WORDS,
            "words of panels"
        );
        let scales = self.panels * PANEL_SCALES;
        assert!(
            self.scales.len() >= scales && self.minima.len() >= scales,
            "scales of panels"
        );
        let sums = (self.rows - 1) * self.stride + self.panels * LANES;
        assert!(self.sums.len() >= sums, "sums of a product");
    }
}

/// Sixteen elements from `at`.
///
/// # Safety
/// They lie inside `all`.
#[inline(always)]
unsafe fn lanes<T>(all: &[T], at: usize) -> &[T; LANES] {
    // SAFETY: the caller knows that there are 16.
    let all = unsafe { all.get_unchecked(at..) };
    // SAFETY: as above.
    unsafe { all.first_chunk().unwrap_unchecked() }
}

/// `ROWS` rows times `PANELS` panels; `job` was checked for this kind.
#[inline(always)]
pub(crate) fn group_tile<S: Simd, K: Kind, const ROWS: usize, const PANELS: usize>(
    (s, kind): (S, K),
    job: &mut GroupJob<'_>,
    row: usize,
    panel: usize,
) {
    assert!(
        row + ROWS <= job.rows && panel + PANELS <= job.panels,
        "a tile inside the job"
    );
    let first_sum = row * job.stride + panel * LANES;
    let mut results = [[s.splat(0.0); PANELS]; ROWS];
    if !job.is_first {
        for (r, results) in results.iter_mut().enumerate() {
            for (p, result) in results.iter_mut().enumerate() {
                let at = first_sum + r * job.stride + p * LANES;
                // SAFETY: `GroupJob::check` found the last sum of the last row inside `sums`.
                *result = s.load(unsafe { lanes(job.sums, at) });
            }
        }
    }
    for group in 0..job.groups {
        add_group((s, kind), job, (row, panel, group), &mut results);
    }
    for (r, results) in results.into_iter().enumerate() {
        for (p, result) in results.into_iter().enumerate() {
            let at = first_sum + r * job.stride + p * LANES;
            // SAFETY: as where they were loaded.
            let target = unsafe { job.sums.get_unchecked_mut(at..) };
            // SAFETY: as above.
            s.store(result, unsafe {
                target.first_chunk_mut().unwrap_unchecked()
            });
        }
    }
}

/// Adds the products of a group to a tile's results.
#[inline(always)]
fn add_group<S: Simd, K: Kind, const ROWS: usize, const PANELS: usize>(
    (s, kind): (S, K),
    job: &GroupJob<'_>,
    (row, panel, group): (usize, usize, usize),
    results: &mut [[S::Floats; PANELS]; ROWS],
) {
    let mut terms = [0; ROWS];
    for (r, term) in terms.iter_mut().enumerate() {
        // SAFETY: `GroupJob::check` found 16 terms for each row, and no more groups.
        *term = unsafe { *job.terms.get_unchecked((row + r) * GROUPS + group) };
    }
    let mut dots = [[s.splat_int(0); PANELS]; ROWS];
    if K::OFFSET || (K::BITS == 0 && S::BIAS != 0) {
        for (dots, term) in dots.iter_mut().zip(terms) {
            *dots = [s.splat_int(term); PANELS];
        }
    }
    add_dots((s, kind), job, (row, panel, group), &mut dots);
    let mut scales = [s.splat(0.0); PANELS];
    let mut minima = [s.splat(0.0); PANELS];
    for (p, (scale, minimum)) in scales.iter_mut().zip(&mut minima).enumerate() {
        let at = (panel + p) * PANEL_SCALES + group * LANES;
        // SAFETY: `check` found all scales of all panels.
        *scale = s.load(unsafe { lanes(job.scales, at) });
        if K::MINIMA {
            // SAFETY: and all minima.
            *minimum = s.load(unsafe { lanes(job.minima, at) });
        }
    }
    for (r, (results, dots)) in results.iter_mut().zip(dots).enumerate() {
        let at = (row + r) * job.a_stride + group * K::WORDS * 4 / GROUP;
        // SAFETY: `check` found the last scale of the last row.
        let of_row = s.splat(unsafe { *job.row_scales.get_unchecked(at) });
        for (p, (result, dot)) in results.iter_mut().zip(dots).enumerate() {
            let both = s.mul(scales[p], of_row);
            *result = s.fma(both, s.to_float(dot), *result);
            if K::MINIMA {
                let total = s.splat(f32::from_bits(terms[r] as u32));
                *result = s.fma(minima[p], total, *result);
            }
        }
    }
}

/// Adds whole numbers: the products of a group's words.
#[inline(always)]
fn add_dots<S: Simd, K: Kind, const ROWS: usize, const PANELS: usize>(
    (s, kind): (S, K),
    job: &GroupJob<'_>,
    (row, panel, group): (usize, usize, usize),
    dots: &mut [[S::Ints; PANELS]; ROWS],
) {
    let words = group * K::WORDS..(group + 1) * K::WORDS;
    if !S::SHORT_SUMS || K::BITS == 0 {
        for word in words {
            add_word((s, kind), job, (row, panel, word), dots);
        }
        return;
    }
    let run = words_of_run(K::BITS, K::WORDS);
    for start in words.step_by(run) {
        let mut short = [[s.splat_int(0); PANELS]; ROWS];
        for word in start..start + run {
            add_word((s, kind), job, (row, panel, word), &mut short);
        }
        for (dots, short) in dots.iter_mut().zip(short) {
            for (dot, short) in dots.iter_mut().zip(short) {
                *dot = s.add_short(*dot, short);
            }
        }
    }
}

/// Adds the products of a word, in 16 bits where those are wide enough and the set is faster so.
#[inline(always)]
fn add_word<S: Simd, K: Kind, const ROWS: usize, const PANELS: usize>(
    (s, _): (S, K),
    job: &GroupJob<'_>,
    (row, panel, word): (usize, usize, usize),
    dots: &mut [[S::Ints; PANELS]; ROWS],
) {
    let mut weights = [s.splat_int(0); PANELS];
    for (p, weights) in weights.iter_mut().enumerate() {
        let at = (panel + p) * PANEL_WORDS + word * LANES;
        // SAFETY: `GroupJob::check` found all words of all panels.
        *weights = s.load_ints(unsafe { lanes(job.words, at) });
    }
    for (r, dots) in dots.iter_mut().enumerate() {
        // SAFETY: `check` found the last word of the last row inside `a`.
        let x = unsafe { *job.a.get_unchecked((row + r) * job.a_stride + word) };
        let x = s.splat_int(x);
        for (dot, weights) in dots.iter_mut().zip(weights) {
            *dot = if K::BITS == 0 {
                s.dot_biased(*dot, weights, x)
            } else if S::SHORT_SUMS {
                s.dot_short(*dot, weights, x)
            } else {
                s.dot(*dot, weights, x)
            };
        }
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

/// For each group of a row where its sum starts, so that it is one of codes without their offset and their bias, or, where the
/// type has minima, the bits of what a minimum is multiplied by. Nothing where neither is needed.
#[inline(always)]
pub(super) fn add_terms<S: Simd>(
    coding: &Coding,
    (row, all, inputs): (&[f32], usize, Range<usize>),
    terms: &mut [i32],
) {
    let has_minima = coding.minima != Minima::None;
    let offset = coding.offset + if coding.is_signed() { S::BIAS } else { 0 };
    if !has_minima && offset == 0 {
        return;
    }
    let operand = Operand::Int8Groups;
    let (scales_at, totals_at) = (operand.code_words(all), operand.totals_at(all));
    let scales = &row[scales_at + inputs.start / GROUP..][..inputs.len() / GROUP];
    let totals = bits(&row[totals_at + inputs.start / SUM..][..inputs.len() / SUM]);
    let pairs = totals.as_chunks::<2>().0.iter().zip(scales);
    if coding.group == GROUP {
        for (term, ([first, second], scale)) in terms.iter_mut().zip(pairs) {
            *term = term_of(has_minima, offset, (first + second, *scale));
        }
    } else {
        let terms = terms.as_chunks_mut::<2>().0;
        for (terms, (totals, scale)) in terms.iter_mut().zip(pairs) {
            for (term, total) in terms.iter_mut().zip(totals) {
                *term = term_of(has_minima, offset, (*total, *scale));
            }
        }
    }
}

#[inline(always)]
fn term_of(has_minima: bool, offset: i32, (total, scale): (i32, f32)) -> i32 {
    if has_minima {
        (-(scale * total as f32)).to_bits() as i32
    } else {
        -offset * total
    }
}
