//! Products of rounded operands on a matrix unit of eight tiles, each 16 rows of 64 bytes.
//!
//! ```text
//! for each 2 panels (32 outputs), each 32 rows:        tiles 0..4: sums of 16 rows and 16 outputs
//!     for each 16 words of depth:
//!         load 2 tiles of rows, 2 tiles of weights     16 rows of 16 words; 16 words of 16 outputs
//!         4 tile products
//! ```
//! Weights lie in the order of a tile already: 16 words of 16 outputs are 16 consecutive lines. The loops are written over
//! [`TileUnit`], which has two implementations: the instructions, and [`Emulated`], which does the same in plain Rust. So what
//! surrounds the instructions is tested on every machine, and a machine that has them is checked against the emulation when the
//! program starts.

mod emulated;

use std::ops::Range;

use crate::LANES;
use crate::panels::cast::{bits, bits_mut};
use crate::word_job::{Ahead, WordJob};

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

/// What is added to signed weights: the unit takes signed rows and unsigned weights.
const BIAS: i32 = 128;

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
    /// `C[m][n] += sum over k of A[m][k] . B[k][n]` on words of four bytes, those of `A` signed, those of `B` unsigned.
    fn dot_bytes<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// The words that 16 rows of a tile take.
pub(crate) fn span(stride: usize) -> usize {
    (ROWS - 1) * stride + DEPTH
}

/// A product of pairs.
#[inline(always)]
pub(crate) fn pair_tiles<U: TileUnit>(unit: &mut U, job: &mut WordJob<'_>) {
    run::<U, false>(unit, job);
}

/// A product of bytes; weights are biased by 128.
#[inline(always)]
pub(crate) fn byte_tiles<U: TileUnit>(unit: &mut U, job: &mut WordJob<'_>) {
    run::<U, true>(unit, job);
}

#[inline(always)]
fn run<U: TileUnit, const BYTES: bool>(unit: &mut U, job: &mut WordJob<'_>) {
    job.check();
    assert!(job.depth.is_multiple_of(DEPTH), "whole tiles of depth");
    let mut panel = 0;
    while panel < job.panels {
        let panels = (job.panels - panel).min(2);
        let mut row = 0;
        while row < job.rows {
            let rows = (job.rows - row).min(2 * ROWS);
            let place = (row, panel);
            ask_ahead(unit, job, (row..row + rows, panel..panel + panels));
            match (rows / ROWS, panels) {
                (2, 2) => whole::<U, 2, 2, BYTES>(unit, job, place),
                (2, _) => whole::<U, 2, 1, BYTES>(unit, job, place),
                (1, 2) => whole::<U, 1, 2, BYTES>(unit, job, place),
                (1, _) => whole::<U, 1, 1, BYTES>(unit, job, place),
                (_, 2) => ragged::<U, 2, BYTES>(unit, job, place),
                _ => ragged::<U, 1, BYTES>(unit, job, place),
            }
            row += if rows < ROWS {
                rows
            } else {
                rows / ROWS * ROWS
            };
        }
        panel += panels;
    }
}

/// The part of `count` that belongs to a part of `all`.
fn share(count: usize, part: Range<usize>, all: usize) -> Range<usize> {
    count * part.start / all..count * part.end / all
}

/// Asks for a part of what comes next, so that it is in the second-level cache when its turn comes: the words of these rows behind
/// the job's depth, an equal share for each of the panels, and the next panels, an equal share for each of the rows.
#[inline(always)]
fn ask_ahead<U: TileUnit>(
    unit: &mut U,
    job: &WordJob<'_>,
    (rows, panels): (Range<usize>, Range<usize>),
) {
    if job.ahead == Ahead::Nothing {
        return;
    }
    let lines = share(job.depth / DEPTH, panels.clone(), job.panels);
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
fn whole<U: TileUnit, const RT: usize, const PT: usize, const BYTES: bool>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    (row, panel): (usize, usize),
) {
    let a = &job.a[row * job.a_stride..];
    let sums = sums_at(job, row, panel);
    if BYTES {
        multiply::<U, RT, PT, BYTES>(unit, job, (a, job.a_stride), panel);
        let mut tiles = Lines([0; 4 * TILE]);
        store::<U, RT, PT>(unit, &mut tiles.0, 2 * LANES);
        scale_and_add::<PT>(job, &tiles.0, (row..row + RT * ROWS, panel));
        return;
    }
    let stride = job.stride;
    if job.is_first {
        zero::<U, RT, PT>(unit);
    } else {
        load::<U, RT, PT>(unit, bits(&job.sums[sums..]), stride);
    }
    multiply_on::<U, RT, PT, BYTES>(unit, job, (a, job.a_stride), panel);
    let target = bits_mut(&mut job.sums[sums..]);
    store::<U, RT, PT>(unit, target, stride);
}

/// Fewer rows than a tile has: copied, so that nothing behind them is read or written.
#[inline(always)]
fn ragged<U: TileUnit, const PT: usize, const BYTES: bool>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    (row, panel): (usize, usize),
) {
    let rows = job.rows - row;
    let mut tiles = [0; 2 * TILE];
    let stride = 2 * LANES;
    if BYTES || job.is_first {
        zero::<U, 1, PT>(unit);
    } else {
        for (r, tile) in tiles.chunks_exact_mut(stride).enumerate().take(rows) {
            let at = sums_at(job, row + r, panel);
            let before = &bits(&job.sums[at..])[..PT * LANES];
            tile[..PT * LANES].copy_from_slice(before);
        }
        load::<U, 1, PT>(unit, &tiles, stride);
    }
    let mut padded = [0; TILE];
    for k in (0..job.depth).step_by(DEPTH) {
        for (r, padded) in padded.chunks_exact_mut(DEPTH).enumerate().take(rows) {
            padded.copy_from_slice(&job.a[(row + r) * job.a_stride + k..][..DEPTH]);
        }
        step::<U, 1, PT, BYTES>(unit, (&padded, DEPTH), weights_at(job, panel, k));
    }
    store::<U, 1, PT>(unit, &mut tiles, stride);
    if BYTES {
        return scale_and_add::<PT>(job, &tiles, (row..job.rows, panel));
    }
    for (r, tile) in tiles.chunks_exact(stride).enumerate().take(rows) {
        let at = sums_at(job, row + r, panel);
        let target = &mut bits_mut(&mut job.sums[at..])[..PT * LANES];
        target.copy_from_slice(&tile[..PT * LANES]);
    }
}

fn sums_at(job: &WordJob<'_>, row: usize, panel: usize) -> usize {
    row * job.stride + panel * LANES
}

/// Weights from a panel and a word of depth on, and the words from one panel to the next.
#[inline(always)]
fn weights_at<'j>(job: &'j WordJob<'_>, panel: usize, k: usize) -> (&'j [i32], usize) {
    (&job.b[panel * job.panel_step + k * LANES..], job.panel_step)
}

/// Sums of tiles from 0.
#[inline(always)]
fn multiply<U: TileUnit, const RT: usize, const PT: usize, const BYTES: bool>(
    unit: &mut U,
    job: &WordJob<'_>,
    a: (&[i32], usize),
    panel: usize,
) {
    zero::<U, RT, PT>(unit);
    multiply_on::<U, RT, PT, BYTES>(unit, job, a, panel);
}

/// Sums of tiles from what they hold.
#[inline(always)]
fn multiply_on<U: TileUnit, const RT: usize, const PT: usize, const BYTES: bool>(
    unit: &mut U,
    job: &WordJob<'_>,
    (a, a_stride): (&[i32], usize),
    panel: usize,
) {
    for k in (0..job.depth).step_by(DEPTH) {
        step::<U, RT, PT, BYTES>(unit, (&a[k..], a_stride), weights_at(job, panel, k));
    }
}

/// 16 words of depth: tiles `0..4` of `RT` by `PT` sums, of rows `a_stride` and panels `panel_step` words apart.
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

/// `sums += (tile - bias) * (scale of the output * scale of the row)`; rows of `tiles` are 32 words apart.
#[inline(always)]
fn scale_and_add<const PT: usize>(
    job: &mut WordJob<'_>,
    tiles: &[i32],
    (rows, panel): (Range<usize>, usize),
) {
    for (row, tile) in rows.zip(tiles.as_chunks::<{ 2 * LANES }>().0) {
        let scale = job.scales.rows[row * job.a_stride];
        let bias = BIAS * job.scales.totals[row * job.a_stride];
        for (p, tile) in tile.as_chunks::<LANES>().0.iter().enumerate().take(PT) {
            let outputs: &[f32; LANES] = job.scales.panels[(panel + p) * LANES..]
                .first_chunk()
                .expect("16 scales for each panel");
            let at = sums_at(job, row, panel + p);
            let sums: &mut [f32; LANES] = job.sums[at..]
                .first_chunk_mut()
                .expect("16 sums for each panel");
            for ((sum, value), output) in sums.iter_mut().zip(tile).zip(outputs) {
                let before = if job.is_first { 0.0 } else { *sum };
                *sum = ((value - bias) as f32).mul_add(output * scale, before);
            }
        }
    }
}
