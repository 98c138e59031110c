//! A hub on this machine, with every fault that a test orders.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// The repository that every test downloads.
pub(in crate::download) const REPO: &str = "u/eye-GGUF";
pub(in crate::download) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Clone, Debug)]
pub(in crate::download) struct Request {
    pub(in crate::download) method: String,
    pub(in crate::download) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(in crate::download) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// True for a request for the bytes of a file.
    pub(in crate::download) fn is_get_of(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(file)
    }
}

#[derive(Clone, Debug, Default)]
pub(in crate::download) struct Answer {
    pub(in crate::download) status: u16,
    pub(in crate::download) headers: Vec<(String, String)>,
    pub(in crate::download) body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub(in crate::download) cut: Option<usize>,
    /// Nothing is sent for so long where the body is cut.
    pub(in crate::download) stall: Duration,
}

impl Answer {
    pub(in crate::download) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(in crate::download) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(in crate::download) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub(in crate::download) fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

/// The files of the repository, by path.
pub(in crate::download) type Files = BTreeMap<String, Vec<u8>>;
/// What a test orders: an answer in place of the right one, which it gets too, with the count of
/// equal requests before.
pub(in crate::download) type Fault = dyn Fn(&Request, usize, Answer) -> Answer + Send + Sync;

pub(in crate::download) struct Server {
    pub(in crate::download) url: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// A hub with these files that makes no mistakes.
    pub(in crate::download) fn good(files: Files) -> Self {
        Self::new(files, |_, _, answer| answer)
    }

    pub(in crate::download) fn new(
        files: Files,
        fault: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            url: format!("http://{address}"),
            log: Arc::clone(&log),
        };
        let (files, fault): (_, Arc<Fault>) = (Arc::new(files), Arc::new(fault));
        // The thread ends with the process; a test's server costs nothing while nobody asks.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, fault, log) = (files.clone(), fault.clone(), log.clone());
                std::thread::spawn(move || serve(stream, &files, fault.as_ref(), &log));
            }
        });
        server
    }

    /// All requests for the bytes of a file so far.
    pub(in crate::download) fn gets_of(&self, file: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.is_get_of(file));
        requests
    }

    pub(in crate::download) fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("no panic").clone()
    }
}

fn serve(stream: TcpStream, files: &Files, fault: &Fault, log: &Mutex<Vec<Request>>) -> Option<()> {
    let request = read(&stream)?;
    let before = {
        let mut log = log.lock().expect("no panic");
        let is_equal =
            |other: &&Request| (&other.method, &other.path) == (&request.method, &request.path);
        let before = log.iter().filter(is_equal).count();
        log.push(request.clone());
        before
    };
    let answer = fault(&request, before, right_answer(&request, files));
    send(stream, &request, &answer)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Request {
        method,
        path,
        headers,
    })
}

fn send(mut stream: TcpStream, request: &Request, answer: &Answer) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !answer
        .headers
        .iter()
        .any(|(name, _)| name == "content-length")
    {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if request.method == "GET" {
        let end = answer.cut.unwrap_or(answer.body.len());
        stream
            .write_all(&answer.body[..end.min(answer.body.len())])
            .ok()?;
        stream.flush().ok()?;
        std::thread::sleep(answer.stall);
    }
    Some(())
}

/// What a hub without faults says.
fn right_answer(request: &Request, files: &Files) -> Answer {
    if request.path.starts_with(&format!("/api/models/{REPO}/")) {
        let siblings: Vec<_> = files
            .iter()
            .map(|(path, bytes)| {
                serde_json::json!({
                    "rfilename": path,
                    "size": bytes.len(),
                    "lfs": { "sha256": sha256(bytes), "size": bytes.len() },
                })
            })
            .collect();
        let list = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        return Answer::status(200).body(list.to_string().as_bytes());
    }
    let path = request
        .path
        .strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/"));
    match path.and_then(|path| files.get(path)) {
        Some(bytes) => file_answer(request, bytes),
        None => Answer::status(404),
    }
}

/// A file, or the range of it that is asked for.
pub(in crate::download) fn file_answer(request: &Request, bytes: &[u8]) -> Answer {
    let etag = format!("\"{}\"", sha256(bytes));
    let whole = Answer::status(200).with("etag", &etag);
    let condition = request.header("if-range");
    let range = request.header("range").and_then(|range| {
        let start = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        start.parse::<usize>().ok()
    });
    match range {
        Some(start) if condition.is_none_or(|wanted| wanted == etag) => {
            if start >= bytes.len() {
                return Answer::status(416);
            }
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Answer::status(206)
                .with("etag", etag)
                .with("content-range", range)
                .body(&bytes[start..])
        }
        _ if request.method == "HEAD" => whole.with("content-length", bytes.len()),
        _ => whole.body(bytes),
    }
}

pub(in crate::download) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
