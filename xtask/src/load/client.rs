//! A client of few words: one request on a connection of its own, every byte of the answer, and when it came.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than any answer may take.
const LIMIT: Duration = Duration::from_secs(600);

/// What came of a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) has_retry_after: bool,
    /// The text of the stream.
    pub(super) text: String,
    /// From sending to the first text.
    pub(super) first: Duration,
    /// Pauses between two pieces of text.
    pub(super) gaps: Vec<Duration>,
    /// Tokens of the answer, as the server counts them, else pieces of text.
    pub(super) tokens: u64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nobody listens.
    NoConnection,
    /// The connection ended without a byte.
    NoAnswer,
    /// The answer broke off.
    Cut,
}

/// How long a client listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// To the end.
    Whole,
    /// It leaves after this long.
    Leaves(Duration),
    /// It reads a few bytes now and then.
    Slow,
}

/// Connects, sends, and listens.
pub(super) fn ask(
    address: SocketAddr,
    body: &Value,
    patience: Patience,
) -> Result<Answer, Missing> {
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    send(address, &[head.as_bytes(), body.as_bytes()], patience)
}

/// As [`ask`], with bytes as they are.
pub(super) fn send(
    address: SocketAddr,
    parts: &[&[u8]],
    patience: Patience,
) -> Result<Answer, Missing> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).map_err(|_| Missing::NoConnection)?;
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(LIMIT));
    for part in parts {
        if stream.write_all(part).is_err() {
            break;
        }
    }
    if let Patience::Leaves(after) = patience {
        let _ = stream.set_read_timeout(Some(after.max(Duration::from_millis(1))));
    }
    let mut received = Received::new(start);
    let mut buffer = vec![0; 16 << 10];
    let most = if matches!(patience, Patience::Slow) {
        64
    } else {
        buffer.len()
    };
    loop {
        match stream.read(&mut buffer[..most]) {
            Ok(0) | Err(_) => break,
            Ok(count) => received.take(&buffer[..count]),
        }
        match patience {
            Patience::Leaves(after) if start.elapsed() >= after => break,
            Patience::Slow => std::thread::sleep(Duration::from_millis(50)),
            _ => {}
        }
    }
    received.finish()
}

/// What has come so far.
struct Received {
    start: Instant,
    bytes: Vec<u8>,
    first: Option<Duration>,
    last: Instant,
    gaps: Vec<Duration>,
}

impl Received {
    fn new(start: Instant) -> Self {
        Self {
            start,
            bytes: Vec::new(),
            first: None,
            last: start,
            gaps: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        // The first event has an empty text at some servers.
        let mut windows = bytes.windows(11);
        let has_text = windows.any(|w| w.starts_with(b"content\":\"") && w[10] != b'"');
        match (has_text, self.first) {
            (true, None) => self.first = Some(now - self.start),
            (true, Some(_)) => self.gaps.push(now - self.last),
            (false, _) => {}
        }
        if has_text {
            self.last = now;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn finish(self) -> Result<Answer, Missing> {
        let total = self.start.elapsed();
        if self.bytes.is_empty() {
            return Err(Missing::NoAnswer);
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or(Missing::Cut)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or(Missing::Cut)?;
        let is_chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let is_whole = match is_chunked {
            true => body.ends_with("0\r\n\r\n") && (status != 200 || body.contains("data: [DONE]")),
            false => true,
        };
        if !is_whole {
            return Err(Missing::Cut);
        }
        Ok(Answer {
            status,
            has_retry_after: head.to_ascii_lowercase().contains("retry-after:"),
            text: said(body),
            first: self.first.unwrap_or(total),
            tokens: counted(body).unwrap_or(1 + self.gaps.len() as u64),
            gaps: self.gaps,
        })
    }
}

/// Tokens of the answer that the last event with a usage counts.
fn counted(body: &str) -> Option<u64> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut counts = data.filter_map(|data| {
        let value: Value = serde_json::from_str(data).ok()?;
        value["usage"]["completion_tokens"].as_u64()
    });
    counts.next_back()
}

/// The text of a stream's events. Chunks of the transfer end with events, since each is one frame.
fn said(body: &str) -> String {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let text = |data: &str| {
        let value: Value = serde_json::from_str(data).ok()?;
        Some(value["choices"][0]["delta"]["content"].as_str()?.to_owned())
    };
    data.filter_map(text).collect()
}
