//! Which pages a sequence has, in each of the two groups of layers.
//!
//! Layers that look at every earlier token keep all pages of a sequence. Layers that look back over
//! a window give back the pages that lie wholly behind it, as soon as no later row can see them.
//!
//! The pool of the second group is never short: it has, for each sequence that may run, the pages
//! that a window can touch, and beside them those that a step's rows can add ([`near_pages`]). So
//! the scheduler promises pages of the first group only.

use ocelli_tensor::PageId;

use crate::{PAGE_TOKENS, PageKey, PagePool, RowKey, STEP_ROWS};

/// Pages of both groups of layers.
#[derive(Debug)]
pub(crate) struct Pools {
    /// For layers that look at every earlier token.
    pub(crate) wide: PagePool,
    /// For layers that look back over a window.
    pub(crate) near: PagePool,
    /// How far the latter look back at most; none where there are no such layers.
    window: Option<usize>,
}

/// Pages that layers with a window need for `sequences` of at most `context` tokens each, where the
/// others have `pages`.
///
/// A run of `n` tokens touches at most `(n + 14) / 16 + 1` pages of 16; here `n` is what the first
/// row of a step sees behind itself, and the step's rows. As many pages again as all windows touch
/// keep what finished requests left.
pub(crate) fn near_pages(
    window: Option<usize>,
    (pages, context, sequences): (usize, usize, usize),
) -> usize {
    let Some(window) = window else { return 0 };
    let touched = window.saturating_add(PAGE_TOKENS - 3) / PAGE_TOKENS + 2;
    let of_sequence = touched.min(context.div_ceil(PAGE_TOKENS));
    let of_steps = STEP_ROWS.div_ceil(PAGE_TOKENS);
    let all = of_sequence.saturating_mul(sequences).saturating_mul(2);
    // With a page for each of the first group's, nothing can be short.
    all.saturating_add(of_steps).min(pages)
}

impl Pools {
    pub(crate) fn new(pages: usize, near_pages: usize, window: Option<usize>) -> Self {
        Self {
            wide: PagePool::new(pages),
            near: PagePool::new(near_pages),
            window,
        }
    }

    /// True when rows of a page can be copied: where no layer has a window, whose pages are another matter.
    pub(crate) fn copies_rows(&self) -> bool {
        self.window.is_none()
    }

    /// Forgets what nobody uses.
    pub(crate) fn clear(&mut self) {
        self.wide.clear();
        self.near.clear();
    }

    /// The first page that a row behind `cached` tokens, or a later one, can see in layers with a window.
    fn first_seen(&self, cached: usize) -> usize {
        let window = self.window.unwrap_or(usize::MAX);
        (cached + 1).saturating_sub(window) / PAGE_TOKENS
    }

    /// How many of a prompt's first pages can be taken over: all of them where every token is
    /// looked at, and the last ones that the next row sees where the window ends.
    fn known(&self, keys: &[PageKey]) -> usize {
        let wide = keys.iter().take_while(|key| self.wide.has(key)).count();
        if self.window.is_none() {
            return wide;
        }
        let (mut known, mut run) = (0, 0);
        for (page, key) in keys[..wide].iter().enumerate() {
            run = if self.near.has(key) { run + 1 } else { 0 };
            let end = page + 1;
            if run >= end - self.first_seen(end * PAGE_TOKENS) {
                known = end;
            }
        }
        known
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PageTable {
    wide: Vec<PageId>,
    /// As many as `wide` where there are layers with a window. Those before `gone` belong to others by now.
    near: Vec<PageId>,
    gone: usize,
    /// Pages that others can share: all before this one.
    published: usize,
}

impl PageTable {
    /// In layers that look at every earlier token, oldest first.
    pub(crate) fn wide(&self) -> &[PageId] {
        &self.wide
    }

    /// In layers that look back over a window.
    pub(crate) fn near(&self) -> &[PageId] {
        &self.near
    }

    /// Takes over pages that hold the beginning of a prompt already, and says how many tokens that is.
    pub(crate) fn reuse(&mut self, pools: &mut Pools, keys: &[PageKey]) -> usize {
        assert!(self.wide.is_empty(), "pages are taken over at the start");
        let known = pools.known(keys);
        self.wide
            .extend(keys[..known].iter().filter_map(|key| pools.wide.share(key)));
        if pools.window.is_some() {
            self.gone = pools.first_seen(known * PAGE_TOKENS).min(known);
            self.near.resize(self.gone, PageId(0));
            let seen = &keys[self.gone..known];
            self.near
                .extend(seen.iter().filter_map(|key| pools.near.share(key)));
            assert_eq!(self.near.len(), known, "known pages are there");
        }
        assert_eq!(self.wide.len(), known, "known pages are there");
        self.published = known;
        known * PAGE_TOKENS
    }

    /// Takes over a copy of the rows that another page behind the same beginning begins with: the
    /// page to copy, to be given back to the first pool then, where to, and how many rows that is.
    pub(crate) fn take_rows(
        &mut self,
        pools: &mut Pools,
        before: &PageKey,
        rows: &[RowKey],
    ) -> Option<(PageId, PageId, usize)> {
        if !pools.copies_rows() {
            return None;
        }
        let (from, count) = pools.wide.share_rows(before, rows)?;
        let Some(to) = pools.wide.take() else {
            pools.wide.give_back_one(from);
            return None;
        };
        self.wide.push(to);
        Some((from, to, count))
    }

    /// Says what the rows of page number `page` are, behind what `before` stands for, if no other
    /// page holds the same.
    pub(crate) fn describe(
        &self,
        pools: &mut Pools,
        page: usize,
        (before, rows): (PageKey, Vec<RowKey>),
    ) {
        if pools.copies_rows() {
            pools.wide.describe(self.wide[page], before, rows);
        }
    }

    /// Makes room for tokens up to `tokens`.
    pub(crate) fn grow(&mut self, pools: &mut Pools, tokens: usize) {
        while self.wide.len() * PAGE_TOKENS < tokens {
            let page = pools.wide.take();
            self.wide
                .push(page.expect("a sequence is admitted only if its pages fit"));
        }
        while pools.window.is_some() && self.near.len() < self.wide.len() {
            let page = pools.near.take();
            self.near
                .push(page.expect("there are pages for every window and step"));
        }
    }

    /// Notes that tokens up to `cached` were run, the first pages of which hold what `keys` say:
    /// others can share those that are full, and what no later row sees is given back.
    pub(crate) fn ran(&mut self, pools: &mut Pools, keys: &[PageKey], cached: usize) {
        let full = keys.len().min(cached / PAGE_TOKENS);
        for (page, key) in keys.iter().enumerate().take(full).skip(self.published) {
            pools.wide.publish(self.wide[page], *key);
            if pools.window.is_some() {
                pools.near.publish(self.near[page], *key);
            }
        }
        self.published = self.published.max(full);
        if pools.window.is_some() {
            let seen = pools.first_seen(cached).min(self.near.len());
            let gone = self.gone..seen.max(self.gone);
            self.gone = gone.end;
            for page in &self.near[gone] {
                pools.near.give_back_one(*page);
            }
        }
    }

    /// Gives back everything.
    pub(crate) fn give_back(&mut self, pools: &mut Pools) {
        let mut near = self.near.split_off(self.gone);
        if self.gone > 0 {
            // What lies behind the window goes before what the next turn will see.
            near.reverse();
        }
        pools.near.give_back(&mut near);
        pools.wide.give_back(&mut self.wide);
        *self = Self::default();
    }

    /// Lets nobody share these pages from now on.
    pub(crate) fn forget(&self, pools: &mut Pools) {
        pools.wide.forget_all(&self.wide);
        pools.near.forget_all(&self.near[self.gone..]);
    }
}

#[cfg(test)]
mod tests;
