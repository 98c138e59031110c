//! The register tile of products of bytes in groups: what is done for some rows and some panels of
//! a chunk of inputs.
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a tile, not in its inner loop"
)]

use super::{GROUPS, PANEL_SCALES, PANEL_WORDS};
use crate::operand::{GROUP, LINE};
use crate::panels::cast::{bytes, word_bytes};
use crate::vector::ahead::Ahead;
use crate::vector::{Simd, TilePlace, TiledJob};
use crate::{CHUNK, LANES};

/// What a register tile must know of a coding, as a type so that its inner loop is compiled for it.
pub(crate) trait CodeKind {
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
        pub(crate) struct $name;
        impl CodeKind for $name {
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

/// Words whose products of codes of `bits` bits can be added in 16 bits, two products of a word at
/// a time; of a group of `words`.
pub(crate) const fn words_of_run(bits: usize, words: usize) -> usize {
    let most = 2 * ((1 << bits) - 1) * 127;
    let mut run = words;
    while run * most > i16::MAX as usize {
        run /= 2;
    }
    run
}

/// Lines of a row that a chunk needs, those of codes first.
pub(super) const NEXT_LINES: usize = 7;

/// Rounded rows, unpacked panels of a chunk and the sums they are added to.
pub(crate) struct GroupJob<'a> {
    /// `[rows]`, `a_stride` apart; the first word of each is the first of the chunk.
    pub(super) a: &'a [i32],
    /// Scale of row `r` for inputs `32 g ..` at `r * a_stride + g`.
    pub(super) row_scales: &'a [f32],
    /// What minima of groups of 32 are multiplied by, in the same places.
    pub(super) of_minima: &'a [f32],
    pub(super) a_stride: usize,
    /// `[rows][16]`: for each group where its sum starts, or the bits of what its minimum is
    /// multiplied by, of groups of 16.
    pub(super) terms: &'a [i32],
    pub(crate) rows: usize,
    pub(super) groups: usize,
    /// `[panels][words][16]`, panels [`PANEL_WORDS`] apart.
    pub(super) words: &'a [i32],
    /// `[panels][groups][16]`, panels [`PANEL_SCALES`] apart.
    pub(super) scales: &'a [f32],
    pub(super) minima: &'a [f32],
    pub(crate) panels: usize,
    /// `[rows, 16 * panels]`, rows `stride` apart.
    pub(super) sums: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) is_first: bool,
    /// Where the lines that the next chunk needs lie behind `a`, if someone is to ask for them.
    pub(super) next: Option<[usize; NEXT_LINES]>,
    /// Blocks of the panels that are unpacked next.
    pub(super) ahead: [Ahead<'a>; super::PANELS],
}

impl GroupJob<'_> {
    /// Checks what the inner loop relies on.
    #[inline(always)]
    fn check<K: CodeKind>(&self) {
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
        assert!(self.of_minima.len() >= rows + scales, "sums of rows");
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

impl<K: CodeKind> TiledJob<K> for GroupJob<'_> {
    #[inline(always)]
    fn check_for_tiles(&self) {
        self.check::<K>();
    }
}

impl GroupJob<'_> {
    /// One of a row's terms.
    ///
    /// # Safety
    /// The job was checked, and the row and the group lie inside it.
    #[inline(always)]
    unsafe fn term(&self, row: usize, group: usize) -> i32 {
        // SAFETY: `check` found 16 terms for each row, and no more groups.
        unsafe { *self.terms.get_unchecked(row * GROUPS + group) }
    }

    /// What the minima of a group are multiplied by.
    ///
    /// # Safety
    /// The job was checked for this kind, and the row and the group lie inside it.
    #[inline(always)]
    unsafe fn total<K: CodeKind>(&self, row: usize, group: usize) -> f32 {
        if K::WORDS * 4 == GROUP {
            // SAFETY: `check` found those of the last row.
            unsafe { *self.of_minima.get_unchecked(row * self.a_stride + group) }
        } else {
            // SAFETY: as the caller promises.
            f32::from_bits(unsafe { self.term(row, group) } as u32)
        }
    }
}

/// Lines of codes of a chunk.
const CODE_LINES: usize = CHUNK / 4 / LINE;

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

/// `ROWS` rows times `PANELS` panels.
///
/// # Safety
/// [`GroupJob::check`] has passed for this kind.
#[inline(always)]
pub(crate) unsafe fn group_tile<S: Simd, K: CodeKind, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &mut GroupJob<'_>,
    place: TilePlace,
) {
    let TilePlace { row, panel } = place;
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
    // Sets with tiles of one panel have no registers to spare for more addresses: this and scales
    // cost them up to a tenth.
    if PANELS > 1 {
        for ahead in &mut job.ahead {
            ahead.ask(s);
        }
    }
    for group in 0..job.groups {
        ask::<S, K, ROWS, PANELS>(s, job, place, group);
        // SAFETY: the job was checked, the tile lies inside it, and so does the group.
        unsafe { add_group::<S, K, ROWS, PANELS>(s, job, place, group, &mut results) };
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

/// Asks, a little in each group, for what the tile below reads (codes, sums, scales and what minima
/// are multiplied by), and for the lines of this tile's rows that the next chunk needs: hardware
/// does not follow short runs that lie so far apart.
#[inline(always)]
fn ask<S: Simd, K: CodeKind, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &GroupJob<'_>,
    TilePlace { row, panel }: TilePlace,
    group: usize,
) {
    const WORD: usize = size_of::<i32>();
    let ask_rows = |bytes: &[u8]| {
        for below in row + ROWS..row + 2 * ROWS {
            s.prefetch(bytes, below * job.a_stride * WORD);
        }
    };
    if group < CODE_LINES {
        for below in row + ROWS..row + 2 * ROWS {
            let at = below * job.a_stride + group * LINE;
            s.prefetch(word_bytes(job.a), at * WORD);
        }
    } else if group < CODE_LINES + PANELS {
        for below in row + ROWS..row + 2 * ROWS {
            let at = below * job.stride + (panel + group - CODE_LINES) * LANES;
            s.prefetch(bytes(job.sums), at * WORD);
        }
    } else if PANELS > 1 && group == CODE_LINES + PANELS {
        ask_rows(bytes(job.row_scales));
    } else if PANELS > 1 && group == CODE_LINES + PANELS + 1 && K::MINIMA && K::WORDS * 4 == GROUP {
        ask_rows(bytes(job.of_minima));
    }
    if let Some(line) = job.next.and_then(|next| next.get(group).copied()) {
        for row in row..row + ROWS {
            s.prefetch_second(word_bytes(job.a), (row * job.a_stride + line) * WORD);
        }
    }
}

/// Adds the products of a group to a tile's results.
///
/// # Safety
/// The job was checked, and the tile and the group lie inside it.
#[inline(always)]
unsafe fn add_group<S: Simd, K: CodeKind, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &GroupJob<'_>,
    place: TilePlace,
    group: usize,
    results: &mut [[S::Floats; PANELS]; ROWS],
) {
    let TilePlace { row, panel } = place;
    let mut dots = [[s.splat_int(0); PANELS]; ROWS];
    if K::OFFSET || (K::BITS == 0 && S::BIAS != 0) {
        for (r, dots) in dots.iter_mut().enumerate() {
            // SAFETY: as the caller promises.
            *dots = [s.splat_int(unsafe { job.term(row + r, group) }); PANELS];
        }
    }
    // SAFETY: as the caller promises.
    unsafe { add_dots::<S, K, ROWS, PANELS>(s, job, place, group, &mut dots) };
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
                // SAFETY: as the caller promises.
                let total = s.splat(unsafe { job.total::<K>(row + r, group) });
                *result = s.fma(minima[p], total, *result);
            }
        }
    }
}

/// Adds whole numbers: the products of a group's words.
///
/// # Safety
/// The job was checked, and the tile and the group lie inside it.
#[inline(always)]
unsafe fn add_dots<S: Simd, K: CodeKind, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &GroupJob<'_>,
    place: TilePlace,
    group: usize,
    dots: &mut [[S::Ints; PANELS]; ROWS],
) {
    let words = group * K::WORDS..(group + 1) * K::WORDS;
    if !S::SHORT_SUMS || K::BITS == 0 {
        for word in words {
            // SAFETY: as the caller promises; the word is one of the group.
            unsafe { add_word::<S, K, ROWS, PANELS>(s, job, place, word, dots) };
        }
        return;
    }
    let run = words_of_run(K::BITS, K::WORDS);
    for start in words.step_by(run) {
        let mut short = [[s.splat_int(0); PANELS]; ROWS];
        for word in start..start + run {
            // SAFETY: as the caller promises; the word is one of the group, as runs divide it.
            unsafe { add_word::<S, K, ROWS, PANELS>(s, job, place, word, &mut short) };
        }
        for (dots, short) in dots.iter_mut().zip(short) {
            for (dot, short) in dots.iter_mut().zip(short) {
                *dot = s.add_short(*dot, short);
            }
        }
    }
}

/// Adds the products of a word, in 16 bits where those are wide enough and the set is faster so.
///
/// # Safety
/// The job was checked, the tile lies inside it, and the word is one of its groups'.
#[inline(always)]
unsafe fn add_word<S: Simd, K: CodeKind, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &GroupJob<'_>,
    TilePlace { row, panel }: TilePlace,
    word: usize,
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
