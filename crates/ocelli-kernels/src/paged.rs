//! One head of a paged cache, as attention reads it.

use std::ops::Range;

use half::f16;

use crate::kept::{code_of, scales_of};
use crate::{Element, KEPT_GROUP, Kept, Kernels, KeyPanels, LANES, ValueRows};

/// Tokens in one call of a kernel at most, and how far ahead of them memory is asked: it answers
/// within the time that so many take.
const RUN: usize = 64;

/// Tokens whose keys, or values, of one head lie together at least, where their pages have been
/// handed out in order: hardware and the processor's tables of memory follow long runs, and memory
/// is touched only as pages are first used.
const TOGETHER: usize = 256;

/// One head of one layer of a paged cache.
///
/// A head's keys of a page are `[panels][dim][16]`, so that 16 tokens are the lanes of a vector;
/// its values are `[page_tokens][width]` with `width` the head size rounded up to 16 and zeros
/// behind it. [`Kept`] says how they are in 8 bits. Pages are stored by the group,
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
        let size = self.keys.kept().keys_of_page(self.page_tokens, dim);
        let start = self.place(page) * size;
        self.keys.part(start..start + size)
    }

    /// Cuts `tokens`, from a multiple of 16, into runs whose panels of keys follow each other in
    /// memory, each with the keys that are read [`RUN`] tokens later, where there are any before
    /// `end`.
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

    /// Cuts `tokens` into runs whose values follow each other in memory, each with those that are
    /// read [`RUN`] tokens later.
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
                before: match self.values.kept() {
                    Kept::F32 | Kept::F16 => 0,
                    Kept::Q8 => run.start % self.page_tokens % LANES,
                },
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
        let (page, inside) = self.page_of(tokens.start);
        let kept = self.keys.kept();
        let panel = kept.key_panel(dim);
        let first = self.place(page) * kept.keys_of_page(self.page_tokens, dim);
        let first = first + inside / LANES * panel;
        self.keys
            .part(first..first + tokens.len().div_ceil(LANES) * panel)
    }

    /// Values of tokens whose pages follow each other: rows, or the runs of 16 in which they are.
    fn values_of(&self, tokens: Range<usize>, dim: usize) -> Element<'_> {
        let (page, inside) = self.page_of(tokens.start);
        let kept = self.values.kept();
        let first = self.place(page) * kept.values_of_page(self.page_tokens, dim);
        let (from, to) = match kept {
            Kept::F32 | Kept::F16 => {
                let width = dim.next_multiple_of(LANES);
                (inside * width, (inside + tokens.len()) * width)
            }
            Kept::Q8 => {
                let run = kept.value_run(dim);
                let end = (inside + tokens.len()).div_ceil(LANES);
                (inside / LANES * run, end * run)
            }
        };
        self.values.part(first + from..first + to)
    }

    /// The page of a token, and its place there.
    fn page_of(&self, token: usize) -> (usize, usize) {
        (token / self.page_tokens, token % self.page_tokens)
    }

    /// Copies tokens into panels of keys and rows of values, as `f32`.
    pub(crate) fn gather(
        &self,
        kernels: &dyn Kernels,
        tokens: Range<usize>,
        dim: usize,
        keys: &mut [f32],
        values: &mut [f32],
    ) {
        let width = dim.next_multiple_of(LANES);
        let count = tokens.len();
        for run in self.runs_in_pages(tokens.clone()) {
            let offset = run.start - tokens.start;
            let out = &mut values[offset * width..][..run.len() * width];
            self.widen_values(kernels, run.clone(), out);
            if self.page_tokens.is_multiple_of(LANES) {
                let size = run.len().next_multiple_of(LANES) * dim;
                let out = &mut keys[offset * dim..][..size];
                widen_panels(kernels, self.keys_of(run, dim), dim, out);
                continue;
            }
            for token in run {
                let (page, inside) = self.page_of(token);
                let panels = self.keys_of_page(page, dim);
                let panel = panels.kept().key_panel(dim);
                let panel = panels.part(inside / LANES * panel..(inside / LANES + 1) * panel);
                let offset = token - tokens.start;
                for d in 0..dim {
                    keys[(offset / LANES * dim + d) * LANES + offset % LANES] =
                        key_of(kernels, panel, dim, d, inside % LANES);
                }
            }
        }
        // Lanes behind the last token: their scores are never seen, but they must not slow down or trap.
        if !self.page_tokens.is_multiple_of(LANES) {
            for token in count..count.next_multiple_of(LANES) {
                for d in 0..dim {
                    keys[(token / LANES * dim + d) * LANES + token % LANES] = 0.0;
                }
            }
        }
    }

    /// Values of tokens of a page as `f32`, `[tokens, width]`.
    fn widen_values(&self, kernels: &dyn Kernels, tokens: Range<usize>, out: &mut [f32]) {
        let width = out.len() / tokens.len().max(1);
        let Element::Q8(words) = self.values_of(tokens.clone(), width) else {
            return widen(kernels, self.values_of(tokens, width), out);
        };
        let (_, inside) = self.page_of(tokens.start);
        let before = inside % LANES;
        let mut start = 0;
        for run in words.chunks_exact(Kept::Q8.value_run(width)) {
            let first = (before + start) % LANES;
            let count = (LANES - first).min(tokens.len() - start);
            let out = &mut out[start * width..][..count * width];
            kernels.widen_values(run, first..first + count, out);
            start += count;
        }
    }

    /// Cuts `tokens` at page borders.
    fn runs_in_pages(&self, tokens: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let size = self.page_tokens;
        let pages = tokens.start / size..tokens.end.div_ceil(size);
        pages.map(move |page| tokens.start.max(page * size)..tokens.end.min((page + 1) * size))
    }
}

fn widen(kernels: &dyn Kernels, from: Element<'_>, to: &mut [f32]) {
    match from {
        Element::F32(values) => to.copy_from_slice(values),
        Element::F16(values) => kernels.widen(values, to),
        Element::Q8(_) => panic!("codes have scales: they are not widened one by one"),
    }
}

/// Whole panels of keys as `f32`.
fn widen_panels(kernels: &dyn Kernels, from: Element<'_>, dim: usize, to: &mut [f32]) {
    let Element::Q8(words) = from else {
        return widen(kernels, from, to);
    };
    let panels = words.chunks_exact(Kept::Q8.key_panel(dim));
    for (panel, to) in panels.zip(to.chunks_exact_mut(dim * LANES)) {
        kernels.widen_keys(panel, to);
    }
}

/// Element `d` of the key in one lane of a panel.
fn key_of(kernels: &dyn Kernels, panel: Element<'_>, dim: usize, d: usize, lane: usize) -> f32 {
    if let Element::Q8(words) = panel {
        let scale = scales_of(words, dim, d / KEPT_GROUP)[lane];
        return code_of(words, d * LANES + lane) * f16::from_bits(scale).to_f32();
    }
    let mut column = [0.0; LANES];
    widen(kernels, panel.part(d * LANES..(d + 1) * LANES), &mut column);
    column[lane]
}
