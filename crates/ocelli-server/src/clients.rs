//! How much each client may have at once, so that one cannot take all places.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what clients have; those that have nothing take no memory.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    counts: Mutex<HashMap<K, usize>>,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a client `count` more, unless it had more than `limit` then.
    pub(crate) fn take(
        self: &Arc<Self>,
        client: K,
        count: usize,
        limit: usize,
    ) -> Option<Share<K>> {
        let mut counts = self.counts();
        let has = counts.get(&client).copied().unwrap_or(0);
        let will_have = has.checked_add(count).filter(|sum| *sum <= limit)?;
        counts.insert(client, will_have);
        drop(counts);
        Some(Share {
            of: self.clone(),
            client,
            count,
        })
    }
}

/// What a client has, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Copy + Eq + Hash> {
    of: Arc<Shares<K>>,
    client: K,
    count: usize,
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(has) = counts.get_mut(&self.client) {
            *has = has.saturating_sub(self.count);
            if *has == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_as_much_as_it_may_have_and_others_get_theirs() {
        let shares = Shares::new();
        let first = shares.take("a", 2, 3).unwrap();
        assert!(shares.take("a", 2, 3).is_none());
        let second = shares.take("a", 1, 3).unwrap();
        assert!(shares.take("a", 1, 3).is_none());
        let other = shares.take("b", 3, 3);
        assert!(other.is_some());
        drop(first);
        assert!(shares.take("a", 2, 3).is_some());
        drop((second, other));
        assert!(shares.counts().is_empty(), "nothing is remembered");
    }
}
