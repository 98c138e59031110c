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
mod places;

use crate::LANES;
use crate::panels::cast::{bits, bits_mut};
use crate::strided::{Strided, StridedMut};
use crate::word_job::{Ahead, WordJob};

pub(crate) use bytes::byte_tiles;
pub(crate) use emulated::Emulated;
pub(crate) use places::{Covered, Share};

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
    /// Does a share of it; shares follow each other.
    fn run(&mut self, share: Share);
    /// Does what is left to do with sums that the job will not change any more: `sums` are all of
    /// the job, `made` those that are complete.
    fn finish(&mut self, sums: StridedMut<'_, f32>, made: Covered);
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    fn run(&mut self, _: Share) {}

    #[inline(always)]
    fn finish(&mut self, _: StridedMut<'_, f32>, _: Covered) {}
}

/// A product of pairs, and other work meanwhile.
#[inline(always)]
pub(crate) fn pair_tiles<U: TileUnit, M: Meanwhile + ?Sized>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    meanwhile: &mut M,
) {
    let mut beside = Beside {
        meanwhile,
        former: Covered::NOTHING,
        done: 0,
        all: Covered::count(job),
    };
    let mut next = Covered::first(job);
    while let Some(tiles) = next {
        ask_ahead(unit, job, &tiles);
        match (tiles.rows.len() / ROWS, tiles.panels.len()) {
            (2, 2) => whole::<U, M, 2, 2>(unit, job, &tiles, &mut beside),
            (2, _) => whole::<U, M, 2, 1>(unit, job, &tiles, &mut beside),
            (1, 2) => whole::<U, M, 1, 2>(unit, job, &tiles, &mut beside),
            (1, _) => whole::<U, M, 1, 1>(unit, job, &tiles, &mut beside),
            (_, 2) => ragged::<U, 2>(unit, job, &tiles),
            _ => ragged::<U, 1>(unit, job, &tiles),
        }
        if tiles.is_ragged() {
            beside.run(job, 0, 1);
        }
        next = tiles.next(job);
        beside.former = tiles;
        beside.done += 1;
    }
    beside.finish(job, Share::WHOLE);
    if beside.all == 0 {
        beside.meanwhile.run(Share::WHOLE);
    }
}

/// Does all of the other work behind a job, where nothing multiplies on its own.
#[inline(always)]
pub(crate) fn run_behind(job: &mut WordJob<'_>, meanwhile: &mut dyn Meanwhile) {
    meanwhile.run(Share::WHOLE);
    let made = Covered {
        rows: 0..job.rows,
        panels: 0..job.panels,
    };
    let sums = StridedMut {
        values: &mut *job.sums,
        stride: job.stride,
    };
    meanwhile.finish(sums, made);
}

/// What is done beside the products of a job, a little after each step.
struct Beside<'m, M: ?Sized> {
    meanwhile: &'m mut M,
    /// The tiles before those that the unit works on: their sums are complete in the last chunk.
    former: Covered,
    /// Tiles of the job that are made.
    done: usize,
    /// All of them.
    all: usize,
}

impl<M: Meanwhile + ?Sized> Beside<'_, M> {
    /// Does what belongs to a step of the tiles that are being made.
    #[inline(always)]
    fn run(&mut self, job: &mut WordJob<'_>, step: usize, steps: usize) {
        let share = Share::one(self.done * steps + step, self.all * steps);
        self.meanwhile.run(share);
        self.finish(job, Share::one(step, steps));
    }

    /// Finishes a share of the rows of the former tiles.
    #[inline(always)]
    fn finish(&mut self, job: &mut WordJob<'_>, share: Share) {
        let made = Covered {
            rows: share.inside(&self.former.rows),
            panels: self.former.panels.clone(),
        };
        let sums = StridedMut {
            values: &mut *job.sums,
            stride: job.stride,
        };
        self.meanwhile.finish(sums, made);
    }
}

/// Asks for a part of what comes next, so that it is in the second-level cache when its turn comes:
/// the words of these rows behind the job's depth, an equal share for each of the panels, and the
/// next panels, an equal share for each of the rows.
#[inline(always)]
fn ask_ahead<U: TileUnit>(unit: &mut U, job: &WordJob<'_>, tiles: &Covered) {
    let Covered { rows, panels } = tiles.clone();
    let lines = match &job.ahead {
        Ahead::Nothing => return,
        Ahead::Rows(lines) => lines.clone(),
        Ahead::RowsAndPanels => 0..job.depth / DEPTH,
    };
    let lines = Share::new(panels.clone(), job.panels).inside(&lines);
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
        for line in Share::new(rows, job.rows).of(job.depth) {
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
    tiles: &Covered,
    beside: &mut Beside<'_, M>,
) {
    let (row, panel) = (tiles.rows.start, tiles.panels.start);
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
        let rows = Strided {
            values: &a[k..],
            stride: job.a_stride,
        };
        step::<U, RT, PT, false>(unit, rows, weights_at(job, panel, k));
        beside.run(job, index, steps);
    }
    let target = bits_mut(&mut job.sums[sums..]);
    store::<U, RT, PT>(unit, target, stride);
}

/// Fewer rows than a tile has: their sums are copied, so that nothing behind them is read or written.
#[inline(always)]
fn ragged<U: TileUnit, const PT: usize>(unit: &mut U, job: &mut WordJob<'_>, tiles: &Covered) {
    let (row, panel) = (tiles.rows.start, tiles.panels.start);
    let rows = job.rows - row;
    let stride = 2 * LANES;
    let mut near = Lines([0; 2 * TILE]);
    let above = rows_above(job, row) * stride;
    if job.is_first {
        zero::<U, 1, PT>(unit);
    } else {
        let targets = near.0[above..].chunks_exact_mut(stride);
        for (r, tile) in targets.enumerate().take(rows) {
            let at = sums_at(job, row + r, panel);
            let before = &bits(&job.sums[at..])[..PT * LANES];
            tile[..PT * LANES].copy_from_slice(before);
        }
        load::<U, 1, PT>(unit, &near.0, stride);
    }
    let mut copy = Lines([0; TILE]);
    for k in (0..job.depth).step_by(DEPTH) {
        let a = last_rows(job, row, k, &mut copy);
        step::<U, 1, PT, false>(unit, a, weights_at(job, panel, k));
    }
    store::<U, 1, PT>(unit, &mut near.0, stride);
    for (r, tile) in near.0[above..].chunks_exact(stride).enumerate().take(rows) {
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
/// zeros behind them.
#[inline(always)]
fn last_rows<'j>(
    job: &'j WordJob<'_>,
    row: usize,
    k: usize,
    copy: &'j mut Lines<TILE>,
) -> Strided<'j, i32> {
    let above = rows_above(job, row);
    if above > 0 {
        return Strided {
            values: &job.a[(row - above) * job.a_stride + k..],
            stride: job.a_stride,
        };
    }
    for (row, copy) in (row..job.rows).zip(copy.0.chunks_exact_mut(DEPTH)) {
        copy.copy_from_slice(&job.a[row * job.a_stride + k..][..DEPTH]);
    }
    Strided {
        values: &copy.0,
        stride: DEPTH,
    }
}

fn sums_at(job: &WordJob<'_>, row: usize, panel: usize) -> usize {
    row * job.stride + panel * LANES
}

/// Panels of weights from one of them and a word of depth on.
#[inline(always)]
fn weights_at<'j>(job: &'j WordJob<'_>, panel: usize, k: usize) -> Strided<'j, i32> {
    Strided {
        values: &job.b[panel * job.panel_step + k * LANES..],
        stride: job.panel_step,
    }
}

/// 16 words of depth of the rows `a` and the panels `b`: tiles `0..4` of `RT` by `PT` sums.
#[inline(always)]
pub(crate) fn step<U: TileUnit, const RT: usize, const PT: usize, const BYTES: bool>(
    unit: &mut U,
    a: Strided<'_, i32>,
    b: Strided<'_, i32>,
) {
    unit.load::<6>(b.values, LANES);
    unit.load::<4>(a.values, a.stride);
    dot::<U, 0, 4, 6, BYTES>(unit);
    if PT == 2 {
        unit.load::<7>(&b.values[b.stride..], LANES);
        dot::<U, 1, 4, 7, BYTES>(unit);
    }
    if RT == 2 {
        unit.load::<5>(&a.values[ROWS * a.stride..], a.stride);
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
