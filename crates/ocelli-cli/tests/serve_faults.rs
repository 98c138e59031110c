//! `ocelli serve` where the system fails it: a full disk, no memory, no descriptors, nobody who
//! reads what it says, and a death in the middle of an answer.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{finish, ocelli};

/// Nothing in these tests may take longer, on however busy a machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A server under limits that a shell sets, and its address.
struct Limited {
    child: Child,
    address: String,
}

fn spawn(limits: &str, arguments: &str) -> Child {
    // A write beyond the limit of a file's size is to fail, not to end the process.
    let script = format!(
        "trap '' XFSZ; {limits}; exec '{}' serve --port 0 --threads 2 {arguments}",
        env!("CARGO_BIN_EXE_ocelli")
    );
    Command::new("bash")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Limited {
    fn start(limits: &str, arguments: &str) -> Self {
        let mut child = spawn(limits, arguments);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?}"));
        let address = address.trim_end().to_owned();
        child.stderr = Some(lines.into_inner());
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Begins a request about a grey square of this side.
    fn ask(&self, side: u32, more: &str) -> TcpStream {
        let body = format!(
            r#"{{"max_tokens": 16, "temperature": 0{more}, "messages": [{{"role": "user", "content": [
                {{"type": "text", "text": "What is it?"}},
                {{"type": "image_url", "image_url": {{"url": "data:image/bmp;base64,{}"}}}}]}}]}}"#,
            square(side)
        );
        let mut stream = self.connect();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream
    }

    /// What the model says of a grey square.
    fn answer(&self, side: u32) -> String {
        let mut text = String::new();
        self.ask(side, "").read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let (_, content) = text.split_once(r#""content":""#).unwrap();
        content.split(r#"","#).next().unwrap().to_owned()
    }

    /// Sends SIGTERM.
    fn ask_to_end(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
    }

    fn end(self) {
        self.ask_to_end();
        assert_eq!(finish(self.child).code, Some(0));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A grey BMP of this side, in base64.
fn square(side: u32) -> String {
    let bytes = side * side * 3;
    let mut file = b"BM".to_vec();
    for value in [54 + bytes, 0, 54, 40, side, side] {
        file.extend(value.to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    for value in [0, bytes, 2835, 2835, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    file.resize(54 + bytes as usize, 128);
    base64(&file)
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(*three.get(i).unwrap_or(&0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sign in 0..4 {
            let is_there = sign <= three.len();
            let index = (bits >> (18 - 6 * sign) & 63) as usize;
            text.push(if is_there {
                char::from(SIGNS[index])
            } else {
                '='
            });
        }
    }
    text
}

/// Files in a folder with this ending.
fn files(folder: &Path, ending: &str) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .count()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn caches_that_no_memory_holds_end_with_5_before_anybody_waits() {
    for tokens in ["400000000", "4294967296"] {
        let ran = ocelli(&["serve", "--port", "0", "--cache-tokens", tokens]);
        ran.fails(5, "Lower --cache-tokens");
    }
}

#[test]
fn a_full_disk_costs_the_picture_cache_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cache");
    let cache = format!("--image-cache '{}'", folder.display());
    let plain = Limited::start("true", "");
    let sides = [48, 64, 96, 160];
    let expected: Vec<String> = sides.iter().map(|side| plain.answer(*side)).collect();
    plain.end();
    // Not even the folder's secret can be written: said at the start, with the code for a full disk.
    let refused = finish(spawn("ulimit -f 0", &cache));
    assert_eq!(refused.code, Some(8), "{refused:?}");
    assert!(refused.stderr.contains("cannot write"), "{refused:?}");
    // The secret can be written, and the beginning of an entry.
    let full = Limited::start("ulimit -f 1", &cache);
    for (side, expected) in sides.iter().zip(&expected) {
        assert_eq!(full.answer(*side), *expected, "{side}");
        assert_eq!(full.answer(*side), *expected, "{side} again");
    }
    full.end();
    let left: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert!(
        left.iter()
            .all(|path| std::fs::metadata(path).unwrap().len() <= 1024),
        "{left:?}"
    );
    // With room again everything is kept, without a step by hand.
    let roomy = Limited::start("true", &cache);
    for (side, expected) in sides.iter().zip(&expected) {
        assert_eq!(roomy.answer(*side), *expected, "{side}");
    }
    wait_for("entries are written", || {
        files(&folder, "features") == sides.len()
    });
    roomy.end();
}

#[test]
fn a_server_that_is_killed_leaves_nothing_that_hinders_the_next() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cache");
    let cache = format!("--image-cache '{}'", folder.display());
    let mut expected = None;
    for round in 0..10 {
        let server = Limited::start("true", &cache);
        let answer = server.answer(96);
        assert_eq!(*expected.get_or_insert(answer.clone()), answer, "{round}");
        let more = r#", "stream": true, "max_tokens": 1000, "ignore_eos": true"#;
        let mut stream = server.ask(
            96 + 16 * round,
            &more.replace(r#", "max_tokens": 1000"#, ""),
        );
        // Somewhere between the first byte and the end of the answer, or before either.
        let mut begun = vec![0; 40 * round as usize];
        stream.read_exact(&mut begun).unwrap();
        server.kill();
        let mut rest = Vec::new();
        // A reset is all that its client sees.
        let _ = stream.read_to_end(&mut rest);
    }
}

#[test]
fn a_server_without_memory_says_so_and_is_not_ended_by_the_system() {
    // Below what the first thread takes, between the second and the third, and with almost enough.
    for mebibytes in [40, 64, 98, 110, 128, 164, 212, 242, 290, 310, 350, 400, 490] {
        let limits = format!("ulimit -v {}", mebibytes * 1024);
        let mut child = spawn(&limits, "");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        lines.read_line(&mut line).unwrap();
        if line.starts_with("listening") {
            // It fits after all: then it answers too.
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        child.stderr = Some(lines.into_inner());
        let code = finish(child).code;
        assert_eq!(code, Some(5), "{mebibytes} MiB: {line}");
    }
    let server = Limited::start("true", "");
    server.answer(48);
    server.end();
}

#[test]
fn a_server_out_of_descriptors_goes_on_when_others_close_theirs() {
    let server = Limited::start("ulimit -n 40", "");
    let expected = server.answer(48);
    let many: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(many);
    assert_eq!(server.answer(48), expected);
    server.end();
}

#[test]
fn a_server_that_nobody_listens_to_keeps_answering() {
    let mut server = Limited::start("true", "");
    let expected = server.answer(48);
    drop(server.child.stderr.take());
    drop(server.child.stdout.take());
    assert_eq!(server.answer(48), expected);
    server.ask_to_end();
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_server_that_was_stopped_for_a_while_goes_on() {
    let server = Limited::start("true", "");
    let expected = server.answer(48);
    let id = server.child.id().to_string();
    let send = |signal: &str| {
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    };
    let mut stream = server.ask(64, r#", "stream": true"#);
    send("-STOP");
    std::thread::sleep(Duration::from_secs(2));
    send("-CONT");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("data: [DONE]"), "{text}");
    assert_eq!(server.answer(48), expected);
    server.end();
}
