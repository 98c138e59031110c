//! A product of rounded rows and panels of words, for register tiles and for matrix units.

use std::ops::Range;

use crate::LANES;

/// Where a register tile starts in its job.
#[derive(Clone, Copy)]
pub(crate) struct TilePlace {
    pub(crate) row: usize,
    pub(crate) panel: usize,
}

/// Rounded rows, panels of words and the sums they are added to.
pub(crate) struct WordJob<'a> {
    /// `[rows]`, `a_stride` apart; the first word of each is the first that counts.
    pub(crate) a: &'a [i32],
    pub(crate) a_stride: usize,
    pub(crate) rows: usize,
    /// Words of each sum.
    pub(crate) depth: usize,
    /// `[panels][depth][16]`, panels `panel_step` apart.
    pub(crate) b: &'a [i32],
    pub(crate) panel_step: usize,
    pub(crate) panels: usize,
    /// What turns sums of bytes into values.
    pub(crate) scales: Scales<'a>,
    /// `[rows, 16 * panels]`, rows `stride` apart.
    pub(crate) sums: &'a mut [f32],
    pub(crate) stride: usize,
    /// Whether sums start at 0 rather than at what `sums` holds.
    pub(crate) is_first: bool,
    /// What follows this job: a matrix unit asks memory for it on the way.
    pub(crate) ahead: Ahead,
}

/// What the job behind this one reads that no cache near may have.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Nothing.
    Nothing,
    /// Some of the lines behind these words in each row.
    Rows(Range<usize>),
    /// The lines behind these words in each row and in each panel.
    RowsAndPanels,
}

/// Scales of a chunk of bytes; empty for pairs.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scales<'a> {
    /// Scale of row `r` at `r * a_stride`.
    pub(crate) rows: &'a [f32],
    /// Sum of the bytes of row `r` at `r * a_stride`.
    pub(crate) totals: &'a [i32],
    /// `[panels][16]`.
    pub(crate) panels: &'a [f32],
}

impl WordJob<'_> {
    /// Checks what the inner loop relies on.
    #[inline(always)]
    pub(crate) fn check(&self) {
        if self.rows == 0 || self.panels == 0 {
            return;
        }
        let sums = (self.rows - 1) * self.stride + self.panels * LANES;
        assert!(self.sums.len() >= sums, "sums of a product");
        if self.depth == 0 {
            return;
        }
        let rows = (self.rows - 1) * self.a_stride;
        assert!(self.a.len() >= rows + self.depth, "rounded rows");
        let last = (self.panels - 1) * self.panel_step + (self.depth - 1) * LANES;
        assert!(self.b.len() >= last + LANES, "panels of words");
    }
}
