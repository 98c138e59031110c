//! Properties of the two groups of pages under any order of calls.

use std::collections::HashMap;

use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::Settings;
use ocelli_tensor::{KvElement, KvLayer, LayerCache};

/// Keys of a prompt of a kind: those of kinds 0 and 1 begin alike.
fn keys_of(kind: u8, pages: usize) -> Vec<PageKey> {
    (0..pages)
        .map(|page| {
            let mut key = [0; 32];
            key[0] = page as u8;
            key[1] = if page < 6 { kind / 2 } else { 4 + kind };
            key
        })
        .collect()
}

/// What a page of a pool holds in the tests: a key, or nothing that anyone knows.
type Contents = HashMap<PageId, Option<PageKey>>;

struct Sequence {
    table: PageTable,
    keys: Vec<PageKey>,
    prompt: usize,
    total: usize,
    cached: usize,
}

impl Sequence {
    /// Runs so many tokens: what the pages hold is noted where they are written.
    fn run(&mut self, pools: &mut Pools, rows: usize, contents: &mut (Contents, Contents)) {
        let end = self.cached + rows;
        self.table.grow(pools, end);
        for page in self.cached / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS) {
            let key = self.keys.get(page).copied();
            contents.0.insert(self.table.wide()[page], key);
            contents.1.insert(self.table.near()[page], key);
        }
        self.check(pools, contents, self.cached);
        self.cached = end;
        self.table.ran(pools, &self.keys, self.cached);
    }

    /// Every page that the next rows can see holds what this sequence wrote or took over.
    fn check(&self, pools: &Pools, contents: &(Contents, Contents), cached: usize) {
        let used = cached / PAGE_TOKENS;
        for (page, key) in self.keys.iter().enumerate().take(used) {
            assert_eq!(contents.0[&self.table.wide()[page]], Some(*key));
            if page >= pools.first_seen(cached) {
                assert_eq!(contents.1[&self.table.near()[page]], Some(*key));
            }
        }
    }
}

/// Several sequences run, end and begin again in any order. No page that one of them can still see
/// is another's, a promise of pages of the first group is enough for both, and at the end every
/// page is free.
#[test]
fn no_order_of_calls_runs_short_of_pages_or_gives_one_to_two() {
    for seed in 0..200 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut draw = |most: usize| (random.next_u64() % most as u64) as usize;
        let (window, context, places) = (1 + draw(200), 64 + draw(1500), 1 + draw(4));
        let pages = context.div_ceil(PAGE_TOKENS) * (1 + draw(places));
        let near = near_pages(Some(window), (pages, context, places));
        let mut pools = Pools::new(pages, near, Some(window));
        let mut contents = (Contents::new(), Contents::new());
        let mut running: Vec<Sequence> = Vec::new();
        for _ in 0..120 {
            let promised: usize = running.iter().map(|s| s.total.div_ceil(PAGE_TOKENS)).sum();
            let total = 2 + draw(context - 1);
            if running.len() < places && promised + total.div_ceil(PAGE_TOKENS) <= pages {
                let prompt = 1 + draw(total - 1);
                let keys = keys_of(draw(4) as u8, prompt / PAGE_TOKENS);
                let mut table = PageTable::default();
                let most = (prompt - 1) / PAGE_TOKENS;
                let cached = table.reuse(&mut pools, &keys[..most]);
                let new = Sequence {
                    table,
                    keys,
                    prompt,
                    total,
                    cached,
                };
                new.check(&pools, &contents, cached);
                running.push(new);
            }
            let mut rows = STEP_ROWS;
            for sequence in &mut running {
                let most = match sequence.cached < sequence.prompt {
                    true => sequence.prompt - sequence.cached,
                    false => (sequence.total - sequence.cached).min(1),
                };
                let count = most.min(1 + draw(rows));
                rows -= count.min(rows - 1);
                sequence.run(&mut pools, count, &mut contents);
            }
            running.retain_mut(|sequence| {
                let ends = sequence.cached == sequence.total || draw(12) == 0;
                if ends {
                    sequence.table.give_back(&mut pools);
                }
                !ends
            });
        }
        for mut sequence in running {
            sequence.table.give_back(&mut pools);
        }
        assert_eq!((pools.wide.in_use(), pools.near.in_use()), (0, 0));
    }
}

#[test]
fn a_long_sequence_keeps_no_more_pages_than_its_window_touches() {
    let (window, tokens) = (100, 4000);
    let mut pools = Pools::new(
        250,
        near_pages(Some(window), (250, tokens, 1)),
        Some(window),
    );
    let mut table = PageTable::default();
    for cached in 0..tokens {
        table.grow(&mut pools, cached + 1);
        table.ran(&mut pools, &[], cached + 1);
        assert!(pools.near.in_use() <= 8, "{}", pools.near.in_use());
    }
    assert_eq!(pools.wide.in_use(), 250);
}

#[test]
fn a_prompt_is_taken_over_up_to_where_its_window_is_still_known() {
    let window = 40;
    let mut pools = Pools::new(64, 32, Some(window));
    let keys = keys_of(0, 16);
    let mut first = PageTable::default();
    first.grow(&mut pools, 256);
    first.ran(&mut pools, &keys, 256);
    first.give_back(&mut pools);
    let mut again = PageTable::default();
    assert_eq!(again.reuse(&mut pools, &keys), 256);
    // Tokens 217 and later are seen by token 256: pages 13 to 15.
    assert_eq!(pools.near.in_use(), 3);
    again.give_back(&mut pools);
    // The last page is known no more: the window before an earlier one still is.
    let last = pools.near.share(&keys[15]).unwrap();
    pools.near.forget_all(&[last]);
    pools.near.give_back_one(last);
    let mut cut = PageTable::default();
    assert_eq!(cut.reuse(&mut pools, &keys), 240);
    cut.give_back(&mut pools);
    pools.near.clear();
    assert_eq!(PageTable::default().reuse(&mut pools, &keys), 0);
}

/// Gemma 3's 4B: 29 of 34 layers look back over 1024 tokens.
#[test]
fn pages_for_windows_do_not_grow_with_the_context_and_are_never_more_than_all() {
    let near = near_pages(Some(1024), (8192, 131_072, 1));
    assert_eq!(near, 166);
    assert_eq!(near_pages(Some(1024), (32, 512, 1)), 32);
    assert_eq!(near_pages(Some(usize::MAX), (32, 512, 1)), 32);
    assert_eq!(near_pages(None, (32, 512, 1)), 0);
}

/// Gemma 3's 4B: 29 of its 34 layers look back over 1024 tokens.
#[test]
fn a_long_context_costs_a_sixth_where_five_of_six_layers_have_a_window() {
    let layer = |i: usize| KvLayer {
        cache: match (i + 1).is_multiple_of(6) {
            true => LayerCache::Full,
            false => LayerCache::Window(1024),
        },
        heads: 4,
        dim: 256,
    };
    let settings = Settings {
        context: 131_072,
        sequences: 1,
        cache_tokens: 131_072,
        kv_element: KvElement::F16,
        feature_bytes: 0,
        largest_picture: None,
    };
    let mut layout = settings.kv_layout((0..34).map(layer).collect());
    assert_eq!(layout.bytes() >> 20, 2860);
    layout.near_pages = layout.pages;
    assert_eq!(layout.bytes() >> 20, 17408);
}
