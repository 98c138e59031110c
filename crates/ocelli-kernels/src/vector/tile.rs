//! The register tile of a product: some rows of activations times some panels of weights.
//!
//! ```text
//! for k in 0..depth:
//!     for each panel p, row r:   sums[r][p] = fma(splat(a[r][k]), b[p][k], sums[r][p])
//! ```
//! Each sum runs over k in order, whatever the tile, so a row's result does not depend on the rows
//! beside it. A tile with 24 sums hides the latency of the multiplications and reads each weight
//! once for 12 rows.
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a tile, not in its inner loop"
)]

use std::ops::Range;

use crate::LANES;
use crate::vector::Simd;
use crate::vector::ahead::LINE;
use crate::word_job::{TilePlace, WordJob};

pub(crate) use crate::matrix::ROW_STRIDE;

/// Rows that are packed at a time: a multiple of every register tile.
pub(crate) const TILE_ROWS: usize = 12;

/// Elements of weights, 16 of which a vector can load as `f32`.
pub(crate) trait Lanes {
    /// As stored.
    type Element: Copy;
    /// Whether a few rows read them from memory as they come, not from a cache that a conversion has filled.
    const STREAMED: bool;
    /// 16 elements as `f32`.
    fn load<S: Simd>(s: S, from: &[Self::Element; LANES]) -> S::Floats;
}

/// IEEE single.
pub(crate) struct Singles;
/// IEEE half, as bits.
pub(crate) struct Halves;

impl Lanes for Singles {
    type Element = f32;
    const STREAMED: bool = false;
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32; LANES]) -> S::Floats {
        s.load(from)
    }
}

impl Lanes for Halves {
    type Element = u16;
    const STREAMED: bool = true;
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u16; LANES]) -> S::Floats {
        s.load_f16(from)
    }
}

/// Activations, panels and the sums they are added to.
pub(crate) struct TileJob<'a, L: Lanes> {
    /// `[rows]`, [`ROW_STRIDE`] apart.
    pub(crate) a: &'a [f32],
    pub(crate) rows: usize,
    /// Length of each sum; at most [`ROW_STRIDE`] when there are several rows.
    pub(crate) depth: usize,
    pub(crate) b: &'a [L::Element],
    /// Elements of `b` from one k to the next.
    pub(crate) step: usize,
    /// Elements of `b` from one panel to the next.
    pub(crate) panel_step: usize,
    pub(crate) panels: usize,
    /// `[rows, 16 * panels]`, rows `stride` apart.
    pub(crate) sums: &'a mut [f32],
    pub(crate) stride: usize,
    /// Whether sums start at 0 rather than at what `sums` holds.
    pub(crate) is_first: bool,
    /// What [`stream_tile`] asks memory for.
    pub(crate) ahead: &'a [u8],
}

impl<L: Lanes> TileJob<'_, L> {
    /// Checks what the inner loop relies on.
    #[inline(always)]
    pub(crate) fn check(&self) {
        let Self {
            rows,
            depth,
            panels,
            ..
        } = *self;
        if rows == 0 || panels == 0 || depth == 0 {
            return;
        }
        assert!(rows == 1 || depth <= ROW_STRIDE, "{rows} rows of {depth}");
        assert!(
            self.a.len() >= (rows - 1) * ROW_STRIDE + depth,
            "packed rows"
        );
        let last = (panels - 1) * self.panel_step + (depth - 1) * self.step;
        assert!(self.b.len() >= last + LANES, "panels");
    }
}

/// A job that is done in register tiles by the rules of `K`: elements of a kind, a kind of dot
/// product, or codes of a kind.
pub(crate) trait TiledJob<K> {
    /// Panics when slices are shorter than the job's sizes say: tiles do not look again.
    fn check_for_tiles(&self);
}

impl<L: Lanes> TiledJob<L> for TileJob<'_, L> {
    #[inline(always)]
    fn check_for_tiles(&self) {
        self.check();
    }
}

impl<K> TiledJob<K> for WordJob<'_> {
    #[inline(always)]
    fn check_for_tiles(&self) {
        self.check();
    }
}

/// Runs a job on register tiles of `$panels` panels and as many rows as the first of the list that
/// fits; `$kind` is the tile's second type.
macro_rules! run_tiles {
    ($token:expr, $kind:ty, $job:expr, $tile:ident, $panels:literal, [$($rows:literal),*]) => {{
        let (token, job) = ($token, $job);
        crate::vector::TiledJob::<$kind>::check_for_tiles(&*job);
        let mut panel = 0;
        while panel < job.panels {
            let is_whole = job.panels - panel >= $panels;
            let mut row = 0;
            while row < job.rows {
                let place = crate::vector::TilePlace { row, panel };
                $(
                    if job.rows - row >= $rows {
                        if is_whole {
                            // SAFETY: the job was checked above, and no tile changes its sizes.
                            unsafe { crate::vector::$tile::<_, $kind, $rows, $panels>(token, job, place) };
                        } else {
                            // SAFETY: as above.
                            unsafe { crate::vector::$tile::<_, $kind, $rows, 1>(token, job, place) };
                        }
                        row += $rows;
                        continue;
                    }
                )*
            }
            panel += if is_whole { $panels } else { 1 };
        }
    }};
}
pub(crate) use run_tiles;

/// `ROWS` rows times `PANELS` panels.
///
/// # Safety
/// [`TileJob::check`] has passed.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, L: Lanes, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &mut TileJob<'_, L>,
    place: TilePlace,
) {
    // SAFETY: as the caller promises.
    unsafe { tile_of::<S, L, ROWS, PANELS, false>(s, job, place) };
}

/// [`tile`] of elements that come from memory, and that asks it for its share of what follows them.
/// The first-level cache takes it where it is large enough, else the second.
///
/// # Safety
/// [`TileJob::check`] has passed.
#[inline(always)]
pub(crate) unsafe fn stream_tile<S: Simd, L: Lanes, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &mut TileJob<'_, L>,
    place: TilePlace,
) {
    // SAFETY: as the caller promises.
    unsafe { tile_of::<S, L, ROWS, PANELS, true>(s, job, place) };
}

/// [`Simd::stream`] for sets of 16 registers.
#[inline(always)]
pub(crate) fn stream_tiles<S: Simd, L: Lanes>(s: S, job: &mut TileJob<'_, L>) {
    if job.rows <= 2 {
        // Many panels hide the latency that few rows do not.
        return run_tiles!(s, L, job, stream_tile, 2, [2, 1]);
    }
    run_tiles!(s, L, job, stream_tile, 1, [6, 4, 2, 1]);
}

/// # Safety
/// [`TileJob::check`] has passed.
#[inline(always)]
unsafe fn tile_of<S: Simd, L: Lanes, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
    s: S,
    job: &mut TileJob<'_, L>,
    TilePlace { row, panel }: TilePlace,
) {
    assert!(
        row + ROWS <= job.rows && panel + PANELS <= job.panels,
        "a tile inside the job"
    );
    let mut sums = [[s.splat(0.0); PANELS]; ROWS];
    if !job.is_first {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(lanes_at(
                    job.sums,
                    (row + r) * job.stride + (panel + p) * LANES,
                ));
            }
        }
    }
    let a = &job.a[row * ROW_STRIDE..];
    let b = &job.b[(panel * job.panel_step).min(job.b.len())..];
    let share = if ASKS && row == 0 {
        let border = |panel: usize| job.ahead.len() * panel / job.panels;
        &job.ahead[border(panel)..border(panel + PANELS)]
    } else {
        &[]
    };
    let pairs = share.len().div_ceil(2 * LINE).div_ceil(job.depth.max(1));
    let mut asked = 0;
    let is_near = ASKS && s.first_level_holds_runs();
    for k in 0..job.depth {
        if ASKS {
            let end = share.len().min(asked + pairs * 2 * LINE);
            asked = ask_for_later(s, share, asked..end, is_near);
        }
        let mut weights = [s.splat(0.0); PANELS];
        for (p, weights) in weights.iter_mut().enumerate() {
            // SAFETY: `TileJob::check` found the last element of the last panel inside `b`.
            let lanes = unsafe { b.get_unchecked(k * job.step + p * job.panel_step..) };
            // SAFETY: as above, there are 16 elements.
            let lanes = unsafe { lanes.first_chunk().unwrap_unchecked() };
            *weights = L::load(s, lanes);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `TileJob::check` found the last element of the last row inside `a`.
            let x = s.splat(unsafe { *a.get_unchecked(r * ROW_STRIDE + k) });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = s.fma(x, weights, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (p, sum) in sums.iter().enumerate() {
            s.store(
                *sum,
                lanes_mut_at(job.sums, (row + r) * job.stride + (panel + p) * LANES),
            );
        }
    }
}

/// Asks for pairs of lines of what follows, into the first-level cache or the second; where the
/// next pair begins.
#[inline(always)]
fn ask_for_later<S: Simd>(s: S, share: &[u8], range: Range<usize>, is_near: bool) -> usize {
    let Range { mut start, end } = range;
    while start < end {
        for line in [start, start + LINE] {
            if is_near {
                s.prefetch(share, line);
            } else {
                s.prefetch_second(share, line);
            }
        }
        start += 2 * LINE;
    }
    start
}

#[inline(always)]
fn lanes_at(sums: &[f32], at: usize) -> &[f32; LANES] {
    sums[at..].first_chunk().expect("16 sums for each panel")
}

#[inline(always)]
fn lanes_mut_at(sums: &mut [f32], at: usize) -> &mut [f32; LANES] {
    sums[at..]
        .first_chunk_mut()
        .expect("16 sums for each panel")
}
