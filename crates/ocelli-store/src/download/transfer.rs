//! Brings one file whole: resumes where the connection broke, starts over when what is there cannot
//! be trusted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::http::{Client, Failed, Host, Method, Reply};
use super::hub::{HTML, Remote, as_etag, is_html, require_ok};
use super::pull::Progress;
use super::volume::Volume;
use super::watch::Watch;
use crate::Error;

/// Tries count anew once so much has arrived: a long file may break off often.
const PROGRESS_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// Magic of a model file.
const MAGIC: &[u8] = b"GGUF";

/// How a transfer ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All bytes are on disk, with the right hash where one is known.
    Whole,
    /// The server has another file now.
    Changed,
}

/// Brings a file to `path`, where the beginning of it may be already.
///
/// # Errors
/// As [`crate::pull`].
pub(super) fn transfer(
    client: &Client,
    volume: &dyn Volume,
    remote: &Remote,
    path: &Path,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Error> {
    let mut transfer = Transfer::open(client, volume, remote, path)?;
    let outcome = transfer.run(watch)?;
    if outcome == Outcome::Whole {
        let synced = transfer.file.sync_all();
        synced.map_err(|error| transfer.disk("write", error))?;
    }
    Ok(outcome)
}

struct Transfer<'a> {
    client: &'a Client,
    volume: &'a dyn Volume,
    remote: &'a Remote,
    path: &'a Path,
    file: File,
    /// Of the first `at` bytes.
    hash: Sha256,
    at: u64,
    /// True when the bytes came in more than one piece.
    is_pieced: bool,
    /// What another host than the hub calls these bytes.
    validator: Option<(Host, String)>,
}

/// Why one try ended before the file was whole.
enum Broken {
    Failed(Failed),
    Changed,
}

impl From<Failed> for Broken {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(Failed::ForGood(error))
    }
}

impl<'a> Transfer<'a> {
    fn open(
        client: &'a Client,
        volume: &'a dyn Volume,
        remote: &'a Remote,
        path: &'a Path,
    ) -> Result<Self, Error> {
        let io = |source| disk_error(volume, path, "create", remote.size, source);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(io)?;
        let mut transfer = Self {
            client,
            volume,
            remote,
            path,
            file,
            hash: Sha256::new(),
            at: 0,
            is_pieced: false,
            validator: None,
        };
        let there = transfer.file.metadata().map_err(io)?.len();
        if there > remote.size {
            transfer.restart()?;
        } else if there > 0 {
            transfer.hash_what_is_there().map_err(io)?;
            transfer.is_pieced = true;
        }
        Ok(transfer)
    }

    fn hash_what_is_there(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..count]);
            self.at += count as u64;
        }
    }

    fn run(&mut self, watch: &mut Watch<'_>) -> Result<Outcome, Error> {
        let mut tries = 0;
        let mut is_second_chance = false;
        loop {
            if self.at == self.remote.size {
                let Err(error) = self.check() else {
                    return Ok(Outcome::Whole);
                };
                let was_pieced = self.is_pieced;
                self.restart()?;
                // A piece of an earlier run may be bad, for a crash can lose bytes. A file in one
                // piece is what the server has.
                if !was_pieced || std::mem::replace(&mut is_second_chance, true) {
                    return Err(error);
                }
            }
            let before = self.at;
            match self.attempt(watch) {
                Ok(()) => {}
                Err(Broken::Changed) => return Ok(Outcome::Changed),
                Err(Broken::Failed(failed)) => {
                    self.is_pieced |= self.at > 0;
                    if self.at >= before.saturating_add(PROGRESS_BYTES) {
                        tries = 0;
                    }
                    tries += 1;
                    watch.wait(&self.remote.url, tries, failed)?;
                }
            }
        }
    }

    /// One request; `Ok` when the file is whole after it.
    fn attempt(&mut self, watch: &mut Watch<'_>) -> Result<(), Broken> {
        let at = self.at;
        let (etag, validator) = (&self.remote.etag, &self.validator);
        let reply = self
            .client
            .ask(Method::Get, &self.remote.url, &|host, is_home| {
                if at == 0 {
                    return Vec::new();
                }
                let known = match validator {
                    _ if is_home => Some(format!("\"{etag}\"")),
                    Some((from, validator)) if from == host => Some(validator.clone()),
                    _ => None,
                };
                let range = ("range", format!("bytes={at}-"));
                let condition = known.map(|validator| ("if-range", validator));
                std::iter::once(range).chain(condition).collect()
            })?;
        let reply = require_ok(reply, &self.remote.url)?;
        self.check_head(&reply)?;
        self.receive(reply, watch)
    }

    /// Looks at status and headers; starts over where the server does.
    fn check_head(&mut self, reply: &Reply) -> Result<(), Broken> {
        let etag = reply.header("etag").map(str::to_owned);
        if reply.is_home {
            let named = reply.header("x-linked-etag").or(etag.as_deref());
            if named
                .and_then(as_etag)
                .is_some_and(|etag| etag != self.remote.etag)
            {
                return Err(Broken::Changed);
            }
        } else if let Some(etag) = etag.filter(|etag| etag.starts_with('"')) {
            let now = (reply.host.clone(), etag);
            let is_other = self.validator.as_ref().is_some_and(|before| *before != now);
            self.validator = Some(now);
            if is_other && reply.status == 206 {
                self.restart()?;
                return Err(Failed::for_now("the server has other bytes now").into());
            }
        }
        match reply.status {
            200 => {
                if self.at > 0 {
                    self.restart()?;
                }
                let length = reply
                    .header("content-length")
                    .and_then(|text| text.parse().ok());
                let is_other = length.is_some_and(|length: u64| length != self.remote.size);
                if is_other && !reply.is_html() && reply.is_home {
                    return Err(Broken::Changed);
                }
                Ok(())
            }
            206 => {
                let range = reply.header("content-range").and_then(content_range);
                let (start, total) = range.unwrap_or((u64::MAX, None));
                if total.is_some_and(|total| total != self.remote.size) {
                    return Err(Broken::Changed);
                }
                if start != self.at {
                    self.restart()?;
                    return Err(Failed::for_now("another range than was asked for").into());
                }
                Ok(())
            }
            _ => {
                self.restart()?;
                Err(Failed::for_now("the range was refused").into())
            }
        }
    }

    /// Writes the body.
    fn receive(&mut self, reply: Reply, watch: &mut Watch<'_>) -> Result<(), Broken> {
        let is_html = reply.is_html();
        let mut body = reply.body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let mut count = 0;
            // The first bytes say what it is, however small the pieces are that they come in.
            let least = if self.at == 0 { MAGIC.len() } else { 1 };
            let mut error = None;
            while count < least {
                match body.read(&mut buffer[count..]) {
                    Ok(0) => break,
                    Ok(more) => count += more,
                    Err(failed) => {
                        error = Some(failed);
                        break;
                    }
                }
            }
            let bytes = &buffer[..count];
            if self.at == 0 && count >= least {
                self.check_beginning(bytes, is_html)?;
            }
            let left = self.remote.size - self.at;
            if count as u64 > left {
                self.restart()?;
                let why = format!("more than the {} bytes of the file", self.remote.size);
                return Err(Failed::for_now(why).into());
            }
            if self.at > 0 || count >= least {
                self.write(bytes)?;
                watch.tell(Progress::Bytes {
                    file: &self.remote.path,
                    done: self.at,
                    total: self.remote.size,
                })?;
            }
            if let Some(error) = error {
                return Err(Failed::for_now(error).into());
            }
            if count < least {
                break;
            }
        }
        if self.at == self.remote.size {
            return Ok(());
        }
        let why = format!("broke off at {} of {} bytes", self.at, self.remote.size);
        Err(Failed::for_now(why).into())
    }

    fn check_beginning(&self, bytes: &[u8], says_html: bool) -> Result<(), Error> {
        let is_model = self.remote.path.to_ascii_lowercase().ends_with(".gguf");
        if !is_model || bytes.starts_with(MAGIC) {
            return Ok(());
        }
        let found = if says_html || is_html(bytes) {
            HTML.to_owned()
        } else if bytes.starts_with(b"vers") {
            "a Git LFS pointer".to_owned()
        } else {
            format!("bytes {:02x?}", &bytes[..bytes.len().min(4)])
        };
        Err(Error::WrongContent {
            what: self.remote.path.clone(),
            found,
            need: "a GGUF model".to_owned(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.volume.write(&mut self.file, bytes);
        written.map_err(|error| self.disk("write", error))?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there.
    fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0);
        let at_start = emptied.and_then(|()| self.file.seek(SeekFrom::Start(0)));
        at_start.map_err(|error| self.disk("write", error))?;
        (self.hash, self.at, self.is_pieced) = (Sha256::new(), 0, false);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let digest = self.hash.clone().finalize();
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.remote.sha256 {
            Some(need) if *need != found => Err(Error::Checksum {
                file: self.remote.path.clone(),
                found,
                need: need.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn disk(&self, action: &'static str, error: io::Error) -> Error {
        let need = self.remote.size - self.at;
        disk_error(self.volume, self.path, action, need, error)
    }
}

/// Tells a full disk from other troubles. `need` is what is still to be written.
pub(super) fn disk_error(
    volume: &dyn Volume,
    path: &Path,
    action: &'static str,
    need: u64,
    source: io::Error,
) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    if !matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return Error::Path {
            action,
            path: path.to_owned(),
            source,
        };
    }
    let folder = path.parent().unwrap_or(path).to_owned();
    Error::NoSpace {
        have: volume.available(&folder).unwrap_or_default(),
        path: folder,
        need,
    }
}

/// Start and total of `bytes 5-9/10`.
fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_without_a_total_still_says_where_it_starts() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("5-9/10"), None);
    }
}
