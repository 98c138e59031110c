//! Pictures that were prepared before: a file that comes again need not be decoded while the
//! encoder's output is kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocelli_engine::{ImageKey, KnownPictures, Picture};
use ocelli_image::{Budget, Grid, ImageRecord};
use sha2::{Digest as _, Sha256};

/// Files that are remembered; those that were not seen for longest go first.
const FILES: usize = 4096;

/// What a file gave.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its content: pixels and the size at which they are seen.
    key: ImageKey,
    grid: Grid,
    record: ImageRecord,
    used: u64,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<[u8; 32], Entry>,
    clock: u64,
}

/// What all files of one model gave.
#[derive(Debug)]
pub(crate) struct Files {
    known: KnownPictures,
    entries: Mutex<Entries>,
}

impl Files {
    pub(crate) fn new(known: KnownPictures) -> Self {
        Self {
            known,
            entries: Mutex::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that requests of one salt may know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recognised<'a> {
    pub(crate) files: &'a Files,
    /// Requests of another salt gave other files: how long an answer takes tells nobody what others sent.
    pub(crate) salt: &'a [u8; 32],
}

impl Recognised<'_> {
    /// What a file is remembered by: its bytes, the size at which it is to be seen, and whose it is.
    pub(crate) fn name(&self, bytes: &[u8], budget: &Budget) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"ocelli picture file 1");
        hasher.update(self.salt);
        hasher.update(budget.factor.to_le_bytes());
        hasher.update(budget.min_pixels.to_le_bytes());
        hasher.update(budget.max_pixels.to_le_bytes());
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
        hasher.finalize().into()
    }

    /// The picture of a file, if its features are still there.
    pub(crate) fn find(&self, name: &[u8; 32]) -> Option<(Picture, ImageRecord)> {
        let mut entries = self.files.entries();
        entries.clock += 1;
        let clock = entries.clock;
        let entry = entries.by_name.get_mut(name)?;
        entry.used = clock;
        let Entry {
            key, grid, record, ..
        } = *entry;
        drop(entries);
        let features = self.files.known.features(&key, self.salt)?;
        Some((Picture::known(grid, key, features), record))
    }

    /// Remembers what a file gave.
    pub(crate) fn keep(&self, name: [u8; 32], picture: &Picture, record: ImageRecord) {
        let mut entries = self.files.entries();
        entries.clock += 1;
        let entry = Entry {
            key: picture.key,
            grid: picture.patches.grid,
            record,
            used: entries.clock,
        };
        entries.by_name.insert(name, entry);
        if entries.by_name.len() > FILES {
            let oldest = entries.by_name.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(name) = oldest.map(|(name, _)| *name) {
                entries.by_name.remove(&name);
            }
        }
    }
}
