//! Encoder outputs by content, so that a second question about a picture does not encode it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ocelli_models::ImageFeatures;

use crate::ImageKey;
use crate::keys::Keys;

/// The kept features of an engine, for those who prepare its requests on other threads: a picture
/// whose features are kept need not be decoded.
#[derive(Clone, Debug)]
pub struct KnownPictures {
    pub(crate) features: Arc<Mutex<FeatureCache>>,
    pub(crate) keys: Keys,
}

impl KnownPictures {
    /// The features of a picture of this content, for requests of this salt.
    pub fn features(&self, content: &ImageKey, salt: &[u8; 32]) -> Option<Arc<ImageFeatures>> {
        lock(&self.features).get(&self.keys.image(content, salt))
    }
}

pub(crate) fn lock(features: &Mutex<FeatureCache>) -> MutexGuard<'_, FeatureCache> {
    features.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the most recently used features under a byte budget.
#[derive(Debug)]
pub struct FeatureCache {
    entries: HashMap<ImageKey, Entry>,
    budget: usize,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    features: Arc<ImageFeatures>,
    bytes: usize,
    used: u64,
}

impl FeatureCache {
    /// A cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self {
            entries: HashMap::new(),
            budget,
            bytes: 0,
            clock: 0,
        }
    }

    /// The features of a picture, if they are still there.
    pub fn get(&mut self, key: &ImageKey) -> Option<Arc<ImageFeatures>> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.features))
    }

    /// True when the features of a picture are there.
    pub fn has(&self, key: &ImageKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Keeps a picture's features, dropping the least recently used ones that no longer fit.
    pub fn insert(&mut self, key: ImageKey, features: Arc<ImageFeatures>) {
        let floats = features.rows.len() + features.deepstack.iter().map(Vec::len).sum::<usize>();
        let bytes = floats * size_of::<f32>();
        if bytes > self.budget {
            return;
        }
        self.clock += 1;
        let entry = Entry {
            features,
            bytes,
            used: self.clock,
        };
        self.bytes += bytes;
        if let Some(old) = self.entries.insert(key, entry) {
            self.bytes -= old.bytes;
        }
        while self.bytes > self.budget {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, e)| e.used)
                .map(|(k, _)| *k);
            let Some(entry) = oldest.and_then(|key| self.entries.remove(&key)) else {
                break;
            };
            self.bytes -= entry.bytes;
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_image::Grid;

    fn features(rows: usize) -> Arc<ImageFeatures> {
        Arc::new(ImageFeatures {
            grid: Grid {
                t: 1,
                h: 2,
                w: 2,
                merge: 2,
                tiles: None,
            },
            width: 1,
            rows: vec![0.0; rows],
            deepstack: Vec::new(),
        })
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_budget_holds() {
        let mut cache = FeatureCache::new(80);
        cache.insert([1; 32], features(10));
        cache.insert([2; 32], features(10));
        assert!(cache.get(&[1; 32]).is_some());
        cache.insert([3; 32], features(10));
        assert!(cache.get(&[2; 32]).is_none());
        assert!(cache.get(&[1; 32]).is_some() && cache.get(&[3; 32]).is_some());
        assert_eq!(cache.bytes(), 80);
    }

    #[test]
    fn what_never_fits_is_not_kept_and_what_comes_twice_counts_once() {
        let mut cache = FeatureCache::new(80);
        cache.insert([1; 32], features(21));
        assert_eq!(cache.bytes(), 0);
        cache.insert([1; 32], features(10));
        cache.insert([1; 32], features(10));
        assert_eq!(cache.bytes(), 40);
    }
}
