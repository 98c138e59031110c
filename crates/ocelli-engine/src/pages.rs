//! Pages of the key/value cache: who has which.

use ocelli_tensor::PageId;

/// A pool of page ids. The pages' contents are the backend's.
#[derive(Debug)]
pub struct PagePool {
    free: Vec<PageId>,
    total: usize,
    page_tokens: usize,
}

impl PagePool {
    /// `total` free pages of `page_tokens` tokens.
    pub fn new(total: usize, page_tokens: usize) -> Self {
        Self {
            free: (0..total as u32).rev().map(PageId).collect(),
            total,
            page_tokens,
        }
    }

    /// Tokens in a page.
    pub fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    /// Tokens in all pages.
    pub fn capacity(&self) -> usize {
        self.total * self.page_tokens
    }

    /// Gives `pages` room for `tokens` tokens; false, and no change, when too few pages are free.
    #[must_use]
    pub fn grow(&mut self, pages: &mut Vec<PageId>, tokens: usize) -> bool {
        let missing = tokens
            .div_ceil(self.page_tokens)
            .saturating_sub(pages.len());
        if missing > self.free.len() {
            return false;
        }
        pages.extend(self.free.drain(self.free.len() - missing..).rev());
        true
    }

    /// Takes back the pages beyond the first `tokens` tokens.
    pub fn shrink(&mut self, pages: &mut Vec<PageId>, tokens: usize) {
        let kept = tokens.div_ceil(self.page_tokens).min(pages.len());
        self.free.extend(pages.drain(kept..).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_conserved_and_never_shared() {
        let mut pool = PagePool::new(4, 16);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        assert!(pool.grow(&mut a, 17));
        assert!(pool.grow(&mut b, 32));
        assert!(a.iter().all(|page| !b.contains(page)));
        assert!(!pool.grow(&mut b, 33), "no page is left");
        assert_eq!(b.len(), 2, "a refused request changes nothing");
        pool.shrink(&mut a, 1);
        assert!(pool.grow(&mut b, 33));
        pool.shrink(&mut a, 0);
        pool.shrink(&mut b, 0);
        assert!(pool.grow(&mut a, pool.capacity()));
    }
}
