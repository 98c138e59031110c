//! One head of a paged cache, as attention reads it.

use std::ops::Range;

use crate::{Element, Kernels, KeyPanels, LANES};

/// Panels of keys in one call at most: as many as hide the latency of multiplications where there are few queries.
const RUN: usize = 4;

/// One head of one layer of a paged cache.
///
/// A page of keys is `[heads][panels][dim][16]`, so that 16 tokens are the lanes of a vector; a page of values is
/// `[heads][page_tokens][width]` with `width` the head size rounded up to 16 and zeros behind it.
#[derive(Clone, Copy)]
pub struct PagedHead<'a> {
    /// Keys of all pages of the layer.
    pub keys: Element<'a>,
    /// Values of all pages of the layer.
    pub values: Element<'a>,
    /// Storage index of the sequence's `i`-th page.
    pub page: &'a (dyn Fn(usize) -> usize + Sync),
    /// Heads in a page.
    pub heads: usize,
    /// Which head.
    pub head: usize,
    /// Tokens in a page.
    pub page_tokens: usize,
}

impl PagedHead<'_> {
    /// Elements of one head's keys in a page.
    pub fn key_elements(page_tokens: usize, dim: usize) -> usize {
        page_tokens.next_multiple_of(LANES) * dim
    }

    /// Elements of one head's values in a page.
    pub fn value_elements(page_tokens: usize, dim: usize) -> usize {
        page_tokens * dim.next_multiple_of(LANES)
    }

    fn keys_of_page(&self, page: usize, dim: usize) -> Element<'_> {
        let size = Self::key_elements(self.page_tokens, dim);
        let start = ((self.page)(page) * self.heads + self.head) * size;
        self.keys.part(start..start + size)
    }

    /// Cuts `tokens`, from a multiple of 16, into runs whose panels of keys are at one distance from each other: inside a page,
    /// or, where a page is one panel, in pages that follow each other in memory.
    pub(crate) fn key_runs(
        &self,
        tokens: Range<usize>,
        dim: usize,
    ) -> impl Iterator<Item = (Range<usize>, KeyPanels<'_>)> {
        let size = Self::key_elements(self.page_tokens, dim);
        let mut start = tokens.start;
        std::iter::from_fn(move || {
            if start >= tokens.end {
                return None;
            }
            let (page, inside) = (start / self.page_tokens, start % self.page_tokens);
            let place = (self.page)(page);
            let mut pages = 1;
            if self.page_tokens == LANES {
                let follows = |pages: usize| {
                    start + pages * LANES < tokens.end && (self.page)(page + pages) == place + pages
                };
                while pages < RUN && follows(pages) {
                    pages += 1;
                }
            }
            let run = start..tokens.end.min((page + pages) * self.page_tokens);
            let count = run.len().div_ceil(LANES);
            let step = if pages > 1 {
                self.heads * size
            } else {
                LANES * dim
            };
            let first = (place * self.heads + self.head) * size + inside * dim;
            let end = first + (count - 1) * step + LANES * dim;
            start = run.end;
            let elements = self.keys.part(first..end);
            Some((
                run,
                KeyPanels {
                    elements,
                    count,
                    step,
                },
            ))
        })
    }

    /// Asks memory for the panels of keys that hold `tokens`, which may be none.
    pub(crate) fn ask_for_keys(&self, kernels: &dyn Kernels, tokens: Range<usize>, dim: usize) {
        if tokens.is_empty() {
            return;
        }
        for (_, page, inside) in self.runs(tokens) {
            let panels = inside.start / LANES * LANES..inside.end.next_multiple_of(LANES);
            let panels = panels.start * dim..panels.end * dim;
            kernels.ask_for(self.keys_of_page(page, dim).part(panels));
        }
    }

    /// Asks memory for the values of `tokens`.
    pub(crate) fn ask_for_values(&self, kernels: &dyn Kernels, tokens: Range<usize>, dim: usize) {
        for (_, page, inside) in self.runs(tokens) {
            kernels.ask_for(self.rows(page, inside, dim));
        }
    }

    /// Values of some tokens of a page, `[tokens, width]`.
    pub(crate) fn rows(&self, page: usize, tokens: Range<usize>, dim: usize) -> Element<'_> {
        let width = dim.next_multiple_of(LANES);
        let start = ((self.page)(page) * self.heads + self.head) * self.page_tokens;
        self.values
            .part((start + tokens.start) * width..(start + tokens.end) * width)
    }

    /// Copies tokens into panels of keys and rows of values, as `f32`.
    pub(crate) fn gather(
        &self,
        kernels: &dyn Kernels,
        tokens: Range<usize>,
        dim: usize,
        (keys, values): (&mut [f32], &mut [f32]),
    ) {
        let width = dim.next_multiple_of(LANES);
        for (offset, page, inside) in self.runs(tokens.clone()) {
            let rows = self.rows(page, inside.clone(), dim);
            widen(
                kernels,
                rows,
                &mut values[offset * width..][..inside.len() * width],
            );
            let panels = self.keys_of_page(page, dim);
            if self.page_tokens.is_multiple_of(LANES) {
                let size = inside.len().next_multiple_of(LANES) * dim;
                widen(
                    kernels,
                    panels.part(inside.start * dim..inside.start * dim + size),
                    &mut keys[offset * dim..][..size],
                );
                continue;
            }
            let mut column = [0.0; LANES];
            for (token, inside) in (offset..).zip(inside) {
                for d in 0..dim {
                    let start = (inside / LANES * dim + d) * LANES;
                    widen(kernels, panels.part(start..start + LANES), &mut column);
                    keys[(token / LANES * dim + d) * LANES + token % LANES] =
                        column[inside % LANES];
                }
            }
        }
        // Lanes behind the last token: their scores are never seen, but they must not slow down or trap.
        let count = tokens.len();
        if !self.page_tokens.is_multiple_of(LANES) {
            for token in count..count.next_multiple_of(LANES) {
                for d in 0..dim {
                    keys[(token / LANES * dim + d) * LANES + token % LANES] = 0.0;
                }
            }
        }
    }

    /// Cuts `tokens` at page borders: (offset from `tokens.start`, page, tokens inside the page).
    pub(crate) fn runs(
        &self,
        tokens: Range<usize>,
    ) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        let size = self.page_tokens;
        let pages = tokens.start / size..tokens.end.div_ceil(size);
        pages.map(move |page| {
            let start = tokens.start.max(page * size);
            let end = tokens.end.min((page + 1) * size);
            let inside = start - page * size..end - page * size;
            (start - tokens.start, page, inside)
        })
    }
}

fn widen(kernels: &dyn Kernels, from: Element<'_>, to: &mut [f32]) {
    match from {
        Element::F32(values) => to.copy_from_slice(values),
        Element::F16(values) => kernels.widen(values, to),
    }
}
