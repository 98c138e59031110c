//! A disk that fills up or has no links, and other programs that want the same file.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::server::{Answer, REPO, Server};
use super::{Cache, TEXT, assert_holds, files, hub, pull_from, quiet};
use crate::Error;
use crate::download::cache::Repository;
use crate::download::pull::pull_to;
use crate::download::volume::{Disk, Volume};
use crate::download::watch::Watch;

/// A disk of limited size, or without links.
struct Small {
    left: Cell<usize>,
    /// What it says is free; `None` says nothing.
    said: Option<u64>,
    has_links: bool,
}

impl Volume for Small {
    fn available(&self, _: &Path) -> Option<u64> {
        self.said
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        // As a real disk: what fits is written before it is full.
        let fits = bytes.len().min(self.left.get());
        self.left.set(self.left.get() - fits);
        file.write_all(&bytes[..fits])?;
        match fits == bytes.len() {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::StorageFull)),
        }
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        match self.has_links {
            true => Disk.symlink(target, link),
            false => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        }
    }
}

#[test]
fn a_disk_that_fills_up_is_told_and_the_next_download_goes_on() {
    let all = 350_000;
    for room in [0, 3, all / 2, all * 99 / 100, all, all + 39] {
        let (server, cache) = (Server::good(files()), Cache::new());
        let small = Small {
            left: Cell::new(room),
            said: None,
            has_links: true,
        };
        let error = pull_to(&small, REPO, &hub(&server), &cache.0, &mut quiet);
        let error = error.expect_err("full");
        assert!(matches!(error, Error::NoSpace { .. }), "{room}: {error}");
        cache.assert_no_wrong_blob();
        assert!(!cache.repository().join("refs/main").exists());
        let pulled = pull_from(&server, &cache).expect("there is room again");
        assert_holds(&pulled.text, &files()[TEXT]);
        assert!(server.gets_of(TEXT).len() <= 2);
    }
}

#[test]
fn a_disk_that_is_too_small_is_told_before_the_first_byte() {
    let (server, cache) = (Server::good(files()), Cache::new());
    let small = Small {
        left: Cell::new(usize::MAX),
        said: Some(1000),
        has_links: true,
    };
    let error = pull_to(&small, REPO, &hub(&server), &cache.0, &mut quiet).expect_err("full");
    let Error::NoSpace { need, have, .. } = error else {
        panic!("{error}");
    };
    assert!(need > 350_000 && have == 1000);
    assert!(server.gets_of(".gguf").is_empty());
}

#[test]
fn without_links_the_snapshot_has_the_files_themselves() {
    let (server, cache) = (Server::good(files()), Cache::new());
    let no_links = Small {
        left: Cell::new(usize::MAX),
        said: None,
        has_links: false,
    };
    let pulled = pull_to(&no_links, REPO, &hub(&server), &cache.0, &mut quiet).expect("pulled");
    assert_holds(&pulled.text, &files()[TEXT]);
    let data = std::fs::symlink_metadata(&pulled.text).expect("there");
    assert!(data.is_file());
}

#[test]
fn of_several_downloads_of_one_model_one_writes_and_the_others_wait() {
    let server = Server::new(files(), |request, _, answer| {
        if request.is_get_of(TEXT) {
            std::thread::sleep(Duration::from_millis(200));
        }
        answer
    });
    let cache = Cache::new();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| pull_from(&server, &cache)))
            .collect();
        for pull in pulls {
            let pulled = pull.join().expect("no panic").expect("pulled");
            assert_holds(&pulled.text, &files()[TEXT]);
        }
    });
    assert_eq!(server.gets_of(".gguf").len(), 2);
}

/// Set for the process that holds a lock until it is killed: the cache's folder.
const HOLDER: &str = "OCELLI_TEST_LOCK_HOLDER";

#[test]
fn a_lock_ends_with_its_holder_however_that_ends() {
    let whole = files()[TEXT].clone();
    if let Some(cache) = std::env::var_os(HOLDER) {
        hold(Path::new(&cache), &super::sha256(&whole));
    }
    let (server, cache) = (Server::good(files()), Cache::new());
    let mut holder = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "download::tests::disk::a_lock_ends_with_its_holder_however_that_ends",
        ])
        .env(HOLDER, &cache.0)
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    while !cache.0.join("held").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut is_locked = false;
    let pulled = pull_to(&Disk, REPO, &hub(&server), &cache.0, &mut |progress| {
        if matches!(progress, crate::Progress::Locked { .. }) && !is_locked {
            is_locked = true;
            holder.kill().expect("killed");
        }
        std::ops::ControlFlow::Continue(())
    });
    holder.wait().expect("gone");
    assert_holds(&pulled.expect("pulled").text, &whole);
    assert!(is_locked);
}

/// Takes the lock, says so, and keeps it until this process is killed.
fn hold(cache: &Path, etag: &str) -> ! {
    let mut watch = Watch {
        patience: crate::Patience::default(),
        progress: &mut quiet,
    };
    let lock = Repository::new(cache, REPO).lock(etag, TEXT, &Disk, &mut watch);
    let _lock = lock.expect("locked");
    std::fs::write(cache.join("held"), b"").expect("written");
    std::thread::sleep(Duration::from_secs(60));
    // Nobody killed it: end anyway, and not as a success.
    std::process::exit(1);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let server = Server::new(files(), |_, _, answer: Answer| answer);
    let cache = Cache::new();
    let file = cache.0.join("file");
    std::fs::write(&file, b"").expect("written");
    let error = pull_to(&Disk, REPO, &hub(&server), &file, &mut quiet).expect_err("no folder");
    assert_eq!(error.kind(), crate::ErrorKind::Path, "{error}");
    assert!(error.to_string().contains("file"), "{error}");
}
