//! Pages of the key/value cache: who has which, and which hold a prompt that may come again.
//!
//! A page is free, in use by one or more sequences, or idle: in use by nobody, but its content is known
//! by key and can be shared until the room is needed. The pages' contents are the backend's.

use std::collections::{BTreeMap, HashMap};

use ocelli_tensor::PageId;

/// What a full page holds: its tokens and pictures, and everything before them.
pub type PageKey = [u8; 32];

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    users: u32,
    key: Option<PageKey>,
    /// When it was last given back: the place in `idle`.
    given_back: u64,
}

/// See the module.
#[derive(Debug)]
pub struct PagePool {
    pages: Vec<Page>,
    free: Vec<PageId>,
    by_key: HashMap<PageKey, PageId>,
    /// Pages that nobody uses and that hold something, longest unused first.
    idle: BTreeMap<u64, PageId>,
    clock: u64,
}

impl PagePool {
    /// `total` free pages.
    pub fn new(total: usize) -> Self {
        Self {
            pages: vec![Page::default(); total],
            free: (0..total as u32).rev().map(PageId).collect(),
            by_key: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
        }
    }

    /// All pages.
    pub fn total(&self) -> usize {
        self.pages.len()
    }

    /// Pages that some sequence uses.
    pub fn in_use(&self) -> usize {
        self.pages.len() - self.free.len() - self.idle.len()
    }

    /// An empty page for one user, at the cost of the longest unused idle one if none is free.
    pub fn take(&mut self) -> Option<PageId> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let (_, page) = self.idle.pop_first()?;
                self.forget(page);
                page
            }
        };
        self.page(page).users = 1;
        Some(page)
    }

    /// True when a page holds `key`.
    pub fn has(&self, key: &PageKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// A page that holds `key`, with one more user.
    pub fn share(&mut self, key: &PageKey) -> Option<PageId> {
        let page = *self.by_key.get(key)?;
        let entry = self.page(page);
        entry.users += 1;
        if entry.users == 1 {
            let given_back = entry.given_back;
            self.idle.remove(&given_back);
        }
        Some(page)
    }

    /// Says what a page in use holds from now on, so that others can share it. When another page holds
    /// the same already, that one stays the shared one.
    pub fn publish(&mut self, page: PageId, key: PageKey) {
        if let std::collections::hash_map::Entry::Vacant(place) = self.by_key.entry(key) {
            place.insert(page);
            self.page(page).key = Some(key);
        }
    }

    /// Ends one use of pages. The last ones are forgotten first when room is needed, since nothing is
    /// found behind a page that is gone.
    pub fn give_back(&mut self, pages: &mut Vec<PageId>) {
        while let Some(page) = pages.pop() {
            self.give_back_one(page);
        }
    }

    /// Ends one use of a page.
    pub fn give_back_one(&mut self, page: PageId) {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.page(page);
        assert!(entry.users > 0, "a page is given back once for each use");
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        entry.given_back = clock;
        if entry.key.is_some() {
            self.idle.insert(clock, page);
        } else {
            self.free.push(page);
        }
    }

    /// Forgets what pages in use hold, so that nobody shares them from now on.
    pub fn forget_all(&mut self, pages: &[PageId]) {
        for page in pages {
            assert!(
                self.page(*page).users > 0,
                "only pages in use are forgotten"
            );
            self.forget(*page);
        }
    }

    /// Forgets what idle pages hold.
    pub fn clear(&mut self) {
        while let Some((_, page)) = self.idle.pop_first() {
            self.forget(page);
            self.free.push(page);
        }
    }

    fn forget(&mut self, page: PageId) {
        if let Some(key) = self.page(page).key.take() {
            self.by_key.remove(&key);
        }
    }

    fn page(&mut self, page: PageId) -> &mut Page {
        &mut self.pages[page.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{RngCore, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn a_page_is_shared_while_in_use_and_while_idle() {
        let mut pool = PagePool::new(2);
        let page = pool.take().unwrap();
        pool.publish(page, [1; 32]);
        assert_eq!(pool.share(&[1; 32]), Some(page));
        pool.give_back(&mut vec![page, page]);
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.share(&[1; 32]), Some(page));
        assert_eq!(pool.in_use(), 1);
    }

    #[test]
    fn the_end_of_the_longest_unused_prompt_is_forgotten_first() {
        let mut pool = PagePool::new(3);
        let mut pages: Vec<PageId> = (0..3_u8)
            .map(|i| {
                let page = pool.take().unwrap();
                pool.publish(page, [i; 32]);
                page
            })
            .collect();
        pool.give_back(&mut pages);
        pool.take().unwrap();
        assert!(pool.share(&[2; 32]).is_none());
        assert!(pool.share(&[0; 32]).is_some() && pool.share(&[1; 32]).is_some());
        assert!(pool.take().is_none(), "all are in use");
    }

    #[test]
    fn clearing_keeps_what_is_in_use() {
        let mut pool = PagePool::new(2);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        pool.publish(a, [1; 32]);
        pool.publish(b, [2; 32]);
        pool.give_back(&mut vec![b]);
        pool.clear();
        assert!(pool.share(&[2; 32]).is_none());
        assert_eq!(pool.share(&[1; 32]), Some(a));
    }

    #[test]
    fn a_forgotten_page_is_shared_no_more_and_is_free_when_given_back() {
        let mut pool = PagePool::new(1);
        let page = pool.take().unwrap();
        pool.publish(page, [1; 32]);
        pool.forget_all(&[page]);
        assert!(pool.share(&[1; 32]).is_none());
        pool.give_back(&mut vec![page]);
        assert_eq!((pool.free.len(), pool.idle.len()), (1, 0));
    }

    #[test]
    fn pages_are_conserved_and_never_handed_out_twice_under_any_order_of_calls() {
        for seed in 0..200 {
            let mut random = Pcg64Mcg::seed_from_u64(seed);
            let mut pool = PagePool::new(8);
            let mut held: Vec<Vec<(PageId, bool)>> = vec![Vec::new(); 3];
            for _ in 0..200 {
                let who = (random.next_u64() % 3) as usize;
                let key = [(random.next_u64() % 6) as u8; 32];
                match random.next_u64() % 4 {
                    0 => {
                        if let Some(page) = pool.take() {
                            let alone = held.iter().flatten().all(|(p, _)| *p != page);
                            assert!(alone, "seed {seed}: {page:?} is in use");
                            held[who].push((page, true));
                        }
                    }
                    1 => held[who].extend(pool.share(&key).map(|page| (page, false))),
                    2 => {
                        if let Some((page, own @ true)) = held[who].last_mut() {
                            pool.publish(*page, key);
                            *own = false;
                        }
                    }
                    _ => pool.give_back(&mut held[who].drain(..).map(|(p, _)| p).collect()),
                }
                let mut used: Vec<PageId> = held.iter().flatten().map(|(p, _)| *p).collect();
                used.sort();
                used.dedup();
                assert_eq!(pool.in_use(), used.len(), "seed {seed}");
            }
            held.iter_mut()
                .for_each(|h| pool.give_back(&mut h.drain(..).map(|(p, _)| p).collect()));
            pool.clear();
            assert_eq!(pool.free.len(), pool.total());
        }
    }
}
