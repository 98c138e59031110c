//! The hub cache's layout on disk: blobs, snapshots, refs and locks of one repository.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::pull::Progress;
use super::transfer::disk_error;
use super::volume::Volume;
use super::watch::Watch;
use crate::Error;

/// Between two looks at a lock that someone else has.
const LOOK: Duration = Duration::from_millis(100);

/// One repository in the cache.
pub(super) struct Repository {
    /// `models--user--repo`.
    folder: PathBuf,
    locks: PathBuf,
}

/// Held while a blob is written. The system lets go of it when the process ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

impl Repository {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self {
            folder: cache.join(&name),
            // Where other programs of the hub lock the same blobs.
            locks: cache.join(".locks").join(name),
        }
    }

    /// A whole file.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// A file that is not whole yet.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// True when the blob is there and has this size.
    pub(super) fn has(&self, etag: &str, size: u64) -> bool {
        fs::metadata(self.blob(etag)).is_ok_and(|data| data.is_file() && data.len() == size)
    }

    /// Waits until nobody else writes the blob.
    ///
    /// # Errors
    /// When the cache cannot be written, or the caller stops waiting.
    pub(super) fn lock(
        &self,
        etag: &str,
        file: &str,
        volume: &dyn Volume,
        watch: &mut Watch<'_>,
    ) -> Result<Lock, Error> {
        for folder in [self.locks.clone(), self.folder.join("blobs")] {
            create_folder(volume, &folder)?;
        }
        let path = self.locks.join(format!("{etag}.lock"));
        let failed = |source| disk_error(volume, &path, "lock", 0, source);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Lock { _file: lock }),
                Err(TryLockError::WouldBlock) => {
                    watch.tell(Progress::Locked { file })?;
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// Gives a whole file its final name.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub(super) fn complete(&self, etag: &str, volume: &dyn Volume) -> Result<(), Error> {
        let blob = self.blob(etag);
        let renamed = fs::rename(self.incomplete(etag), &blob);
        renamed.map_err(|error| disk_error(volume, &blob, "create", 0, error))?;
        sync_folder(&self.folder.join("blobs"));
        Ok(())
    }

    /// Puts a blob at its path in a snapshot: a relative link, or a copy where there are no links.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub(super) fn place(
        &self,
        commit: &str,
        path: &str,
        etag: &str,
        volume: &dyn Volume,
    ) -> Result<PathBuf, Error> {
        let mut placed = self.folder.join("snapshots").join(commit);
        placed.extend(path.split('/'));
        let blob = self.blob(etag);
        let is_placed = match (placed.canonicalize(), blob.canonicalize()) {
            (Ok(placed), Ok(blob)) => placed == blob,
            _ => false,
        };
        if is_placed {
            return Ok(placed);
        }
        let folder = placed.parent().unwrap_or(&self.folder);
        create_folder(volume, folder)?;
        let above = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(format!("{above}blobs/{etag}"));
        let fresh = folder.join(fresh_name(etag));
        let linked = volume
            .symlink(&target, &fresh)
            .or_else(|_| fs::hard_link(&blob, &fresh))
            .or_else(|_| copy(&blob, &fresh));
        let done = linked.and_then(|()| fs::rename(&fresh, &placed));
        done.map_err(|error| {
            // Best effort: the error that is told is the first one.
            let _ = fs::remove_file(&fresh);
            let size = fs::metadata(&blob).map_or(0, |data| data.len());
            disk_error(volume, &placed, "create", size, error)
        })?;
        sync_folder(folder);
        Ok(placed)
    }

    /// Makes a commit the current one.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub(super) fn set_main(&self, commit: &str, volume: &dyn Volume) -> Result<(), Error> {
        let refs = self.folder.join("refs");
        create_folder(volume, &refs)?;
        let (main, fresh) = (refs.join("main"), refs.join(fresh_name("main")));
        if fs::read_to_string(&main).is_ok_and(|text| text.trim() == commit) {
            return Ok(());
        }
        let written = File::create(&fresh).and_then(|mut file| {
            volume.write(&mut file, commit.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &main)
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&fresh);
            disk_error(volume, &main, "write", commit.len() as u64, error)
        })?;
        sync_folder(&refs);
        Ok(())
    }
}

/// A name that nobody else writes to: not another process, not another thread of this one.
fn fresh_name(what: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".{what}.{}-{number}.part", std::process::id())
}

/// The folder, or the nearest one above it, that exists.
pub(super) fn existing(folder: &Path) -> &Path {
    let mut folders = folder.ancestors();
    folders
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("."))
}

fn create_folder(volume: &dyn Volume, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error| disk_error(volume, folder, "create", 0, error))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Makes a rename outlast a power cut. Not all systems can; then it lasts a little later.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
