//! Pages of the key/value cache: who has which, and which hold a prompt that may come again.
//!
//! A page is free, in use by one or more sequences, or idle: in use by nobody, but its content is known
//! by key and can be shared until the room is needed. The pages' contents are the backend's.
//!
//! A prompt that goes its own way in the middle of a page, or ends there, cannot share that page:
//! it takes over a copy of the rows up to there, which are known one by one.

use std::collections::{BTreeMap, HashMap};

use ocelli_tensor::PageId;

use crate::RowKey;

/// What a full page holds: its tokens and pictures, and everything before them.
pub type PageKey = [u8; 32];

/// One in so many pages is forgotten when room is needed, and at most [`MOST_AT_ONCE`].
const FORGOTTEN: usize = 32;

/// Pages that are forgotten together at most.
const MOST_AT_ONCE: usize = 64;

/// Pages behind the same beginning whose rows are known: more differ too early to be worth looking at.
const MOST_ALIKE: usize = 32;

#[derive(Clone, Debug, Default)]
struct Page {
    users: u32,
    key: Option<PageKey>,
    /// Its first rows, and what stands before them.
    rows: Option<(PageKey, Vec<RowKey>)>,
    /// When it was last given back: the place in `idle`.
    given_back: u64,
}

/// See the module.
#[derive(Debug)]
pub struct PagePool {
    pages: Vec<Page>,
    free: Vec<PageId>,
    by_key: HashMap<PageKey, PageId>,
    /// Pages with known rows, by what stands before them.
    behind: HashMap<PageKey, Vec<PageId>>,
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
            behind: HashMap::new(),
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

    /// An empty page for one user, at the cost of the longest unused idle ones if none is free.
    pub fn take(&mut self) -> Option<PageId> {
        if self.free.is_empty() {
            self.make_room();
        }
        let page = self.free.pop()?;
        self.page(page).users = 1;
        Some(page)
    }

    /// Forgets the longest unused pages, some together so that they are handed out in the order of
    /// memory: they were given back last first, and one by one a prompt would get them backwards.
    /// Attention reads long runs nearly twice as fast.
    fn make_room(&mut self) {
        let count = (self.pages.len() / FORGOTTEN).clamp(1, MOST_AT_ONCE);
        for _ in 0..count {
            let Some((_, page)) = self.idle.pop_first() else {
                break;
            };
            self.forget(page);
            self.free.push(page);
        }
        self.free.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// True when a page holds `key`.
    pub fn has(&self, key: &PageKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// A page that holds `key`, with one more user.
    pub fn share(&mut self, key: &PageKey) -> Option<PageId> {
        let page = *self.by_key.get(key)?;
        self.use_again(page);
        Some(page)
    }

    fn use_again(&mut self, page: PageId) {
        let entry = self.page(page);
        entry.users += 1;
        if entry.users == 1 {
            let given_back = entry.given_back;
            self.idle.remove(&given_back);
        }
    }

    /// Says what a page in use holds from now on, so that others can share it. When another page holds
    /// the same already, that one stays the shared one.
    pub fn publish(&mut self, page: PageId, key: PageKey) {
        if let std::collections::hash_map::Entry::Vacant(place) = self.by_key.entry(key) {
            place.insert(page);
            self.page(page).key = Some(key);
        }
    }

    /// Says what the first rows of a page in use are, behind what `before` stands for, so that
    /// others can copy them.
    pub fn describe(&mut self, page: PageId, before: PageKey, rows: Vec<RowKey>) {
        let alike = self.behind.entry(before).or_default();
        let has_all = |other: &PageId| {
            let known = self.pages[other.0 as usize].rows.as_ref();
            *other != page && known.is_some_and(|(_, known)| known.starts_with(&rows))
        };
        if alike.iter().any(has_all) {
            return;
        }
        if !alike.contains(&page) {
            alike.push(page);
        }
        if alike.len() > MOST_ALIKE {
            let oldest = alike.remove(0);
            self.page(oldest).rows = None;
        }
        self.page(page).rows = Some((before, rows));
    }

    /// The page behind `before` that begins with the most of `rows`, with one more user, and how
    /// many these are.
    pub fn share_rows(&mut self, before: &PageKey, rows: &[RowKey]) -> Option<(PageId, usize)> {
        let alike = self.behind.get(before)?;
        let common = |page: &PageId| {
            let (_, known) = self.pages[page.0 as usize].rows.as_ref()?;
            let pairs = known.iter().zip(rows);
            Some(pairs.take_while(|(known, row)| known == row).count())
        };
        let counted = alike.iter().map(|page| (common(page).unwrap_or(0), *page));
        let (count, page) = counted.max_by_key(|(count, _)| *count)?;
        if count == 0 {
            return None;
        }
        self.use_again(page);
        Some((page, count))
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
        if entry.key.is_some() || entry.rows.is_some() {
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
        if let Some((before, _)) = self.page(page).rows.take()
            && let Some(alike) = self.behind.get_mut(&before)
        {
            alike.retain(|other| *other != page);
            if alike.is_empty() {
                self.behind.remove(&before);
            }
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
    fn a_prompt_gets_the_pages_of_a_forgotten_one_in_the_order_of_memory() {
        let mut pool = PagePool::new(128);
        for prompt in 0..3_u8 {
            let mut pages: Vec<PageId> = (0..128_u8)
                .map(|i| {
                    let page = pool.take().unwrap();
                    let mut key = [prompt; 32];
                    key[0] = i;
                    pool.publish(page, key);
                    page
                })
                .collect();
            let follows = |pair: &&[PageId]| pair[1].0 == pair[0].0 + 1;
            let runs = 128 - pages.windows(2).filter(follows).count();
            assert!(runs <= FORGOTTEN, "prompt {prompt} lies in {runs} runs");
            pool.give_back(&mut pages);
        }
    }

    fn rows(tokens: &[u32]) -> Vec<RowKey> {
        let row = |token: &u32| RowKey {
            token: *token,
            shows: None,
        };
        tokens.iter().map(row).collect()
    }

    #[test]
    fn the_page_with_most_rows_in_common_is_found_until_its_room_is_needed() {
        let mut pool = PagePool::new(2);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        pool.describe(a, [1; 32], rows(&[1, 2, 3]));
        pool.describe(b, [1; 32], rows(&[1, 2, 4, 5]));
        assert_eq!(pool.share_rows(&[1; 32], &rows(&[1, 2, 4])), Some((b, 3)));
        assert_eq!(pool.share_rows(&[1; 32], &rows(&[9])), None);
        assert_eq!(pool.share_rows(&[2; 32], &rows(&[1])), None);
        pool.give_back(&mut vec![a, b, b]);
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.share_rows(&[1; 32], &rows(&[1, 2, 3])), Some((a, 3)));
        pool.give_back_one(a);
        // A page that filled up is known by all its rows.
        let page = pool.take().unwrap();
        pool.describe(page, [3; 32], rows(&[7]));
        pool.describe(page, [3; 32], rows(&[7, 8]));
        assert_eq!(
            pool.share_rows(&[3; 32], &rows(&[7, 8, 9])),
            Some((page, 2))
        );
        pool.give_back(&mut vec![page, page]);
        pool.clear();
        assert_eq!(pool.share_rows(&[3; 32], &rows(&[7])), None);
        assert!(pool.behind.is_empty());
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
                match random.next_u64() % 6 {
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
                    3 => {
                        let found = pool.share_rows(&key, &rows(&[1, 2]));
                        held[who].extend(found.map(|(page, _)| (page, false)));
                    }
                    4 => {
                        if let Some((page, true)) = held[who].last() {
                            pool.describe(*page, key, rows(&[1, u32::from(key[0])]));
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
