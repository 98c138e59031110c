//! Encoder outputs on disk: a picture that was seen before a restart is not encoded again.
//!
//! Entries are files of their own, named by key (see `keys.rs`), written beside and moved into place,
//! with a checksum; one that is damaged is a miss. A thread of its own reads and writes, so that the
//! engine never waits for a disk. Several processes can share a folder.

mod entry;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use ocelli_models::ImageFeatures;

use crate::ImageKey;
use crate::keys::{Secret, random_secret};

/// Ending of an entry's name.
const ENDING: &str = "features";
/// Ending of the name of a file that is being written.
const WRITING: &str = "writing";
/// Files of writers that did not finish are removed after this time.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Entries that may wait to be written; more are dropped.
const WAITING: usize = 8;
/// The file that holds the secret of a folder's keys.
const SECRET: &str = "secret";

/// A folder of entries.
#[derive(Debug)]
pub struct ImageCache {
    secret: Secret,
    projector: [u8; 32],
    /// Here until the cache is closed.
    jobs: Option<Sender<Job>>,
    writes: SyncSender<()>,
    found: Receiver<Found>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ImageCache {
    /// Waits until what was kept is written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

enum Job {
    Find(ImageKey),
    Keep(ImageKey, Arc<ImageFeatures>),
}

/// The answer to a lookup.
pub(crate) type Found = (ImageKey, Option<ImageFeatures>);

impl ImageCache {
    /// Opens a folder, made if it is not there, of at most `bytes` of entries. `projector` names the
    /// weights that the features come from: a digest of them.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn open(folder: &Path, bytes: u64, projector: [u8; 32]) -> io::Result<Self> {
        let folder = Folder {
            path: folder.to_owned(),
            budget: bytes,
            number: 0,
        };
        folder.make()?;
        let secret = folder.secret()?;
        folder.clean(SystemTime::now());
        let (sender, jobs) = mpsc::channel();
        let (answers, found) = mpsc::channel();
        let (writes, waiting) = mpsc::sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("ocelli-image-cache".to_owned())
            .spawn(move || work(folder, &jobs, &answers, &waiting))?;
        Ok(Self {
            secret,
            projector,
            jobs: Some(sender),
            writes,
            found,
            thread: Some(thread),
        })
    }

    pub(crate) fn secret(&self) -> Secret {
        self.secret
    }

    pub(crate) fn projector(&self) -> [u8; 32] {
        self.projector
    }

    /// Asks for an entry. False when nobody will answer.
    pub(crate) fn find(&self, key: ImageKey) -> bool {
        self.send(Job::Find(key))
    }

    /// Keeps an entry, unless too many wait already.
    pub(crate) fn keep(&self, key: ImageKey, features: Arc<ImageFeatures>) {
        if self.writes.try_send(()).is_ok() {
            self.send(Job::Keep(key, features));
        }
    }

    fn send(&self, job: Job) -> bool {
        self.jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// The next answer, waiting up to `time` for it.
    pub(crate) fn found(&self, time: Duration) -> Option<Found> {
        self.found.recv_timeout(time).ok()
    }
}

/// The thread: does one job after another until nobody can give it more.
fn work(mut folder: Folder, jobs: &Receiver<Job>, answers: &Sender<Found>, waiting: &Receiver<()>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Find(key) => {
                let found = folder.read(&key);
                // Entries that still wait are written even when nobody listens any more.
                let _ = answers.send((key, found));
            }
            Job::Keep(key, features) => {
                // A cache that cannot be written to is only slow.
                let _ = folder.write(&key, &features);
                let _ = waiting.try_recv();
            }
        }
    }
}

/// The folder as files.
struct Folder {
    path: PathBuf,
    budget: u64,
    number: u64,
}

impl Folder {
    fn make(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path)
    }

    /// The secret of the folder's keys, made at its first use.
    fn secret(&self) -> io::Result<Secret> {
        let path = self.path.join(SECRET);
        let made = random_secret();
        let own = self
            .path
            .join(format!("{SECRET}.{}.{WRITING}", std::process::id()));
        if !path.exists() {
            let mut file = private(&own)?;
            file.write_all(&made)?;
            file.sync_all()?;
            // Of several processes that begin at once, the first one's secret stays.
            let linked = fs::hard_link(&own, &path);
            fs::remove_file(&own)?;
            if let Err(error) = linked
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(error);
            }
        }
        let bytes = fs::read(&path)?;
        bytes.try_into().map_err(|bytes: Vec<u8>| {
            let what = format!(
                "{}: found {} bytes, need 32. Remove the file to begin anew",
                path.display(),
                bytes.len()
            );
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }

    fn place(&self, key: &ImageKey) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path.join(format!("{name}.{ENDING}"))
    }

    fn read(&self, key: &ImageKey) -> Option<ImageFeatures> {
        let path = self.place(key);
        let file = File::open(&path).ok()?;
        if file.metadata().ok()?.len() > self.budget {
            return None;
        }
        let features = entry::decode(key, &fs::read(&path).ok()?);
        match &features {
            // The last use decides what goes first.
            Some(_) => drop(file.set_modified(SystemTime::now())),
            None => drop(fs::remove_file(&path)),
        }
        features
    }

    fn write(&mut self, key: &ImageKey, features: &ImageFeatures) -> io::Result<()> {
        let place = self.place(key);
        let size = entry::size(features) as u64;
        if place.exists() || size > self.budget {
            return Ok(());
        }
        let Some(bytes) = entry::encode(key, features) else {
            return Ok(());
        };
        self.make_room(self.budget - size);
        self.number += 1;
        let name = format!("{}.{}.{WRITING}", std::process::id(), self.number);
        let own = self.path.join(name);
        let written = private(&own)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&own, &place));
        if written.is_err() {
            let _ = fs::remove_file(&own);
        }
        written
    }

    /// Removes the entries that were used longest ago until the others have at most `bytes`.
    fn make_room(&self, bytes: u64) {
        let mut entries = self.files(ENDING);
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in entries {
            if total <= bytes {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                total -= size;
            }
        }
    }

    /// Removes what writers left that did not finish.
    fn clean(&self, now: SystemTime) {
        for (modified, _, path) in self.files(WRITING) {
            let age = now.duration_since(modified).unwrap_or_default();
            if age > ABANDONED {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Files with this ending: last use, bytes, path.
    fn files(&self, ending: &str) -> Vec<(SystemTime, u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return Vec::new();
        };
        let describe = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let is_wanted = path.extension().is_some_and(|e| e == ending);
            let metadata = is_wanted.then(|| fs::symlink_metadata(&path).ok())??;
            let modified = metadata.modified().ok()?;
            metadata
                .is_file()
                .then_some((modified, metadata.len(), path))
        };
        entries.filter_map(describe).collect()
    }
}

/// A new file that only its owner can read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests;
