//! `ocelli pull` against a hub on this machine that breaks off and sends other things than models.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Folder, command, finish};
use sha2::{Digest as _, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TEXT: &str = "eye-Q4_K_M.gguf";
const PROJECTOR: &str = "mmproj-eye-F16.gguf";

/// What the hub does with the bytes of the text model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The first connection ends after so many bytes.
    Breaks(usize),
    /// The first connection sends so many bytes and then nothing, without ending.
    Stalls(usize),
    /// A page to sign in.
    Page,
    /// Other bytes than the list of files promises.
    Wrong,
}

/// A hub with one repository, `me/eye`; it ends with the test.
struct Hub {
    url: String,
    /// The ranges that were asked of the text model.
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

type Files = BTreeMap<&'static str, Vec<u8>>;

impl Hub {
    fn new(files: Files, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (files, log) = (Arc::new(files), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log) = (Arc::clone(&files), Arc::clone(&log));
                std::thread::spawn(move || serve(stream, &files, fault, &log));
            }
        });
        Self { url, asked }
    }

    /// The command with this hub and a cache in `folder`, and nothing else of the tester's.
    fn command(&self, folder: &Folder, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        for name in [
            "HF_HOME",
            "HF_TOKEN",
            "HF_HUB_OFFLINE",
            "HTTPS_PROXY",
            "https_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .env("HF_ENDPOINT", &self.url)
            .env("HF_HUB_CACHE", folder.path("hub"))
            .env("HOME", folder.path("home"));
        command
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }
}

/// Method, path and range of a request.
fn read(stream: &TcpStream) -> (String, String, Option<String>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let range = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("range: ")
            .map(str::to_owned)
    });
    (method, path, range)
}

fn serve(stream: TcpStream, files: &Files, fault: Fault, log: &Mutex<Vec<Option<String>>>) {
    let (method, path, range) = read(&stream);
    let reply = |status: &str, headers: &str, body: &[u8], sent: usize| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n");
        let mut out = &stream;
        let _ = out.write_all(format!("{head}{headers}\r\n").as_bytes());
        if method == "GET" {
            let _ = out.write_all(&body[..sent.min(length)]);
        }
        let _ = out.flush();
    };
    if path.starts_with("/api/models/me/eye/") {
        let list = listing(files);
        return reply("200 OK", "", list.as_bytes(), usize::MAX);
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(bytes) = files.get(name).filter(|_| path.contains(COMMIT)) else {
        return reply("404 Not Found", "", b"no such file", usize::MAX);
    };
    let etag = format!("etag: \"{}\"\r\n", sha256(bytes));
    let is_text = name == TEXT && method == "GET";
    let is_first = log.lock().unwrap().is_empty();
    if is_text {
        log.lock().unwrap().push(range.clone());
    }
    match (is_text, fault) {
        (true, Fault::Page) => {
            let page = b"<!DOCTYPE html><html>Sign in</html>";
            reply("200 OK", "content-type: text/html\r\n", page, usize::MAX);
        }
        (true, Fault::Wrong) => {
            let mut wrong = bytes.clone();
            wrong[100] ^= 1;
            reply("200 OK", &etag, &wrong, usize::MAX);
        }
        (true, Fault::Breaks(count)) if is_first => reply("200 OK", &etag, bytes, count),
        (true, Fault::Stalls(count)) if is_first => {
            reply("200 OK", &etag, bytes, count);
            std::thread::sleep(Duration::from_secs(300));
        }
        _ => match range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()) {
            Some(start) if start < bytes.len() => {
                let (last, all) = (bytes.len() - 1, bytes.len());
                let range = format!("{etag}content-range: bytes {start}-{last}/{all}\r\n");
                reply("206 Partial Content", &range, &bytes[start..], usize::MAX);
            }
            _ => reply("200 OK", &etag, bytes, usize::MAX),
        },
    }
}

fn listing(files: &Files) -> String {
    let one = |(name, bytes): (&&str, &Vec<u8>)| {
        let (size, hash) = (bytes.len(), sha256(bytes));
        format!(
            r#"{{"rfilename":"{name}","size":{size},"lfs":{{"sha256":"{hash}","size":{size}}}}}"#
        )
    };
    let all: Vec<String> = files.iter().map(one).collect();
    format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, all.join(","))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tiny pair that runs.
fn files(folder: &Folder) -> Files {
    let model = folder.model(|_| {});
    let read = |path: &str| std::fs::read(path).unwrap();
    [(TEXT, read(&model.text)), (PROJECTOR, read(&model.mmproj))].into()
}

/// Files that have their final names.
fn blobs(folder: &Folder) -> usize {
    let blobs = folder.path("hub/models--me--eye/blobs");
    let Ok(entries) = std::fs::read_dir(blobs) else {
        return 0;
    };
    let is_whole = |path: &std::path::PathBuf| path.extension().is_none();
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_whole)
        .count()
}

#[test]
fn a_pulled_model_is_printed_listed_and_run_by_its_name() {
    let folder = Folder::new();
    let files = files(&folder);
    let hub = Hub::new(files.clone(), Fault::None);
    let run = |arguments: &[&str]| finish(hub.command(&folder, arguments).spawn().unwrap());
    let printed = run(&["pull", "me/eye"]).ok();
    let paths: Vec<&str> = printed.lines().collect();
    assert_eq!(paths.len(), 2, "{printed}");
    assert_eq!(std::fs::read(paths[0]).unwrap(), files[TEXT]);
    assert_eq!(std::fs::read(paths[1]).unwrap(), files[PROJECTOR]);
    assert!(run(&["list"]).ok().contains("me/eye"));
    run(&["run", "-m", "me/eye:q4_k_m", "-n", "2", "Hi"]).ok();
    // What is there is not downloaded again.
    run(&["pull", "me/eye"]).ok();
    assert_eq!(hub.asked().len(), 1);
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let folder = Folder::new();
    let files = files(&folder);
    let hub = Hub::new(files.clone(), Fault::Breaks(10_000));
    let ran = finish(hub.command(&folder, &["pull", "me/eye"]).spawn().unwrap());
    let printed = ran.ok();
    let text = printed.lines().next().unwrap();
    assert_eq!(std::fs::read(text).unwrap(), files[TEXT]);
    assert_eq!(hub.asked(), [None, Some("bytes=10000-".to_owned())]);
}

#[test]
fn a_killed_pull_goes_on_when_it_is_run_again() {
    let folder = Folder::new();
    let files = files(&folder);
    let hub = Hub::new(files.clone(), Fault::Stalls(20_000));
    let mut first = hub.command(&folder, &["pull", "me/eye"]).spawn().unwrap();
    let hash = sha256(&files[TEXT]);
    let begun = folder.path(&format!("hub/models--me--eye/blobs/{hash}.incomplete"));
    let is_begun = || std::fs::metadata(&begun).is_ok_and(|data| data.len() == 20_000);
    let start = Instant::now();
    while !is_begun() {
        assert_eq!(
            first.try_wait().unwrap(),
            None,
            "ended before it was killed"
        );
        assert!(
            start.elapsed() < Duration::from_secs(100),
            "nothing arrived"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(blobs(&folder), 0);
    let second = finish(hub.command(&folder, &["pull", "me/eye"]).spawn().unwrap());
    let printed = second.ok();
    let text = printed.lines().next().unwrap();
    assert_eq!(std::fs::read(text).unwrap(), files[TEXT]);
    assert_eq!(hub.asked(), [None, Some("bytes=20000-".to_owned())]);
}

#[test]
fn a_page_wrong_bytes_and_a_repository_that_is_not_there_are_errors_of_the_network() {
    for (fault, message) in [(Fault::Page, "web page"), (Fault::Wrong, "SHA-256")] {
        let folder = Folder::new();
        let hub = Hub::new(files(&folder), fault);
        let ran = finish(hub.command(&folder, &["pull", "me/eye"]).spawn().unwrap());
        ran.fails(7, message);
        assert_eq!(blobs(&folder), 0, "{message}");
    }
    let folder = Folder::new();
    let hub = Hub::new(files(&folder), Fault::None);
    let ran = finish(hub.command(&folder, &["pull", "me/none"]).spawn().unwrap());
    ran.fails(7, "me/none");
}
