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
use crate::vector::Simd;
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

/// Other work, of which some is done after each step of the unit: it multiplies on its own once it has an instruction, but a
/// processor looks only a few hundred instructions ahead for it.
pub(crate) trait Meanwhile {
    /// Does a part of `all`; parts follow each other.
    fn run(&mut self, part: Range<usize>, all: usize);
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    fn run(&mut self, _: Range<usize>, _: usize) {}
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
    while let Some((row, panel)) = place {
        let (rows, panels) = sizes_at(job, (row, panel));
        ask_ahead(unit, job, (row..row + rows, panel..panel + panels));
        let with = (&mut *meanwhile, done, all);
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
        }
        done += 1;
        place = next_place(job, (row, panel));
    }
    if all == 0 {
        meanwhile.run(0..1, 1);
    }
}

/// How many places of tiles a job has.
fn places(job: &WordJob<'_>) -> usize {
    let halves = [job.rows / (2 * ROWS), job.rows / ROWS % 2];
    let ragged = usize::from(!job.rows.is_multiple_of(ROWS));
    (halves[0] + halves[1] + ragged) * job.panels.div_ceil(2)
}

/// A product of bytes; weights are biased by 128.
///
/// Sums of bytes are scaled while the unit multiplies for the next ones.
#[inline(always)]
pub(crate) fn byte_tiles<S: Simd, U: TileUnit>(s: S, unit: &mut U, job: &mut WordJob<'_>) {
    let mut made = Made {
        tiles: [const { Lines([0; 4 * TILE]) }; 2],
        side: 0,
        rows: 0..0,
        panels: 0..0,
    };
    let mut place = first_place(job);
    while let Some((row, panel)) = place {
        let (rows, panels) = sizes_at(job, (row, panel));
        ask_ahead(unit, job, (row..row + rows, panel..panel + panels));
        match (rows / ROWS, panels) {
            (2, 2) => bytes::<S, U, 2, 2>((s, unit), job, (row, panel), &mut made),
            (2, _) => bytes::<S, U, 2, 1>((s, unit), job, (row, panel), &mut made),
            (1, 2) => bytes::<S, U, 1, 2>((s, unit), job, (row, panel), &mut made),
            (1, _) => bytes::<S, U, 1, 1>((s, unit), job, (row, panel), &mut made),
            (_, 2) => bytes::<S, U, 0, 2>((s, unit), job, (row, panel), &mut made),
            _ => bytes::<S, U, 0, 1>((s, unit), job, (row, panel), &mut made),
        }
        place = next_place(job, (row, panel));
    }
    made.scale(s, job, 0..1, 1);
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

/// Asks for a part of what comes next, so that it is in the second-level cache when its turn comes: the words of these rows behind
/// the job's depth, an equal share for each of the panels, and the next panels, an equal share for each of the rows.
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
    (meanwhile, done, all): (&mut M, usize, usize),
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
    }
    let target = bits_mut(&mut job.sums[sums..]);
    store::<U, RT, PT>(unit, target, stride);
}

/// Fewer rows than a tile has: copied, so that nothing behind them is read or written.
#[inline(always)]
fn ragged<U: TileUnit, const PT: usize>(
    unit: &mut U,
    job: &mut WordJob<'_>,
    (row, panel): (usize, usize),
) {
    let rows = job.rows - row;
    let mut tiles = [0; 2 * TILE];
    let stride = 2 * LANES;
    if job.is_first {
        zero::<U, 1, PT>(unit);
    } else {
        for (r, tile) in tiles.chunks_exact_mut(stride).enumerate().take(rows) {
            let at = sums_at(job, row + r, panel);
            let before = &bits(&job.sums[at..])[..PT * LANES];
            tile[..PT * LANES].copy_from_slice(before);
        }
        load::<U, 1, PT>(unit, &tiles, stride);
    }
    for k in (0..job.depth).step_by(DEPTH) {
        let padded = padded_rows(job, row, k);
        step::<U, 1, PT, false>(unit, (&padded, DEPTH), weights_at(job, panel, k));
    }
    store::<U, 1, PT>(unit, &mut tiles, stride);
    for (r, tile) in tiles.chunks_exact(stride).enumerate().take(rows) {
        let at = sums_at(job, row + r, panel);
        let target = &mut bits_mut(&mut job.sums[at..])[..PT * LANES];
        target.copy_from_slice(&tile[..PT * LANES]);
    }
}

/// 16 words of the last rows, from `row` and word `k` on, and what is there of a tile behind them.
#[inline(always)]
fn padded_rows(job: &WordJob<'_>, row: usize, k: usize) -> [i32; TILE] {
    let mut padded = [0; TILE];
    for (row, padded) in (row..job.rows).zip(padded.chunks_exact_mut(DEPTH)) {
        padded.copy_from_slice(&job.a[row * job.a_stride + k..][..DEPTH]);
    }
    padded
}

/// Sums of bytes of some tiles, which are scaled while the unit works on the next ones.
struct Made {
    /// Rows of 32 words: those sums, and the ones that are being made.
    tiles: [Lines<{ 4 * TILE }>; 2],
    /// Which of the two they are.
    side: usize,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Made {
    /// Scales and adds the rows of a part of `all`.
    #[inline(always)]
    fn scale<S: Simd>(&self, s: S, job: &mut WordJob<'_>, part: Range<usize>, all: usize) {
        let part = share(self.rows.len(), part, all);
        let tiles = &self.tiles[self.side].0[part.start * 2 * LANES..];
        let rows = self.rows.start + part.start..self.rows.start + part.end;
        if self.panels.len() == 2 {
            scale_and_add::<S, 2>(s, job, tiles, (rows, self.panels.start));
        } else if self.panels.len() == 1 {
            scale_and_add::<S, 1>(s, job, tiles, (rows, self.panels.start));
        }
    }
}

/// Sums of bytes for `RT` tiles of rows, or for fewer rows than one has.
#[inline(always)]
fn bytes<S: Simd, U: TileUnit, const RT: usize, const PT: usize>(
    (s, unit): (S, &mut U),
    job: &mut WordJob<'_>,
    (row, panel): (usize, usize),
    made: &mut Made,
) {
    let steps = job.depth / DEPTH;
    zero::<U, RT, PT>(unit);
    for index in 0..steps {
        let k = index * DEPTH;
        let weights = weights_at(job, panel, k);
        if RT == 0 {
            let padded = padded_rows(job, row, k);
            step::<U, 1, PT, true>(unit, (&padded, DEPTH), weights);
        } else {
            let a = &job.a[row * job.a_stride + k..];
            step::<U, RT, PT, true>(unit, (a, job.a_stride), weights);
        }
        made.scale(s, job, index..index + 1, steps);
    }
    made.side = 1 - made.side;
    store::<U, RT, PT>(unit, &mut made.tiles[made.side].0, 2 * LANES);
    let (rows, panels) = sizes_at(job, (row, panel));
    (made.rows, made.panels) = (row..row + rows, panel..panel + panels);
}

fn sums_at(job: &WordJob<'_>, row: usize, panel: usize) -> usize {
    row * job.stride + panel * LANES
}

/// Weights from a panel and a word of depth on, and the words from one panel to the next.
#[inline(always)]
fn weights_at<'j>(job: &'j WordJob<'_>, panel: usize, k: usize) -> (&'j [i32], usize) {
    (&job.b[panel * job.panel_step + k * LANES..], job.panel_step)
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
fn scale_and_add<S: Simd, const PT: usize>(
    s: S,
    job: &mut WordJob<'_>,
    tiles: &[i32],
    (rows, panel): (Range<usize>, usize),
) {
    let of_panels = job.scales.panels[panel * LANES..][..PT * LANES].as_chunks();
    let mut outputs = [s.splat(0.0); PT];
    for (output, scales) in outputs.iter_mut().zip(of_panels.0) {
        *output = s.load(scales);
    }
    for (row, tile) in rows.zip(tiles.as_chunks::<{ 2 * LANES }>().0) {
        let scale = s.splat(job.scales.rows[row * job.a_stride]);
        let bias = s.splat_int(BIAS * job.scales.totals[row * job.a_stride]);
        let at = sums_at(job, row, panel);
        let sums = job.sums[at..][..PT * LANES].as_chunks_mut().0;
        let tile = tile.as_chunks().0;
        for ((sums, tile), output) in sums.iter_mut().zip(tile).zip(outputs) {
            let before = if job.is_first {
                s.splat(0.0)
            } else {
                s.load(sums)
            };
            let value = s.to_float(s.sub_int(s.load_ints(tile), bias));
            s.store(s.fma(value, s.mul(output, scale), before), sums);
        }
    }
}
