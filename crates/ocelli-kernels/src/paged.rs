//! One head of a paged cache, as attention reads it.

use std::ops::Range;

use crate::{Element, Kernels, KeyPanels, LANES, ValueRows};

/// Tokens in one call of a kernel at most, and how far ahead of them memory is asked: it answers within the time that so many take.
const RUN: usize = 64;

/// Tokens whose keys, or values, of one head lie together at least, where their pages have been handed out in order: hardware and
/// the processor's tables of memory follow long runs, and memory is touched only as pages are first used.
const TOGETHER: usize = 256;

/// One head of one layer of a paged cache.
///
/// A head's keys of a page are `[panels][dim][16]`, so that 16 tokens are the lanes of a vector; its values are
/// `[page_tokens][width]` with `width` the head size rounded up to 16 and zeros behind it. Pages are stored by the group,
/// `[groups][heads][`[`PagedHead::group_pages`]`]`.
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

    /// Pages of a group.
    pub fn group_pages(page_tokens: usize) -> usize {
        (TOGETHER / page_tokens).max(1)
    }

    /// Where a page of the sequence is, in parts of pages that belong to one head.
    fn place(&self, page: usize) -> usize {
        let group = Self::group_pages(self.page_tokens);
        let page = (self.page)(page);
        (page / group * self.heads + self.head) * group + page % group
    }

    fn keys_of_page(&self, page: usize, dim: usize) -> Element<'_> {
        let size = Self::key_elements(self.page_tokens, dim);
        let start = self.place(page) * size;
        self.keys.part(start..start + size)
    }

    /// Cuts `tokens`, from a multiple of 16, into runs whose panels of keys follow each other in memory, each with the keys that
    /// are read [`RUN`] tokens later, where there are any before `end`.
    pub(crate) fn key_runs(
        &self,
        tokens: Range<usize>,
        end: usize,
        dim: usize,
    ) -> impl Iterator<Item = (Range<usize>, KeyPanels<'_>)> {
        self.runs_together(tokens).map(move |run| {
            let panels = KeyPanels {
                ahead: self.ahead(&run, end, |tokens| self.keys_of(tokens, dim)),
                ..KeyPanels::together(self.keys_of(run.clone(), dim), dim)
            };
            (run, panels)
        })
    }

    /// Cuts `tokens` into runs whose values follow each other in memory, each with those that are read [`RUN`] tokens later.
    pub(crate) fn value_runs(
        &self,
        tokens: Range<usize>,
        end: usize,
        dim: usize,
    ) -> impl Iterator<Item = (Range<usize>, ValueRows<'_>)> {
        self.runs_together(tokens).map(move |run| {
            let values = ValueRows {
                values: self.values_of(run.clone(), dim),
                tokens: run.len(),
                stride: dim.next_multiple_of(LANES),
                ahead: self.ahead(&run, end, |tokens| self.values_of(tokens, dim)),
            };
            (run, values)
        })
    }

    /// Asks memory for what the first runs of `tokens` need.
    pub(crate) fn ask_for_first(&self, kernels: &dyn Kernels, tokens: Range<usize>, dim: usize) {
        let first = tokens.start..tokens.end.min((tokens.start / RUN + 1) * RUN);
        for run in self.runs_together(first) {
            kernels.ask_for(self.values_of(run, dim));
        }
    }

    /// What `part` finds for the tokens that come [`RUN`] behind a run, as far as they lie together.
    fn ahead<'e>(
        &self,
        run: &Range<usize>,
        end: usize,
        part: impl FnOnce(Range<usize>) -> Element<'e>,
    ) -> Element<'e> {
        let tokens = run.start + RUN..(run.end + RUN).min(end);
        if tokens.is_empty() {
            return Element::NONE;
        }
        part(self.together(tokens))
    }

    /// Cuts `tokens` at multiples of [`RUN`] and where pages do not follow each other in memory.
    fn runs_together(&self, tokens: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut start = tokens.start;
        std::iter::from_fn(move || {
            let end = tokens.end.min((start / RUN + 1) * RUN);
            let run = (start < end).then(|| self.together(start..end))?;
            start = run.end;
            Some(run)
        })
    }

    /// The first of some tokens, as far as their pages follow each other in memory.
    fn together(&self, tokens: Range<usize>) -> Range<usize> {
        let first = tokens.start / self.page_tokens;
        let place = self.place(first);
        let mut pages = 1;
        while (first + pages) * self.page_tokens < tokens.end
            && self.place(first + pages) == place + pages
        {
            pages += 1;
        }
        tokens.start..tokens.end.min((first + pages) * self.page_tokens)
    }

    /// Panels with the keys of tokens whose pages follow each other, from a multiple of 16 of them.
    fn keys_of(&self, tokens: Range<usize>, dim: usize) -> Element<'_> {
        let (page, inside) = (
            tokens.start / self.page_tokens,
            tokens.start % self.page_tokens,
        );
        let first = self.place(page) * Self::key_elements(self.page_tokens, dim) + inside * dim;
        let elements = tokens.len().next_multiple_of(LANES) * dim;
        self.keys.part(first..first + elements)
    }

    /// Values of tokens whose pages follow each other, `[tokens, width]`.
    fn values_of(&self, tokens: Range<usize>, dim: usize) -> Element<'_> {
        let (page, inside) = (
            tokens.start / self.page_tokens,
            tokens.start % self.page_tokens,
        );
        let width = dim.next_multiple_of(LANES);
        let first = (self.place(page) * self.page_tokens + inside) * width;
        self.values.part(first..first + tokens.len() * width)
    }

    /// Values of some tokens of a page, `[tokens, width]`.
    pub(crate) fn rows(&self, page: usize, tokens: Range<usize>, dim: usize) -> Element<'_> {
        let width = dim.next_multiple_of(LANES);
        let start = self.place(page) * self.page_tokens;
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
