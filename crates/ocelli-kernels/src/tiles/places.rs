//! In which order the tiles of a job are made, and how other work is shared out among them.

use std::ops::Range;

use super::{DEPTH, ROWS};
use crate::word_job::WordJob;

/// A part of some work, which is cut into `all` equal ones: those from `start` to `end`.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    start: usize,
    end: usize,
    all: usize,
}

impl Share {
    /// All of it.
    pub(crate) const WHOLE: Self = Self::one(0, 1);

    /// Part `index` of `all`.
    #[inline(always)]
    pub(crate) const fn one(index: usize, all: usize) -> Self {
        Self {
            start: index,
            end: index + 1,
            all,
        }
    }

    /// Parts `range` of `all`.
    #[inline(always)]
    pub(crate) fn new(range: Range<usize>, all: usize) -> Self {
        Self {
            start: range.start,
            end: range.end,
            all,
        }
    }

    /// Which of `count` things belong to this part.
    #[inline(always)]
    pub(crate) fn of(self, count: usize) -> Range<usize> {
        count * self.start / self.all..count * self.end / self.all
    }

    /// Which of the things in a range belong to this part.
    #[inline(always)]
    pub(crate) fn inside(self, range: &Range<usize>) -> Range<usize> {
        let part = self.of(range.len());
        range.start + part.start..range.start + part.end
    }
}

/// Rows and panels of a job for which tiles are made together: whole tiles, or fewer rows than one
/// has.
#[derive(Clone)]
pub(crate) struct Covered {
    pub(crate) rows: Range<usize>,
    pub(crate) panels: Range<usize>,
}

impl Covered {
    /// None.
    pub(crate) const NOTHING: Self = Self {
        rows: 0..0,
        panels: 0..0,
    };

    /// A job's first tiles, if it has any.
    pub(crate) fn first(job: &WordJob<'_>) -> Option<Self> {
        job.check();
        assert!(job.depth.is_multiple_of(DEPTH), "whole tiles of depth");
        (job.rows > 0 && job.panels > 0).then(|| Self::at(job, 0, 0))
    }

    /// Those behind these: all rows of some panels, then the next panels.
    pub(crate) fn next(&self, job: &WordJob<'_>) -> Option<Self> {
        if self.rows.end < job.rows {
            return Some(Self::at(job, self.rows.end, self.panels.start));
        }
        (self.panels.end < job.panels).then(|| Self::at(job, 0, self.panels.end))
    }

    /// Those that start at a row and a panel of the job.
    fn at(job: &WordJob<'_>, row: usize, panel: usize) -> Self {
        let (rows, panels) = ((job.rows - row).min(2 * ROWS), (job.panels - panel).min(2));
        let whole = rows / ROWS * ROWS;
        let rows = if whole > 0 { whole } else { rows };
        Self {
            rows: row..row + rows,
            panels: panel..panel + panels,
        }
    }

    /// How many of them a job has.
    pub(crate) fn count(job: &WordJob<'_>) -> usize {
        let halves = [job.rows / (2 * ROWS), job.rows / ROWS % 2];
        let ragged = usize::from(!job.rows.is_multiple_of(ROWS));
        (halves[0] + halves[1] + ragged) * job.panels.div_ceil(2)
    }

    /// True when the last row does not fill a tile.
    pub(crate) fn is_ragged(&self) -> bool {
        self.rows.len() < ROWS
    }
}
