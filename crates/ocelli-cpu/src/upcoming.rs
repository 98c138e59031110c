//! What is read next, fetched while threads wait: so memory does not rest between the operations of a step.
//!
//! Generated tokens read the same weights in the same order, step by step. [`Order`] remembers
//! which followed which, and a thread that finds no work reads the beginning of its first tile of
//! the next product into its cache.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, Weak};

use crate::memory::AlignedBytes;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes that a thread reads before it looks for work again: far less than a microsecond.
const RUN: usize = 2048;

/// Most bytes that a thread reads ahead: what its second-level cache holds beside rows and sums.
const MOST: usize = 512 << 10;

/// Most products that an [`Order`] knows.
const MOST_KNOWN: usize = 1 << 14;

/// Weights of the tiles that threads take first, one each.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstTiles {
    /// The weights of a product.
    pub(crate) weights: Weak<AlignedBytes>,
    /// Bytes from a tile to the next.
    pub(crate) step: usize,
    /// How many tiles.
    pub(crate) count: usize,
}

/// What threads read when they find no work.
#[derive(Debug, Default)]
pub(crate) struct Upcoming {
    next: Mutex<FirstTiles>,
    /// Changes with `next`.
    version: AtomicUsize,
}

/// How far a thread has come.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    version: usize,
    tiles: FirstTiles,
    done: usize,
}

impl Upcoming {
    /// What is read from now on.
    pub(crate) fn set(&self, next: FirstTiles) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Reads what thread `thread` needs next until `is_over` says so, or it has read enough.
    pub(crate) fn read(&self, thread: usize, cursor: &mut Cursor, is_over: impl Fn() -> bool) {
        let version = self.version.load(Ordering::Acquire);
        if version != cursor.version {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *cursor = Cursor {
                version,
                tiles: next.clone(),
                done: 0,
            };
        }
        let FirstTiles { step, count, .. } = cursor.tiles;
        let most = step.min(MOST);
        if thread >= count || cursor.done >= most {
            return;
        }
        // Held no longer than threads wait: who unloads a model gets its memory back.
        let Some(weights) = cursor.tiles.weights.upgrade() else {
            return;
        };
        let tile = weights.bytes().get(thread * step..).unwrap_or_default();
        while cursor.done < most && !is_over() {
            let run = tile.get(cursor.done..).unwrap_or_default();
            touch(&run[..run.len().min(RUN)]);
            cursor.done += RUN;
        }
    }
}

/// Reads a byte of each line. Processors drop requests for lines that need not be answered when
/// many wait; reads they keep.
fn touch(bytes: &[u8]) {
    let firsts = bytes.iter().step_by(LINE);
    black_box(firsts.fold(0, |all, byte| all ^ byte));
}

/// Which product came after which.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The last product, by the address of its weights, which are not read.
    last: usize,
    /// What followed a product, and whether it did so twice in a row.
    next: HashMap<usize, (FirstTiles, bool)>,
}

impl Order {
    /// Notes that a product runs now; what follows it, if it always did.
    pub(crate) fn follow(&mut self, product: FirstTiles) -> Option<FirstTiles> {
        if self.next.len() >= MOST_KNOWN {
            self.next.clear();
        }
        let (known, is_sure) = self.next.entry(self.last).or_default();
        *is_sure = known.weights.ptr_eq(&product.weights);
        self.last = product.weights.as_ptr().addr();
        *known = product;
        let (next, is_sure) = self.next.get(&self.last)?;
        is_sure.then(|| next.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn weights() -> Arc<AlignedBytes> {
        Arc::new(AlignedBytes::zeros(1 << 16).unwrap())
    }

    fn tiles(weights: &Arc<AlignedBytes>) -> FirstTiles {
        FirstTiles {
            weights: Arc::downgrade(weights),
            step: 1 << 14,
            count: 4,
        }
    }

    #[test]
    fn what_followed_twice_is_expected_a_third_time() {
        let all = [weights(), weights(), weights()];
        let mut order = Order::default();
        let mut step = || {
            let next = all.iter().map(|weights| order.follow(tiles(weights)));
            next.collect::<Vec<_>>()
        };
        assert!(step().iter().all(Option::is_none));
        step();
        let third = step();
        for (place, next) in third.into_iter().enumerate() {
            let next = next.expect("the order has been the same");
            let expected = Arc::downgrade(&all[(place + 1) % all.len()]);
            assert!(next.weights.ptr_eq(&expected), "behind product {place}");
        }
    }

    #[test]
    fn what_follows_now_this_now_that_is_not_expected() {
        let (first, others) = (weights(), [weights(), weights()]);
        let mut order = Order::default();
        for turn in 0..8 {
            assert!(order.follow(tiles(&first)).is_none(), "turn {turn}");
            order.follow(tiles(&others[turn % 2]));
        }
    }

    #[test]
    fn reading_ends_when_there_is_work_when_all_is_read_and_when_weights_are_gone() {
        let upcoming = Upcoming::default();
        let mut cursor = Cursor::default();
        let weights = weights();
        upcoming.set(tiles(&weights));
        upcoming.read(1, &mut cursor, || true);
        assert_eq!(cursor.done, 0);
        upcoming.read(1, &mut cursor, || false);
        assert_eq!(cursor.done, 1 << 14);
        upcoming.set(tiles(&weights));
        drop(weights);
        upcoming.read(1, &mut cursor, || false);
        assert_eq!(cursor.done, 0);
        upcoming.read(7, &mut cursor, || false);
        assert_eq!(cursor.done, 0);
    }
}
