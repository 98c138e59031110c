//! Attention to keys and values of 8 bits, which are decoded in registers; see [`crate::Kept`] for
//! their order.
//!
//! ```text
//! score[t]     = sum over groups g of  scale[g][t] * sum over d in g of q[d] code[d][t]
//! sums[c]     += sum over tokens t of  (weight[t] scale[c / 32][t]) code[t][c]
//! ```
//! Scales multiply 16 tokens at a time; every sum runs in the order of elements or tokens, whatever the tile.
#![allow(
    unsafe_code,
    reason = "bounds are checked once for a job, not in its inner loop"
)]

use std::ops::Range;

use crate::kept::{KEPT_GROUP, Kept, groups};
use crate::panels::cast::half_bytes;
use crate::strided::StridedMut;
use crate::vector::Simd;
use crate::vector::ahead::Ahead;
use crate::{LANES, Matrix};

/// Runs of 16 tokens' keys or values.
#[derive(Clone, Copy)]
pub(crate) struct CodedRuns<'a> {
    words: &'a [u16],
    codes: &'a [u8],
    /// Words of 16 tokens.
    step: usize,
    /// How many runs.
    count: usize,
    /// Words of their codes.
    code_words: usize,
    groups: usize,
}

impl<'a> CodedRuns<'a> {
    /// `count` times 16 tokens whose heads are `dim` wide, `step` words from one to the next.
    #[inline(always)]
    pub(crate) fn new(words: &'a [u16], dim: usize, count: usize, step: usize) -> Self {
        let last = count.saturating_sub(1) * step + Kept::Q8.key_panel(dim);
        assert!(count == 0 || words.len() >= last, "codes and scales");
        Self {
            words,
            codes: half_bytes(words),
            step,
            count,
            code_words: dim * LANES / 2,
            groups: groups(dim),
        }
    }

    /// 16 codes.
    ///
    /// # Safety
    /// `run` is below the count and `at` one of the code vectors of a run.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, run: usize, at: usize) -> S::Floats {
        // SAFETY: `new` found the codes of all runs inside the slice.
        let codes = unsafe { self.codes.get_unchecked(2 * run * self.step + at * LANES..) };
        // SAFETY: as above, there are 16.
        let codes = unsafe { codes.first_chunk().unwrap_unchecked() };
        s.to_float(s.load_i8(codes))
    }

    /// The scales of a group.
    #[inline(always)]
    fn scales<S: Simd>(&self, s: S, run: usize, group: usize) -> S::Floats {
        assert!(group < self.groups, "a group of a head");
        let words = &self.words[run * self.step + self.code_words + group * LANES..];
        s.load_f16(words.first_chunk().expect("16 scales of a group"))
    }
}

/// Scores of some rows; see [`crate::Kernels::scores`].
struct Scores<'a> {
    /// `[rows, dim]`.
    queries: Matrix<'a>,
    keys: CodedRuns<'a>,
    ahead: Ahead<'a>,
    /// `[rows, 16 * panels]`.
    out: StridedMut<'a, f32>,
}

/// [`crate::Kernels::scores`] of keys in 8 bits.
#[inline(always)]
pub(crate) fn scores<S: Simd>(
    s: S,
    queries: Matrix<'_>,
    keys: CodedRuns<'_>,
    ahead: &[u8],
    out: StridedMut<'_, f32>,
) {
    let count = keys.count;
    let is_wide = S::FEW_ROWS >= 8;
    let tiles = count.div_ceil(if is_wide { 4 } else { 2 });
    let mut job = Scores {
        queries,
        keys,
        ahead: Ahead::new(ahead, tiles * queries.columns()),
        out,
    };
    let mut panel = 0;
    while panel < count {
        let left = count - panel;
        panel += if is_wide && left >= 4 {
            job.rows::<S, 4>(s, panel)
        } else if !is_wide && left >= 2 {
            job.rows::<S, 2>(s, panel)
        } else {
            job.rows::<S, 1>(s, panel)
        };
    }
}

impl Scores<'_> {
    /// All rows of some panels; their number.
    #[inline(always)]
    fn rows<S: Simd, const PANELS: usize>(&mut self, s: S, panel: usize) -> usize {
        let mut row = 0;
        while row < self.queries.rows() {
            let left = self.queries.rows() - row;
            row += if S::FEW_ROWS >= 8 && left >= 4 {
                self.tile::<S, 4, PANELS>(s, row, panel)
            } else if left >= 2 {
                self.tile::<S, 2, PANELS>(s, row, panel)
            } else {
                self.tile::<S, 1, PANELS>(s, row, panel)
            };
        }
        PANELS
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        &mut self,
        s: S,
        row: usize,
        panel: usize,
    ) -> usize {
        let dim = self.queries.columns();
        assert_eq!(
            self.keys.code_words,
            dim * LANES / 2,
            "keys as wide as queries"
        );
        assert!(
            row + ROWS <= self.queries.rows() && panel + PANELS <= self.keys.count,
            "a tile inside the job"
        );
        let queries: [&[f32]; ROWS] = std::array::from_fn(|r| self.queries.row(row + r));
        let mut sums = [[s.splat(0.0); PANELS]; ROWS];
        for group in 0..self.keys.groups {
            let mut dots = [[s.splat(0.0); PANELS]; ROWS];
            for d in group * KEPT_GROUP..dim.min((group + 1) * KEPT_GROUP) {
                if row == 0 {
                    self.ahead.ask(s);
                }
                let mut keys = [s.splat(0.0); PANELS];
                for (p, keys) in keys.iter_mut().enumerate() {
                    // SAFETY: the panel is below the count, and `d` below the width: see above.
                    *keys = unsafe { self.keys.load(s, panel + p, d) };
                }
                for (query, dots) in queries.iter().zip(&mut dots) {
                    // SAFETY: a row has `dim` elements.
                    let x = s.splat(unsafe { *query.get_unchecked(d) });
                    for (dot, keys) in dots.iter_mut().zip(keys) {
                        *dot = s.fma(x, keys, *dot);
                    }
                }
            }
            for p in 0..PANELS {
                let scales = self.keys.scales(s, panel + p, group);
                for (sums, dots) in sums.iter_mut().zip(&dots) {
                    sums[p] = s.fma(dots[p], scales, sums[p]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let at = (row + r) * self.out.stride + (panel + p) * LANES;
                let out = self.out.values[at..].first_chunk_mut();
                s.store(*sum, out.expect("16 scores for each panel"));
            }
        }
        ROWS
    }
}

/// Weighted sums of some rows; see [`crate::Kernels::weigh`].
struct Sums<'a> {
    /// `[rows, tokens]`.
    weights: Matrix<'a>,
    values: CodedRuns<'a>,
    /// Which tokens, counted from the first of the first 16.
    tokens: Range<usize>,
    ahead: Ahead<'a>,
    /// `[rows, width]`.
    out: &'a mut [f32],
    width: usize,
}

/// Panels of a group.
const GROUP_PANELS: usize = KEPT_GROUP / LANES;

/// Most groups that a tile reads: those of eight panels.
const TILE_GROUPS: usize = 8 / GROUP_PANELS;

/// [`crate::Kernels::weigh`] of values in 8 bits: those of `tokens`, counted from the first of 16.
#[inline(always)]
pub(crate) fn weigh<S: Simd>(
    s: S,
    weights: Matrix<'_>,
    words: &[u16],
    tokens: Range<usize>,
    ahead: &[u8],
    out: &mut [f32],
) {
    let width = out.len() / weights.rows().max(1);
    assert!(width.is_multiple_of(LANES), "sums in whole vectors");
    assert!(
        tokens.len() <= weights.columns(),
        "one weight per value row"
    );
    if tokens.is_empty() {
        return;
    }
    let count = tokens.end.div_ceil(LANES);
    let is_wide = S::FEW_ROWS >= 8;
    let panels = width / LANES;
    let most = match (is_wide, weights.rows()) {
        (true, ..=2) => 8,
        (true, _) => 4,
        (false, _) => 2,
    };
    let mut job = Sums {
        weights,
        values: CodedRuns::new(words, width, count, Kept::Q8.key_panel(width)),
        ahead: Ahead::new(ahead, panels.div_ceil(most) * tokens.len()),
        tokens,
        out,
        width,
    };
    let mut panel = 0;
    while panel < panels {
        let left = (panels - panel).min(most);
        panel += if is_wide && left >= 8 {
            job.rows::<S, 8>(s, panel)
        } else if is_wide && left >= 4 {
            job.rows::<S, 4>(s, panel)
        } else if !is_wide && left >= 2 {
            job.rows::<S, 2>(s, panel)
        } else {
            job.rows::<S, 1>(s, panel)
        };
    }
}

impl Sums<'_> {
    /// All rows of some panels; their number.
    #[inline(always)]
    fn rows<S: Simd, const PANELS: usize>(&mut self, s: S, panel: usize) -> usize {
        let mut row = 0;
        while row < self.weights.rows() {
            let left = self.weights.rows() - row;
            row += if S::FEW_ROWS >= 8 && left >= 4 && PANELS <= 4 {
                self.tile::<S, 4, PANELS>(s, row, panel)
            } else if left >= 2 {
                self.tile::<S, 2, PANELS>(s, row, panel)
            } else {
                self.tile::<S, 1, PANELS>(s, row, panel)
            };
        }
        PANELS
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        &mut self,
        s: S,
        row: usize,
        panel: usize,
    ) -> usize {
        assert!(
            (panel + PANELS) * LANES <= self.width,
            "panels of values inside their width"
        );
        let mut sums = [[s.splat(0.0); PANELS]; ROWS];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                let out = self.out[(row + r) * self.width + (panel + p) * LANES..].first_chunk();
                *sum = s.load(out.expect("16 sums for each panel"));
            }
        }
        assert!(
            PANELS == 1 || panel.is_multiple_of(GROUP_PANELS),
            "whole groups, or a panel of one"
        );
        let mut factors = [[[0.0; LANES]; ROWS]; TILE_GROUPS];
        let first = panel * LANES / KEPT_GROUP;
        let mut run = self.tokens.start / LANES;
        while run * LANES < self.tokens.end {
            let start = self.tokens.start.max(run * LANES) - run * LANES;
            let end = self.tokens.end.min((run + 1) * LANES) - run * LANES;
            for (group, factors) in factors
                .iter_mut()
                .enumerate()
                .take(PANELS.div_ceil(GROUP_PANELS))
            {
                let scales = self.values.scales(s, run, first + group);
                for (r, factors) in factors.iter_mut().enumerate() {
                    let weights = self.weights_of(row + r, run, start..end);
                    s.store(s.mul(s.load(&weights), scales), factors);
                }
            }
            for t in start..end {
                if row == 0 {
                    self.ahead.ask(s);
                }
                for p in 0..PANELS {
                    let at = t * (self.width / LANES) + panel + p;
                    // SAFETY: the run is below the count, as it starts before the last token; it
                    // has `width` vectors of 16 codes, and `t` is below 16.
                    let values = unsafe { self.values.load(s, run, at) };
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: `t` is below 16, as `end` is 16 at most.
                        let factor = unsafe { *factors[p / GROUP_PANELS][r].get_unchecked(t) };
                        sums[p] = s.fma(s.splat(factor), values, sums[p]);
                    }
                }
            }
            run += 1;
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let out =
                    self.out[(row + r) * self.width + (panel + p) * LANES..].first_chunk_mut();
                s.store(*sum, out.expect("16 sums for each panel"));
            }
        }
        ROWS
    }

    /// A row's weights of 16 tokens, of which only `tokens` are weighed.
    #[inline(always)]
    fn weights_of(&self, row: usize, run: usize, tokens: Range<usize>) -> [f32; LANES] {
        let at = run * LANES + tokens.start - self.tokens.start;
        let weights = &self.weights.row(row)[at..at + tokens.len()];
        match weights.first_chunk() {
            Some(weights) => *weights,
            None => {
                let mut padded = [0.0; LANES];
                padded[tokens].copy_from_slice(weights);
                padded
            }
        }
    }
}

/// See [`crate::Kernels::widen_keys`].
#[inline(always)]
pub(crate) fn widen_keys<S: Simd>(s: S, panel: &[u16], out: &mut [f32]) {
    let (out, rest) = out.as_chunks_mut::<LANES>();
    assert!(rest.is_empty(), "whole panels of keys");
    let keys = CodedRuns::new(panel, out.len(), 1, 0);
    for (d, out) in out.iter_mut().enumerate() {
        let scales = keys.scales(s, 0, d / KEPT_GROUP);
        // SAFETY: `CodedRuns::new` found as many vectors of codes as `out` has.
        s.store(s.mul(unsafe { keys.load(s, 0, d) }, scales), out);
    }
}

/// See [`crate::Kernels::widen_values`].
#[inline(always)]
pub(crate) fn widen_values<S: Simd>(s: S, run: &[u16], tokens: Range<usize>, out: &mut [f32]) {
    if tokens.is_empty() {
        return;
    }
    let width = out.len() / tokens.len();
    assert!(
        width.is_multiple_of(LANES) && out.len() == width * tokens.len() && tokens.end <= LANES,
        "rows of values"
    );
    let values = CodedRuns::new(run, width, 1, 0);
    for group in 0..values.groups {
        let mut scales = [0.0; LANES];
        s.store(values.scales(s, 0, group), &mut scales);
        let panels = 2 * group..(width / LANES).min(2 * group + 2);
        for (t, out) in tokens.clone().zip(out.chunks_exact_mut(width)) {
            let scale = s.splat(scales[t]);
            for panel in panels.clone() {
                // SAFETY: a run has `width` vectors of codes; `t` is below 16, see above.
                let codes = unsafe { values.load(s, 0, t * (width / LANES) + panel) };
                let out = out[panel * LANES..].first_chunk_mut();
                s.store(s.mul(codes, scale), out.expect("16 elements of a panel"));
            }
        }
    }
}
