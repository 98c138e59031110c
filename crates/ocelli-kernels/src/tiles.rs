//! Products of rounded operands on a matrix unit of eight tiles, each 16 rows of 64 bytes.
//!
//! ```text
//! for each 2 panels (32 outputs), each 32 rows:        tiles 0..4: sums of 16 rows and 16 outputs
//!     for each 16 words of depth:
//!         load 2 tiles of rows, 2 tiles of weights     16 rows of 16 words; 16 words of 16 outputs
//!         4 tile products
//! ```
//! Weights lie in the order of a tile already: 16 words of 16 outputs are 16 consecutive lines. The
//! loops are written over [`TileUnit`], which has two implementations: the instructions, and
//! [`Emulated`], which does the same in plain Rust. So what surrounds the instructions is tested on
//! every machine, and a machine that has them is checked against the emulation when the program
//! starts.

mod bytes;
mod emulated;

use std::ops::Range;

use crate::LANES;
use crate::panels::cast::{bits, bits_mut};
use crate::word_job::{Ahead, WordJob};

pub(crate) use bytes::byte_tiles;
pub(crate) use emulated::Emulated;

/// Words that start at a cache line.
#[repr(align(64))]
struct Lines<const N: usize>([i32; N]);

/// Words of depth that a tile holds, and a line of a cache.
pub(crate) const DEPTH: usize = 16;

/// Rows of a tile.
pub(crate) const ROWS: usize = 16;

/// Words of a tile.
pub(crate) const TILE: usize = ROWS * DEPTH;

/// A matrix unit. Tiles are 16 rows of 16 words and are named by constants below 8.
pub(crate) trait TileUnit {
    /// Asks the second-level cache for the line of word `at`, which may lie behind the words.
    fn ask(&mut self, words: &[i32], at: usize);
    /// Tile `T = 0`.
    fn zero<const T: usize>(&mut self);
    /// Tile `T` from 16 rows of 16 words, `stride` words apart.
    fn load<const T: usize>(&mut self, from: &[i32], stride: usize);
    /// Tile `T` to 16 rows of 16 words, `stride` words apart.
    fn store<const T: usize>(&mut self, to: &mut [i32], stride: usize);
    /// `C[m][n] += sum over k of A[m][k] . B[k][n]` on words of two halves, sums in `f32`.
    fn dot_pairs<const C: usize, const A: usize, const B: usize>(&mut self);
    /// `C[m][n] += sum over k of A[m][k] . B[k][n]` on words of four bytes, those of `A` signed,
    /// those of `B` unsigned.
    fn dot_bytes<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// The words that 16 rows of a tile take.
pub(crate) fn span(stride: usize) -> usize {
    (ROWS - 1) * stride + DEPTH
}

/// Other work, of which some is done after each step of the unit: it multiplies on its own once it
/// has an instruction, but a processor looks only a few hundred instructions ahead for it.
pub(crate) trait Meanwhile {
    /// Does a part of `all`; parts follow each other.
    fn run(&mut self, part: Range<usize>, all: usize);
    /// Does what is left to do with sums that the job will not change any more: of some rows and
    /// panels, rows `stride` apart.
    fn finish(
        &mut self,
        sums_and_stride: (&mut [f32], usize),
        rows: Range<usize>,
        panels: Range<usize>,
    );
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    fn run(&mut self, _: Range<usize>, _: usize) {}

    #[inline(always)]
    fn finish(&mut self, _: (&mut [f32], usize), _: Range<usize>, _: Range<usize>) {}
}

/// A product of pairs, and other work meanwhile.
#[inline(always)]
pub(crate) fn pair_tiles<U: TileUnit, M: Meanwhile + ?Sized>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    meanwhile: &mut M,
) {
    let (all, mut done) = (places(job), 0);
    let mut place = first_place(job);
    let mut former = (0..0, 0..0);
    while let Some((row, panel)) = place {
        let (rows, panels) = sizes_at(job, (row, panel));
        ask_ahead(unit, job, (row..row + rows, panel..panel + panels));
        let with = (&mut *meanwhile, &former, (done, all));
        match (rows / ROWS, panels) {
            (2, 2) => whole::<U, M, 2, 2>(unit, job, (row, panel), with),
            (2, _) => whole::<U, M, 2, 1>(unit, job, (row, panel), with),
            (1, 2) => whole::<U, M, 1, 2>(unit, job, (row, panel), with),
            (1, _) => whole::<U, M, 1, 1>(unit, job, (row, panel), with),
            (_, 2) => ragged::<U, 2>(unit, job, (row, panel)),
            _ => ragged::<U, 1>(unit, job, (row, panel)),
        }
        if rows < ROWS {
            meanwhile.run(done..done + 1, all);
            finish(meanwhile, job, &former, (0..1, 1));
        }
        former = (row..row + rows, panel..panel + panels);
        done += 1;
        place = next_place(job, (row, panel));
    }
    finish(meanwhile, job, &former, (0..1, 1));
    if all == 0 {
        meanwhile.run(0..1, 1);
    }
}

/// Rows and panels of some tiles.
type Covered = (Range<usize>, Range<usize>);

/// Finishes a part of the rows of tiles that are made.
#[inline(always)]
fn finish<M: Meanwhile + ?Sized>(
    meanwhile: &mut M,
    job: &mut WordJob<'_>,
    (rows, panels): &Covered,
    (part, all): (Range<usize>, usize),
) {
    let part = share(rows.len(), part, all);
    let rows = rows.start + part.start..rows.start + part.end;
    meanwhile.finish((&mut *job.sums, job.stride), rows, panels.clone());
}

/// How many places of tiles a job has.
fn places(job: &WordJob<'_>) -> usize {
    let halves = [job.rows / (2 * ROWS), job.rows / ROWS % 2];
    let ragged = usize::from(!job.rows.is_multiple_of(ROWS));
    (halves[0] + halves[1] + ragged) * job.panels.div_ceil(2)
}

/// Where a job's first tiles are, if it has any.
fn first_place(job: &WordJob<'_>) -> Option<(usize, usize)> {
    job.check();
    assert!(job.depth.is_multiple_of(DEPTH), "whole tiles of depth");
    (job.rows > 0 && job.panels > 0).then_some((0, 0))
}

/// Where those behind them are: all rows of some panels, then the next panels.
fn next_place(job: &WordJob<'_>, (row, panel): (usize, usize)) -> Option<(usize, usize)> {
    let (rows, panels) = sizes_at(job, (row, panel));
    if row + rows < job.rows {
        return Some((row + rows, panel));
    }
    (panel + panels < job.panels).then_some((0, panel + panels))
}

/// Rows and panels of the tiles at a place: whole tiles, or fewer rows than one has.
fn sizes_at(job: &WordJob<'_>, (row, panel): (usize, usize)) -> (usize, usize) {
    let (rows, panels) = ((job.rows - row).min(2 * ROWS), (job.panels - panel).min(2));
    let whole = rows / ROWS * ROWS;
    (if whole > 0 { whole } else { rows }, panels)
}

/// The part of `count` that belongs to a part of `all`.
pub(crate) fn share(count: usize, part: Range<usize>, all: usize) -> Range<usize> {
    count * part.start / all..count * part.end / all
}

/// Asks for a part of what comes next, so that it is in the second-level cache when its turn comes:
/// the words of these rows behind the job's depth, an equal share for each of the panels, and the
/// next panels, an equal share for each of the rows.
#[inline(always)]
fn ask_ahead<U: TileUnit>(
    unit: &mut U,
    job: &WordJob<'_>,
    (rows, panels): (Range<usize>, Range<usize>),
) {
    let lines = match &job.ahead {
        Ahead::Nothing => return,
        Ahead::Rows(lines) => lines.clone(),
        Ahead::RowsAndPanels => 0..job.depth / DEPTH,
    };
    let part = share(lines.len(), panels.clone(), job.panels);
    let lines = lines.start + part.start..lines.start + part.end;
    for row in rows.clone() {
        for line in lines.clone() {
            unit.ask(job.a, row * job.a_stride + job.depth + line * DEPTH);
        }
    }
    if job.ahead == Ahead::RowsAndPanels {
        // Behind the last panels come the first ones' next words.
        let next = if panels.end < job.panels {
            panels.end * job.panel_step
        } else {
            job.depth * LANES
        };
        for line in share(job.depth, rows, job.rows) {
            for panel in 0..panels.len() {
                unit.ask(job.b, next + panel * job.panel_step + line * LANES);
            }
        }
    }
}

/// Whole tiles of rows, read where they lie.
#[inline(always)]
fn whole<U: TileUnit, M: Meanwhile + ?Sized, const RT: usize, const PT: usize>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    (row, panel): (usize, usize),
    (meanwhile, former, (done, all)): (&mut M, &Covered, (usize, usize)),
) {
    let a = &job.a[row * job.a_stride..];
    let (sums, stride) = (sums_at(job, row, panel), job.stride);
    if job.is_first {
        zero::<U, RT, PT>(unit);
    } else {
        load::<U, RT, PT>(unit, bits(&job.sums[sums..]), stride);
    }
    let steps = job.depth / DEPTH;
    for index in 0..steps {
        let k = index * DEPTH;
        let weights = weights_at(job, panel, k);
        step::<U, RT, PT, false>(unit, (&a[k..], job.a_stride), weights);
        let step = done * steps + index;
        meanwhile.run(step..step + 1, all * steps);
        finish(meanwhile, job, former, (index..index + 1, steps));
    }
    let target = bits_mut(&mut job.sums[sums..]);
    store::<U, RT, PT>(unit, target, stride);
}

/// Fewer rows than a tile has: their sums are copied, so that nothing behind them is read or written.
#[inline(always)]
fn ragged<U: TileUnit, const PT: usize>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    (row, panel): (usize, usize),
) {
    let rows = job.rows - row;
    let stride = 2 * LANES;
    let mut tiles = Lines([0; 2 * TILE]);
    let above = rows_above(job, row) * stride;
    if job.is_first {
        zero::<U, 1, PT>(unit);
    } else {
        let targets = tiles.0[above..].chunks_exact_mut(stride);
        for (r, tile) in targets.enumerate().take(rows) {
            let at = sums_at(job, row + r, panel);
            let before = &bits(&job.sums[at..])[..PT * LANES];
            tile[..PT * LANES].copy_from_slice(before);
        }
        load::<U, 1, PT>(unit, &tiles.0, stride);
    }
    let mut copy = Lines([0; TILE]);
    for k in (0..job.depth).step_by(DEPTH) {
        let a = last_rows(job, (row, k), &mut copy);
        step::<U, 1, PT, false>(unit, a, weights_at(job, panel, k));
    }
    store::<U, 1, PT>(unit, &mut tiles.0, stride);
    for (r, tile) in tiles.0[above..].chunks_exact(stride).enumerate().take(rows) {
        let at = sums_at(job, row + r, panel);
        let target = &mut bits_mut(&mut job.sums[at..])[..PT * LANES];
        target.copy_from_slice(&tile[..PT * LANES]);
    }
}

/// Rows before the last ones, from `row` on, that fill a tile with them, if there are any rows
/// before: then nothing is copied, and what the unit computes for them once more is thrown away.
fn rows_above(job: &WordJob<'_>, row: usize) -> usize {
    row.min(ROWS - (job.rows - row))
}

/// 16 words of the last rows, from `row` and word `k` on, below [`rows_above`] or in a copy with
/// zeros behind them; and the words from one to the next.
#[inline(always)]
fn last_rows<'j>(
    job: &'j WordJob<'_>,
    (row, k): (usize, usize),
    copy: &'j mut Lines<TILE>,
) -> (&'j [i32], usize) {
    let above = rows_above(job, row);
    if above > 0 {
        return (&job.a[(row - above) * job.a_stride + k..], job.a_stride);
    }
    for (row, copy) in (row..job.rows).zip(copy.0.chunks_exact_mut(DEPTH)) {
        copy.copy_from_slice(&job.a[row * job.a_stride + k..][..DEPTH]);
    }
    (&copy.0, DEPTH)
}

fn sums_at(job: &WordJob<'_>, row: usize, panel: usize) -> usize {
    row * job.stride + panel * LANES
}

/// Weights from a panel and a word of depth on, and the words from one panel to the next.
#[inline(always)]
fn weights_at<'j>(job: &'j WordJob<'_>, panel: usize, k: usize) -> (&'j [i32], usize) {
    (&job.b[panel * job.panel_step + k * LANES..], job.panel_step)
}

/// 16 words of depth: tiles `0..4` of `RT` by `PT` sums, of rows `a_stride` and panels `panel_step`
/// words apart.
#[inline(always)]
pub(crate) fn step<U: TileUnit, const RT: usize, const PT: usize, const BYTES: bool>(
    unit: &mut U,
    (a, a_stride): (&[i32], usize),
    (b, panel_step): (&[i32], usize),
) {
    unit.load::<6>(b, LANES);
    unit.load::<4>(a, a_stride);
    dot::<U, 0, 4, 6, BYTES>(unit);
    if PT == 2 {
        unit.load::<7>(&b[panel_step..], LANES);
        dot::<U, 1, 4, 7, BYTES>(unit);
    }
    if RT == 2 {
        unit.load::<5>(&a[ROWS * a_stride..], a_stride);
        dot::<U, 2, 5, 6, BYTES>(unit);
    }
    if RT == 2 && PT == 2 {
        dot::<U, 3, 5, 7, BYTES>(unit);
    }
}

#[inline(always)]
fn dot<U: TileUnit, const C: usize, const A: usize, const B: usize, const BYTES: bool>(
    unit: &mut U,
) {
    if BYTES {
        unit.dot_bytes::<C, A, B>();
    } else {
        unit.dot_pairs::<C, A, B>();
    }
}

/// Sums of `RT` by `PT` tiles: 0.
#[inline(always)]
pub(crate) fn zero<U: TileUnit, const RT: usize, const PT: usize>(unit: &mut U) {
    unit.zero::<0>();
    if PT == 2 {
        unit.zero::<1>();
    }
    if RT == 2 {
        unit.zero::<2>();
    }
    if RT == 2 && PT == 2 {
        unit.zero::<3>();
    }
}

/// Sums of `RT` by `PT` tiles from rows `stride` words apart.
#[inline(always)]
pub(crate) fn load<U: TileUnit, const RT: usize, const PT: usize>(
    unit: &mut U,
    from: &[i32],
    stride: usize,
) {
    unit.load::<0>(from, stride);
    if PT == 2 {
        unit.load::<1>(&from[LANES..], stride);
    }
    if RT == 2 {
        unit.load::<2>(&from[ROWS * stride..], stride);
    }
    if RT == 2 && PT == 2 {
        unit.load::<3>(&from[ROWS * stride + LANES..], stride);
    }
}

/// Sums of `RT` by `PT` tiles to rows `stride` words apart.
#[inline(always)]
pub(crate) fn store<U: TileUnit, const RT: usize, const PT: usize>(
    unit: &mut U,
    to: &mut [i32],
    stride: usize,
) {
    unit.store::<0>(to, stride);
    if PT == 2 {
        unit.store::<1>(&mut to[LANES..], stride);
    }
    if RT == 2 {
        unit.store::<2>(&mut to[ROWS * stride..], stride);
    }
    if RT == 2 && PT == 2 {
        unit.store::<3>(&mut to[ROWS * stride + LANES..], stride);
    }
}
