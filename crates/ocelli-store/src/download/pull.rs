//! From a repository's name to its files in the cache.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::{Repository, existing};
use super::http::Client;
use super::hub::{self, Hub, Listed, Listing, Remote};
use super::transfer::{Outcome, transfer};
use super::volume::{Disk, Volume};
use super::wanted;
use super::watch::Watch;
use crate::model_name::RepoName;
use crate::names::some_of;
use crate::{Error, choose};

/// Left free on the disk besides the files themselves.
const RESERVE_BYTES: u64 = 16 << 20;
/// A file that changes more often than this while it is downloaded is given up.
const CHANGES: usize = 3;

/// What happens during a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// It is known what the model consists of.
    Files {
        /// Number of files.
        files: usize,
        /// Bytes of all files.
        bytes: u64,
        /// Bytes that are still to come.
        missing: u64,
    },
    /// Bytes of a file arrived.
    Bytes {
        /// Its path in the repository.
        file: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// Something failed and will be tried again; told several times a second while waiting.
    Retry {
        /// What happened.
        why: &'a str,
        /// Until the next try.
        left: Duration,
    },
    /// Another program downloads the same file; told several times a second while waiting.
    Locked {
        /// Its path in the repository.
        file: &'a str,
    },
}

/// A model that was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The text model, or the first part of a split one.
    pub text: PathBuf,
    /// The projector, when the repository has one.
    pub projector: Option<PathBuf>,
    /// All files, the parts of a split model among them.
    pub files: Vec<PathBuf>,
    /// Bytes of files that were not there before.
    pub fetched: u64,
}

/// Downloads `user/repo[:quant]` into a Hugging Face cache: the text model (by default `Q4_K_M`,
/// then `Q8_0`, then the first one) and its projector. Files that are there already are not asked
/// for again. `progress` may stop it.
///
/// # Errors
/// [`Error::Offline`], [`Error::NoRepository`], [`Error::NoFile`] before anything is downloaded;
/// [`Error::Network`], [`Error::Refused`], [`Error::WrongContent`], [`Error::Checksum`] for what
/// the server does; [`Error::NoSpace`], [`Error::Path`] for the disk; [`Error::Stopped`].
pub fn pull(
    name: &str,
    hub: &Hub,
    cache: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Pulled, Error> {
    pull_to(&Disk, name, hub, cache, progress)
}

/// [`pull`] to a disk that a test may fill.
pub(super) fn pull_to(
    volume: &dyn Volume,
    name: &str,
    hub: &Hub,
    cache: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Pulled, Error> {
    let asked = RepoName::parse(name).ok_or_else(|| Error::NoRepository {
        name: name
            .chars()
            .take(64)
            .flat_map(char::escape_default)
            .collect(),
    })?;
    if hub.offline {
        return Err(Error::Offline {
            what: name.to_owned(),
        });
    }
    let mut watch = Watch {
        patience: hub.patience,
        progress,
    };
    let pull = Pull {
        volume,
        hub,
        client: &Client::new(hub)?,
        id: &asked.id(),
        repository: &Repository::new(cache, &asked.id()),
    };
    let listing = hub::listing(pull.client, hub, pull.id, &mut watch)?;
    let model = pull.choose(&listing, asked.quant.as_deref())?;
    let mut remotes = Vec::new();
    for file in model.files.iter().copied() {
        let place = (pull.id, listing.commit.as_str(), file);
        remotes.push((file, hub::remote(pull.client, hub, place, &mut watch)?));
    }
    let missing = pull.missing(remotes.iter().map(|(_, remote)| remote));
    watch.tell(Progress::Files {
        files: remotes.len(),
        bytes: remotes.iter().map(|(_, remote)| remote.size).sum(),
        missing,
    })?;
    pull.require_space(cache, missing)?;
    let mut files = Vec::new();
    let mut fetched = 0;
    for (listed, remote) in remotes {
        let is_there = pull.repository.has(&remote.etag, remote.size);
        let remote = pull.fetch(&listing.commit, listed, remote, &mut watch)?;
        fetched += if is_there { 0 } else { remote.size };
        let (path, etag) = (&remote.path, &remote.etag);
        files.push(pull.repository.place(&listing.commit, path, etag, volume)?);
    }
    // Last: until here the current snapshot is the one that was whole before.
    pull.repository.set_main(&listing.commit, volume)?;
    let projector = model.has_projector.then(|| files.last().cloned()).flatten();
    let text = files.first().cloned().unwrap_or_default();
    Ok(Pulled {
        text,
        projector,
        files,
        fetched,
    })
}

/// What one download needs everywhere.
struct Pull<'a> {
    volume: &'a dyn Volume,
    hub: &'a Hub,
    client: &'a Client,
    /// `user/repo`.
    id: &'a str,
    repository: &'a Repository,
}

/// Files of the model: parts of the text model in order, then the projector.
struct Chosen<'a> {
    files: Vec<&'a Listed>,
    has_projector: bool,
}

impl Pull<'_> {
    fn choose<'b>(&self, listing: &'b Listing, quant: Option<&str>) -> Result<Chosen<'b>, Error> {
        let paths: Vec<String> = listing.files.iter().map(|file| file.path.clone()).collect();
        let none = |found: Vec<String>, need: String| Error::NoFile {
            repo: self.id.to_owned(),
            found: match found.is_empty() {
                true => "no GGUF text model".to_owned(),
                false => some_of(found),
            },
            need,
        };
        let Some(text) = choose::texts(&paths, quant).into_iter().next() else {
            let there = choose::texts(&paths, None).into_iter();
            let there = there.map(|path| choose::quant_label(path).unwrap_or(path.to_owned()));
            let need = quant.unwrap_or("one, for example the same model's GGUF repository");
            return Err(none(there.collect(), need.to_owned()));
        };
        let mut paths_wanted = wanted::parts(&paths, text)
            .map_err(|part| none(vec![text.to_owned()], format!("its other part {part}")))?;
        let projector = wanted::projector(&paths, text);
        paths_wanted.extend(projector.map(str::to_owned));
        let listed = |path: &String| listing.files.iter().find(|file| file.path == *path);
        Ok(Chosen {
            files: paths_wanted.iter().filter_map(listed).collect(),
            has_projector: projector.is_some(),
        })
    }

    /// Bytes that are not on disk yet.
    fn missing<'b>(&self, remotes: impl Iterator<Item = &'b Remote>) -> u64 {
        let missing = |remote: &Remote| {
            if self.repository.has(&remote.etag, remote.size) {
                return 0;
            }
            let begun = fs::metadata(self.repository.incomplete(&remote.etag));
            remote.size - begun.map_or(0, |data| data.len()).min(remote.size)
        };
        remotes.map(missing).sum()
    }

    fn require_space(&self, cache: &Path, missing: u64) -> Result<(), Error> {
        let folder = existing(cache);
        let need = match missing {
            0 => 0,
            some => some.saturating_add(RESERVE_BYTES),
        };
        match self.volume.available(folder) {
            Some(have) if have < need => Err(Error::NoSpace {
                path: folder.to_owned(),
                need,
                have,
            }),
            _ => Ok(()),
        }
    }

    /// Brings one file into the cache; what comes back is the file as it is now.
    fn fetch(
        &self,
        commit: &str,
        listed: &Listed,
        mut remote: Remote,
        watch: &mut Watch<'_>,
    ) -> Result<Remote, Error> {
        for _ in 0..CHANGES {
            if self.repository.has(&remote.etag, remote.size) {
                return Ok(remote);
            }
            let lock = self
                .repository
                .lock(&remote.etag, &remote.path, self.volume, watch)?;
            // Who had the lock before may have brought it.
            if self.repository.has(&remote.etag, remote.size) {
                return Ok(remote);
            }
            let path = self.repository.incomplete(&remote.etag);
            match transfer(self.client, self.volume, &remote, &path, watch)? {
                Outcome::Whole => {
                    self.repository.complete(&remote.etag, self.volume)?;
                    return Ok(remote);
                }
                Outcome::Changed => {
                    // Bytes of a file that is no more; if it stays, it is in nobody's way.
                    let _ = fs::remove_file(&path);
                    drop(lock);
                    let place = (self.id, commit, listed);
                    remote = hub::remote(self.client, self.hub, place, watch)?;
                }
            }
        }
        Err(Error::WrongContent {
            what: remote.path,
            found: "another file at each request".to_owned(),
            need: "one".to_owned(),
        })
    }
}
