//! Products of bytes on a matrix unit, and the scaling of their sums.

use std::ops::Range;

use super::{
    Covered, DEPTH, Lines, ROWS, Share, TILE, TileUnit, ask_ahead, last_rows, rows_above, step,
    store, sums_at, weights_at, zero,
};
use crate::LANES;
use crate::strided::Strided;
use crate::vector::Simd;
use crate::word_job::WordJob;

/// What is added to signed weights: the unit takes signed rows and unsigned weights.
const BIAS: i32 = 128;

/// A product of bytes; weights are biased by 128.
///
/// Sums of bytes are scaled while the unit multiplies for the next ones.
#[inline(always)]
pub(crate) fn byte_tiles<S: Simd, U: TileUnit>(s: S, unit: &mut U, job: &mut WordJob<'_>) {
    let mut made = Made {
        words: [const { Lines([0; 4 * TILE]) }; 2],
        side: 0,
        above: 0,
        tiles: Covered::NOTHING,
    };
    let mut next = Covered::first(job);
    while let Some(tiles) = next {
        ask_ahead(unit, job, &tiles);
        match (tiles.rows.len() / ROWS, tiles.panels.len()) {
            (2, 2) => bytes::<S, U, 2, 2>(s, unit, job, &tiles, &mut made),
            (2, _) => bytes::<S, U, 2, 1>(s, unit, job, &tiles, &mut made),
            (1, 2) => bytes::<S, U, 1, 2>(s, unit, job, &tiles, &mut made),
            (1, _) => bytes::<S, U, 1, 1>(s, unit, job, &tiles, &mut made),
            (_, 2) => bytes::<S, U, 0, 2>(s, unit, job, &tiles, &mut made),
            _ => bytes::<S, U, 0, 1>(s, unit, job, &tiles, &mut made),
        }
        next = tiles.next(job);
        made.tiles = tiles;
    }
    made.scale(s, job, Share::WHOLE);
}

/// Sums of bytes of some tiles, which are scaled while the unit works on the next ones.
struct Made {
    /// Rows of 32 words: those sums, and the ones that are being made.
    words: [Lines<{ 4 * TILE }>; 2],
    /// Which of the two they are.
    side: usize,
    /// Rows of tiles that are thrown away.
    above: usize,
    tiles: Covered,
}

impl Made {
    /// Scales and adds a share of the rows.
    #[inline(always)]
    fn scale<S: Simd>(&self, s: S, job: &mut WordJob<'_>, share: Share) {
        let Covered { rows, panels } = &self.tiles;
        let part = share.inside(rows);
        let first = self.above + part.start - rows.start;
        let words = &self.words[self.side].0[first * 2 * LANES..];
        if panels.len() == 2 {
            scale_and_add::<S, 2>(s, job, words, part, panels.start);
        } else if panels.len() == 1 {
            scale_and_add::<S, 1>(s, job, words, part, panels.start);
        }
    }
}

/// Sums of bytes for `RT` tiles of rows, or for fewer rows than one has.
#[inline(always)]
fn bytes<S: Simd, U: TileUnit, const RT: usize, const PT: usize>(
    s: S,
    unit: &mut U,
    job: &mut WordJob<'_>,
    tiles: &Covered,
    made: &mut Made,
) {
    let (row, panel) = (tiles.rows.start, tiles.panels.start);
    let steps = job.depth / DEPTH;
    zero::<U, RT, PT>(unit);
    let mut copy = Lines([0; TILE]);
    for index in 0..steps {
        let k = index * DEPTH;
        let weights = weights_at(job, panel, k);
        if RT == 0 {
            step::<U, 1, PT, true>(unit, last_rows(job, row, k, &mut copy), weights);
        } else {
            let rows = Strided {
                values: &job.a[row * job.a_stride + k..],
                stride: job.a_stride,
            };
            step::<U, RT, PT, true>(unit, rows, weights);
        }
        made.scale(s, job, Share::one(index, steps));
    }
    made.side = 1 - made.side;
    store::<U, RT, PT>(unit, &mut made.words[made.side].0, 2 * LANES);
    made.above = if RT == 0 { rows_above(job, row) } else { 0 };
}

/// `sums += (tile - bias) * (scale of the output * scale of the row)`; rows of `words` are 32 words apart.
#[inline(always)]
fn scale_and_add<S: Simd, const PT: usize>(
    s: S,
    job: &mut WordJob<'_>,
    words: &[i32],
    rows: Range<usize>,
    panel: usize,
) {
    let of_panels = job.scales.panels[panel * LANES..][..PT * LANES].as_chunks();
    let mut outputs = [s.splat(0.0); PT];
    for (output, scales) in outputs.iter_mut().zip(of_panels.0) {
        *output = s.load(scales);
    }
    for (row, tile) in rows.zip(words.as_chunks::<{ 2 * LANES }>().0) {
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
