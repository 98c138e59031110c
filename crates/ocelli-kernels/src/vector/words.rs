//! The register tile of a product of rounded operands: words of two halves or of four bytes.
//!
//! ```text
//! for k in 0..depth:
//!     for each panel p, row r:   sums[r][p] = dot(sums[r][p], b[p][k], splat(a[r][k]))
//! ```
//! The same loop serves matrix units: they take the same job, see [`crate::tiles`].
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a tile, not in its inner loop"
)]

use crate::LANES;
use crate::vector::{Simd, halves_of};
use crate::word_job::{TilePlace, WordJob};

/// What is done to a word of each operand, as a type so that it is inlined.
pub(crate) trait Dot<S: Simd> {
    /// A sum while it grows.
    type Sum: Copy;
    /// What the sums of some rows and panels start at.
    ///
    /// # Safety
    /// [`WordJob::check`] has passed.
    unsafe fn first<const ROWS: usize, const PANELS: usize>(
        s: S,
        job: &WordJob<'_>,
        place: TilePlace,
    ) -> [[Self::Sum; PANELS]; ROWS];
    /// `sum` and the products of a word of weights and a word of activations.
    fn dot(s: S, sum: Self::Sum, b: S::Ints, a: i32) -> Self::Sum;
    /// Puts the sums of some rows and panels where they belong.
    ///
    /// # Safety
    /// [`WordJob::check`] has passed.
    unsafe fn last<const ROWS: usize, const PANELS: usize>(
        s: S,
        tile: &[[Self::Sum; PANELS]; ROWS],
        job: &mut WordJob<'_>,
        place: TilePlace,
    );
}

/// Words of two halves.
#[derive(Clone, Copy)]
pub(crate) struct Pairs;

impl<S: Simd> Dot<S> for Pairs {
    type Sum = S::Floats;

    #[inline(always)]
    unsafe fn first<const ROWS: usize, const PANELS: usize>(
        s: S,
        job: &WordJob<'_>,
        place: TilePlace,
    ) -> [[S::Floats; PANELS]; ROWS] {
        let TilePlace { row, panel } = place;
        let mut tile = [[s.splat(0.0); PANELS]; ROWS];
        if job.is_first {
            return tile;
        }
        assert_inside::<ROWS, PANELS>(job, place);
        for (r, tile) in tile.iter_mut().enumerate() {
            for (p, sum) in tile.iter_mut().enumerate() {
                let at = (row + r) * job.stride + (panel + p) * LANES;
                // SAFETY: the rows and panels are inside the job, and `WordJob::check` found their
                // sums inside `sums`.
                *sum = s.load(unsafe { lanes_unchecked(job.sums, at) });
            }
        }
        tile
    }

    #[inline(always)]
    fn dot(s: S, sum: S::Floats, b: S::Ints, a: i32) -> S::Floats {
        let [low, high] = halves_of(s, b);
        let even = f32::from_bits((a as u32) << 16);
        let odd = f32::from_bits(a as u32 & !0xFFFF);
        s.fma(s.splat(odd), high, s.fma(s.splat(even), low, sum))
    }

    #[inline(always)]
    unsafe fn last<const ROWS: usize, const PANELS: usize>(
        s: S,
        tile: &[[S::Floats; PANELS]; ROWS],
        job: &mut WordJob<'_>,
        place: TilePlace,
    ) {
        let TilePlace { row, panel } = place;
        assert_inside::<ROWS, PANELS>(job, place);
        for (r, tile) in tile.iter().enumerate() {
            for (p, sum) in tile.iter().enumerate() {
                let at = (row + r) * job.stride + (panel + p) * LANES;
                // SAFETY: the rows and panels are inside the job, and `WordJob::check` found their
                // sums inside `sums`.
                s.store(*sum, unsafe { lanes_mut_unchecked(job.sums, at) });
            }
        }
    }
}

/// Words of four bytes; weights are biased as [`Simd::BIAS`] says.
#[derive(Clone, Copy)]
pub(crate) struct Bytes;

impl<S: Simd> Dot<S> for Bytes {
    type Sum = S::Ints;

    #[inline(always)]
    unsafe fn first<const ROWS: usize, const PANELS: usize>(
        s: S,
        job: &WordJob<'_>,
        place: TilePlace,
    ) -> [[S::Ints; PANELS]; ROWS] {
        let row = place.row;
        let mut tile = [[s.splat_int(0); PANELS]; ROWS];
        if S::BIAS != 0 {
            let last = (row + ROWS - 1) * job.a_stride;
            assert!(last < job.scales.totals.len(), "a total for each row");
            for (r, tile) in tile.iter_mut().enumerate() {
                // SAFETY: that of the last row is there, so those before it are.
                let total = unsafe { *job.scales.totals.get_unchecked((row + r) * job.a_stride) };
                *tile = [s.splat_int(-S::BIAS * total); PANELS];
            }
        }
        tile
    }

    #[inline(always)]
    fn dot(s: S, sum: S::Ints, b: S::Ints, a: i32) -> S::Ints {
        s.dot_biased(sum, b, s.splat_int(a))
    }

    #[inline(always)]
    unsafe fn last<const ROWS: usize, const PANELS: usize>(
        s: S,
        tile: &[[S::Ints; PANELS]; ROWS],
        job: &mut WordJob<'_>,
        place: TilePlace,
    ) {
        let TilePlace { row, panel } = place;
        // What may panic stays away from the sums: a loop with it is not unrolled, and an array
        // that such a loop indexes is kept in memory, with a store for each product.
        assert_inside::<ROWS, PANELS>(job, place);
        let last = (row + ROWS - 1) * job.a_stride;
        assert!(last < job.scales.rows.len(), "a scale for each row");
        let end = (panel + PANELS) * LANES;
        assert!(end <= job.scales.panels.len(), "16 scales for each panel");
        let mut outputs = [s.splat(0.0); PANELS];
        for (p, output) in outputs.iter_mut().enumerate() {
            // SAFETY: those of the last panel are there.
            *output = s.load(unsafe { lanes_unchecked(job.scales.panels, (panel + p) * LANES) });
        }
        if job.is_first {
            for (r, tile) in tile.iter().enumerate() {
                // SAFETY: the scale of the last row is there, see above.
                let scale =
                    s.splat(unsafe { *job.scales.rows.get_unchecked((row + r) * job.a_stride) });
                for (p, sum) in tile.iter().enumerate() {
                    let sum = s.fma(s.to_float(*sum), s.mul(outputs[p], scale), s.splat(0.0));
                    let at = (row + r) * job.stride + (panel + p) * LANES;
                    // SAFETY: the rows and panels are inside the job, and `WordJob::check` found
                    // their sums inside `sums`.
                    s.store(sum, unsafe { lanes_mut_unchecked(job.sums, at) });
                }
            }
            return;
        }
        for (r, tile) in tile.iter().enumerate() {
            // SAFETY: the scale of the last row is there, see above.
            let scale =
                s.splat(unsafe { *job.scales.rows.get_unchecked((row + r) * job.a_stride) });
            for (p, sum) in tile.iter().enumerate() {
                let at = (row + r) * job.stride + (panel + p) * LANES;
                // SAFETY: the rows and panels are inside the job, and `WordJob::check` found their
                // sums inside `sums`.
                let target = unsafe { lanes_mut_unchecked(job.sums, at) };
                let sum = s.fma(s.to_float(*sum), s.mul(outputs[p], scale), s.load(target));
                s.store(sum, target);
            }
        }
    }
}

/// `ROWS` rows times `PANELS` panels.
///
/// # Safety
/// [`WordJob::check`] has passed.
#[inline(always)]
pub(crate) unsafe fn word_tile<S: Simd, D: Dot<S>, const ROWS: usize, const PANELS: usize>(
    s: S,
    job: &mut WordJob<'_>,
    place: TilePlace,
) {
    let TilePlace { row, panel } = place;
    assert_inside::<ROWS, PANELS>(job, place);
    // SAFETY: the caller has checked the job.
    let mut tile = unsafe { D::first::<ROWS, PANELS>(s, job, place) };
    let a = &job.a[(row * job.a_stride).min(job.a.len())..];
    let b = &job.b[(panel * job.panel_step).min(job.b.len())..];
    for k in 0..job.depth {
        let mut weights = [s.splat_int(0); PANELS];
        for (p, weights) in weights.iter_mut().enumerate() {
            // SAFETY: `WordJob::check` found the last word of the last panel inside `b`.
            let lanes = unsafe { b.get_unchecked(k * LANES + p * job.panel_step..) };
            // SAFETY: as above, there are 16 words.
            *weights = s.load_ints(unsafe { lanes.first_chunk().unwrap_unchecked() });
        }
        for (r, tile) in tile.iter_mut().enumerate() {
            // SAFETY: `WordJob::check` found the last word of the last row inside `a`.
            let x = unsafe { *a.get_unchecked(r * job.a_stride + k) };
            for (sum, weights) in tile.iter_mut().zip(weights) {
                *sum = D::dot(s, *sum, weights, x);
            }
        }
    }
    // SAFETY: the caller has checked the job.
    unsafe { D::last(s, &tile, job, place) };
}

/// Panics when rows or panels of a tile are not in the job.
#[inline(always)]
fn assert_inside<const ROWS: usize, const PANELS: usize>(
    job: &WordJob<'_>,
    TilePlace { row, panel }: TilePlace,
) {
    assert!(
        row + ROWS <= job.rows && panel + PANELS <= job.panels,
        "a tile inside the job"
    );
}

/// # Safety
/// There are 16 numbers from `at` on.
#[inline(always)]
unsafe fn lanes_unchecked(sums: &[f32], at: usize) -> &[f32; LANES] {
    // SAFETY: as the caller promises.
    let sums = unsafe { sums.get_unchecked(at..) };
    // SAFETY: as above.
    unsafe { sums.first_chunk().unwrap_unchecked() }
}

/// # Safety
/// There are 16 numbers from `at` on.
#[inline(always)]
unsafe fn lanes_mut_unchecked(sums: &mut [f32], at: usize) -> &mut [f32; LANES] {
    // SAFETY: as the caller promises.
    let sums = unsafe { sums.get_unchecked_mut(at..) };
    // SAFETY: as above.
    unsafe { sums.first_chunk_mut().unwrap_unchecked() }
}
