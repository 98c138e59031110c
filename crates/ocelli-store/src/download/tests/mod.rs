//! Downloads from a hub that makes every mistake, to a disk that does too.

mod disk;
mod faults;
pub(super) mod server;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::pull::Progress;
use super::{Hub, Patience, Pulled, pull};
use crate::Error;
use server::{COMMIT, Files, REPO, Server, sha256};

const TEXT: &str = "eye-Q4_K_M.gguf";
const PROJECTOR: &str = "mmproj-eye-F16.gguf";

/// A fresh folder for a cache, which goes away with the test.
struct Cache(PathBuf);

impl Cache {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ocelli-pull-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn repository(&self) -> PathBuf {
        self.0.join("models--u--eye-GGUF")
    }

    fn blob(&self, bytes: &[u8]) -> PathBuf {
        self.repository().join("blobs").join(sha256(bytes))
    }

    fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        self.blob(bytes).with_extension("incomplete")
    }

    /// Puts the beginning of a file there, as a killed download leaves it.
    fn begin(&self, bytes: &[u8], begun: &[u8]) {
        std::fs::create_dir_all(self.repository().join("blobs")).expect("a folder");
        std::fs::write(self.incomplete(bytes), begun).expect("written");
    }

    /// Every file with its final name holds what its name says.
    fn assert_no_wrong_blob(&self) {
        let Ok(blobs) = std::fs::read_dir(self.repository().join("blobs")) else {
            return;
        };
        for entry in blobs {
            let path = entry.expect("an entry").path();
            if path.extension().is_none() {
                let bytes = std::fs::read(&path).expect("read");
                assert!(path.ends_with(sha256(&bytes)), "{}", path.display());
            }
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that begin as a model does and repeat nowhere.
fn model(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let mut model = b"GGUF".to_vec();
    model.extend((4..bytes).map(|_| next()));
    model
}

/// A repository with one text model and one projector.
fn files() -> Files {
    let file = |name: &str, bytes| (name.to_owned(), bytes);
    [
        file(TEXT, model(1, 300_000)),
        file(PROJECTOR, model(2, 50_000)),
        file("README.md", b"# Eye".to_vec()),
    ]
    .into()
}

fn hub(server: &Server) -> Hub {
    Hub {
        endpoint: server.url.clone(),
        patience: Patience {
            stall: Duration::from_millis(400),
            first_wait: Duration::from_millis(1),
            tries: 4,
        },
        ..Hub::default()
    }
}

fn quiet(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn pull_from(server: &Server, cache: &Cache) -> Result<Pulled, Error> {
    let pulled = pull(REPO, &hub(server), &cache.0, &mut quiet);
    cache.assert_no_wrong_blob();
    pulled
}

fn assert_holds(path: &Path, bytes: &[u8]) {
    assert!(
        std::fs::read(path).expect("read") == bytes,
        "{}",
        path.display()
    );
}

#[test]
fn a_model_and_its_projector_arrive_in_the_hubs_layout() {
    let (server, cache) = (Server::good(files()), Cache::new());
    let pulled = pull_from(&server, &cache).expect("pulled");
    let snapshot = cache.repository().join("snapshots").join(COMMIT);
    assert_eq!(pulled.text, snapshot.join(TEXT));
    assert_eq!(pulled.projector, Some(snapshot.join(PROJECTOR)));
    assert_eq!(pulled.fetched, 350_000);
    for name in [TEXT, PROJECTOR] {
        let bytes = &files()[name];
        assert_holds(&snapshot.join(name), bytes);
        assert_holds(&cache.blob(bytes), bytes);
        assert!(!cache.incomplete(bytes).exists());
        #[cfg(unix)]
        assert_eq!(
            std::fs::read_link(snapshot.join(name)).expect("a link"),
            PathBuf::from(format!("../../blobs/{}", sha256(bytes)))
        );
    }
    let main = std::fs::read_to_string(cache.repository().join("refs/main"));
    assert_eq!(main.expect("refs/main"), COMMIT);
    assert!(server.gets_of("README.md").is_empty());
}

#[test]
fn what_is_there_is_not_downloaded_again() {
    let (server, cache) = (Server::good(files()), Cache::new());
    pull_from(&server, &cache).expect("pulled");
    let again = pull_from(&server, &cache).expect("pulled");
    assert_eq!((again.fetched, again.files.len()), (0, 2));
    assert_eq!(server.gets_of(TEXT).len(), 1);
}

#[test]
fn a_quantisation_is_asked_for_by_name_and_all_parts_come() {
    let mut files = files();
    for part in [
        "Q8/eye-Q8_0-00001-of-00002.gguf",
        "Q8/eye-Q8_0-00002-of-00002.gguf",
    ] {
        files.insert(
            part.to_owned(),
            model(part.len() as u32 + u32::from(part.as_bytes()[17]), 999),
        );
    }
    let (server, cache) = (Server::good(files), Cache::new());
    let pulled =
        pull("hf.co/u/eye-GGUF:q8_0", &hub(&server), &cache.0, &mut quiet).expect("pulled");
    assert!(pulled.text.ends_with("Q8/eye-Q8_0-00001-of-00002.gguf"));
    assert!(pulled.projector.expect("one").ends_with(PROJECTOR));
    assert_eq!(pulled.files.len(), 3);
    let link = std::fs::read(&pulled.files[1]).expect("a link that leads somewhere");
    assert_eq!(link.len(), 999);
    let error = pull("u/eye-GGUF:Q5_K_M", &hub(&server), &cache.0, &mut quiet).expect_err("none");
    assert_eq!(
        error.to_string(),
        "nothing to download: u/eye-GGUF: found Q4_K_M, Q8_0, need Q5_K_M"
    );
}

#[test]
fn nothing_is_asked_offline_or_for_what_is_no_repository() {
    let (server, cache) = (Server::good(files()), Cache::new());
    let offline = Hub {
        offline: true,
        ..hub(&server)
    };
    let error = pull(REPO, &offline, &cache.0, &mut quiet).expect_err("offline");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    for name in ["", "eye", "../../x", "a/b/c", "a/..", "a/b?c"] {
        let error = pull(name, &hub(&server), &cache.0, &mut quiet).expect_err(name);
        assert!(matches!(error, Error::NoRepository { .. }), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn the_caller_hears_of_progress_and_may_stop() {
    let (server, cache) = (Server::good(files()), Cache::new());
    let mut last = 0;
    let error = pull(
        REPO,
        &hub(&server),
        &cache.0,
        &mut |progress| match progress {
            Progress::Bytes { done, .. } if done > 100_000 => ControlFlow::Break(()),
            Progress::Bytes { done, total, .. } => {
                assert!(done > last && total == 300_000);
                last = done;
                ControlFlow::Continue(())
            }
            Progress::Files {
                files,
                bytes,
                missing,
            } => {
                assert_eq!((files, bytes, missing), (2, 350_000, 350_000));
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        },
    )
    .expect_err("stopped");
    assert!(matches!(error, Error::Stopped), "{error}");
    pull_from(&server, &cache).expect("goes on");
    let range = server.gets_of(TEXT)[1].header("range").map(str::to_owned);
    assert!(range.expect("a range").starts_with("bytes=1"));
}
