//! A server in this process and a client of few words: what tests send is what arrives, byte for byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use ocelli::service::{KeepAlive, ModelEntry, Models, ServiceOptions};
use ocelli::{Options, OwnBackend, Source, Witness};
use ocelli_gguf::{Gguf, Writer};
use ocelli_server::Settings;
use serde_json::{Value, json};

/// Where chats in OpenAI's form go.
pub(crate) const CHAT: &str = "/v1/chat/completions";

/// Nothing in these tests may take longer, on however busy a machine.
const LIMIT: Duration = Duration::from_secs(240);

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a server is started with.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) service: ServiceOptions,
    pub(crate) names: Vec<&'static str>,
    pub(crate) keep: KeepAlive,
    pub(crate) sequences: usize,
    pub(crate) image_cache: Option<std::path::PathBuf>,
    pub(crate) backend: Option<OwnBackend>,
    pub(crate) witness: Option<Witness>,
    pub(crate) source: Source,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: Settings {
                port: 0,
                ..Settings::default()
            },
            service: ServiceOptions::default(),
            names: vec!["ocelli-demo"],
            keep: KeepAlive::Forever,
            sequences: 8,
            image_cache: None,
            backend: None,
            witness: None,
            source: Source::Demo,
        }
    }
}

impl Server {
    /// A server of the demo model with safe defaults.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server with settings of its own.
    pub(crate) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        let entry = |name: &&str| ModelEntry {
            name: (*name).to_owned(),
            source: setup.source.clone(),
            options: Options {
                threads: Some(2),
                context: Some(2048),
                sequences: Some(setup.sequences),
                backend: setup.backend.clone(),
                witness: setup.witness.clone(),
                image_cache: setup.image_cache.clone().map(|folder| (folder, 1 << 30)),
                ..Options::default()
            },
        };
        let entries = setup.names.iter().map(entry).collect();
        let models = Models::new(entries, setup.service, setup.keep, Some(1 << 32)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, ready) = std::sync::mpsc::channel();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            let tell = |address| sender.send(address).unwrap();
            ocelli_server::serve(setup.settings, models, &flag, tell).unwrap();
        });
        Self {
            address: ready.recv_timeout(LIMIT).unwrap(),
            stop,
            thread: Some(thread),
        }
    }

    /// A server of the demo model with another template.
    pub(crate) fn with_template(template: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ocelli/models");
        let text = Gguf::open(&models.join("ocelli-demo-text.gguf")).unwrap();
        let mut writer = Writer::new();
        for (key, value) in text.metadata().iter() {
            writer.set(key, value.clone());
        }
        writer.set("tokenizer.chat_template", template);
        for tensor in text.tensors() {
            let data = text.data(tensor).to_vec();
            writer.add_tensor(tensor.name(), tensor.shape(), tensor.ty(), data);
        }
        let path = folder.path().join("text.gguf");
        writer.write_to(&path).unwrap();
        let projector = "ocelli-demo-mmproj.gguf";
        std::fs::copy(models.join(projector), folder.path().join(projector)).unwrap();
        // The file is read before the server says that it listens.
        Self::with(|setup| setup.source = Source::File(path))
    }

    /// Asks the server to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Waits until the server has ended.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends bytes and reads one answer.
    pub(crate) fn send(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server that has seen enough may close before all is written.
        let _ = stream.write_all(request);
        Reply::read(&mut BufReader::new(stream))
    }

    /// Sends a request with headers; a `Host` is put in unless there is one.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        self.send(request(method, path, headers, body).as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "", "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        let kind = "Content-Type: application/json\r\n";
        self.request("POST", path, kind, &body.to_string())
    }

    /// Begins a request and gives its connection.
    pub(crate) fn begin(&self, path: &str, body: &Value) -> TcpStream {
        let mut stream = self.connect();
        let kind = "Content-Type: application/json\r\n";
        let request = request("POST", path, kind, &body.to_string());
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Waits until a number of `/metrics` is this.
    pub(crate) fn wait_for(&self, metric: &str, expected: f64) {
        let begun = Instant::now();
        loop {
            let page = self.get("/metrics").text();
            let line = page.lines().find(|line| line.starts_with(metric));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            if value == Some(expected) {
                return;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "{metric} is {value:?}, not {expected}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A failed test must not fail twice.
            let _ = thread.join();
        }
    }
}

/// A request as it is sent.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let host = match headers.contains("Host:") {
        true => "",
        false => "Host: localhost\r\n",
    };
    let length = match body.is_empty() && method != "POST" {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n{body}")
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Reads an answer to its end.
    pub(crate) fn read(reader: &mut BufReader<TcpStream>) -> Self {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Self {
            status,
            headers,
            body: Vec::new(),
        };
        match (
            reply.header("transfer-encoding"),
            reply.header("content-length"),
        ) {
            (Some("chunked"), _) => reply.body = read_chunks(reader),
            (_, Some(length)) => {
                reply.body = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut reply.body).unwrap();
            }
            _ => {
                reader.read_to_end(&mut reply.body).unwrap();
            }
        }
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    /// The answer of a request that went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The events of a stream: names and data. The last may be `[DONE]`.
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let event = |block: &str| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let data = field("data: ")?;
            let data = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
            Some((field("event: ").unwrap_or_default().to_owned(), data))
        };
        text.split("\n\n").filter_map(event).collect()
    }
}

fn read_chunks(reader: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        if reader.read_exact(&mut chunk).is_err() || size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// The picture of the README.
pub(crate) fn scene() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scene.png");
    base64::engine::general_purpose::STANDARD.encode(std::fs::read(path).unwrap())
}

/// A grey BMP of this side.
pub(crate) fn square(side: u32) -> String {
    // Rows begin at multiples of four bytes.
    let bytes = side * (side * 3).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for value in [54 + bytes, 0, 54, 40, side, side] {
        file.extend(value.to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    for value in [0, bytes, 2835, 2835, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    file.resize(54 + bytes as usize, 128);
    base64::engine::general_purpose::STANDARD.encode(file)
}

/// What `/api/show` says that the demo model, or what stands for it, can do.
pub(crate) fn capabilities(server: &Server) -> Vec<Value> {
    let asked = json!({"model": "ocelli-demo"});
    let shown = server.post("/api/show", &asked).ok();
    shown["capabilities"].as_array().unwrap().clone()
}

/// A chat about that picture, in OpenAI's form.
pub(crate) fn picture_chat(question: &str) -> Value {
    let url = format!("data:image/png;base64,{}", scene());
    json!({"model": "ocelli-demo", "max_tokens": 24, "temperature": 0, "messages": [{"role": "user", "content": [
        {"type": "text", "text": question},
        {"type": "image_url", "image_url": {"url": url}},
    ]}]})
}

/// A short chat without pictures, in OpenAI's form.
pub(crate) fn text_chat(question: &str) -> Value {
    json!({"model": "ocelli-demo", "max_tokens": 8, "temperature": 0,
        "messages": [{"role": "user", "content": question}]})
}

/// The text of the first answer to a chat in OpenAI's form.
pub(crate) fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}
