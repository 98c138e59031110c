//! Asking memory for weights before they are needed.

use crate::vector::Simd;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// How far ahead of the codes being read lines are asked for: memory answers within the time that
/// this much takes. The planes of a block are short streams, which hardware does not follow by
/// itself.
const AHEAD: usize = 4096;

/// Rows whose words leave no room in a first-level cache for what comes: that waits in the second,
/// which has room for more.
const MANY_ROWS: usize = 4;

/// How far ahead of the codes of some rows lines are asked for.
const fn distance(rows: usize) -> usize {
    if rows >= MANY_ROWS { 2 * AHEAD } else { AHEAD }
}

/// Asks for what comes [`distance`] behind `len` bytes of a panel at `at`; that may lie behind the panel.
#[inline(always)]
pub(super) fn ask<S: Simd, const ROWS: usize>(s: S, panel: &[u8], at: usize, len: usize) {
    for line in 0..len.div_ceil(LINE) {
        let offset = at + distance(ROWS) + line * LINE;
        if ROWS >= MANY_ROWS {
            s.prefetch_second(panel, offset);
        } else {
            s.prefetch(panel, offset);
        }
    }
}

/// A panel, or a part of it, that some rows are multiplied with.
#[derive(Clone, Copy)]
pub(super) struct PanelRead<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether these are the first rows that read it: memory is asked for what comes only then.
    pub(super) is_first: bool,
}

impl PanelRead<'_> {
    /// [`ask`], if these rows have to.
    #[inline(always)]
    pub(super) fn ask<S: Simd, const ROWS: usize>(self, s: S, at: usize, len: usize) {
        if self.is_first {
            ask::<S, ROWS>(s, self.bytes, at, len);
        }
    }
}

/// Lines that a job asks memory for on its way.
pub(super) struct Ahead<'a> {
    bytes: &'a [u8],
    asked: usize,
    step: usize,
}

impl<'a> Ahead<'a> {
    /// `bytes` in so many steps.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], steps: usize) -> Self {
        let step = bytes.len().div_ceil(steps.max(1)).next_multiple_of(LINE);
        Self {
            bytes,
            asked: 0,
            step,
        }
    }

    /// Asks for what a step has to.
    #[inline(always)]
    pub(super) fn ask<S: Simd>(&mut self, s: S) {
        let end = self.bytes.len().min(self.asked + self.step);
        while self.asked < end {
            s.prefetch_second(self.bytes, self.asked);
            self.asked += LINE;
        }
    }
}
