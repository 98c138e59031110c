//! Running the command in tests: with a time limit, and with tiny models and pictures made on the spot.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ocelli_testkit::tiny::{Pair, Sizes, qwen3vl_with};
use tempfile::TempDir;

/// No command of these tests may take longer, on however busy a machine.
const LIMIT: Duration = Duration::from_secs(120);

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts success and gives standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Asserts an exit code, an empty standard output, and one line of error with this in it.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, message: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.starts_with("note: "))
            .collect();
        assert!(
            matches!(lines.as_slice(), [line] if line.starts_with("error: ")),
            "{self:?}"
        );
        assert!(
            self.stderr.contains(message),
            "{message:?} is not in {self:?}"
        );
    }
}

/// The command with nothing of the tester's environment that it listens to.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    command
        .args(arguments)
        .env_remove("OCELLI_MODEL")
        .env_remove("OCELLI_ISA")
        .env("NO_COLOR", "1");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the command without input.
pub(crate) fn ocelli(arguments: &[&str]) -> Ran {
    finish(command(arguments).spawn().unwrap())
}

/// Runs the command with text or bytes on standard input.
pub(crate) fn ocelli_fed(arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The command may end without reading: that is no error of the test.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ran = finish(child);
    feeder.join().unwrap();
    ran
}

/// Waits for a command and collects what it wrote.
pub(crate) fn finish(mut child: Child) -> Ran {
    let collect = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        })
    };
    let stdout = child.stdout.take().map(|out| collect(Box::new(out)));
    let stderr = child.stderr.take().map(|out| collect(Box::new(out)));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("still running after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: Option<std::thread::JoinHandle<String>>| {
        thread.map(|t| t.join().unwrap()).unwrap_or_default()
    };
    Ran {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// A folder of its own for a test.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A tiny model, `text.gguf` and `mmproj.gguf`, changed by `change` before it is written.
    pub(crate) fn model(&self, change: impl FnOnce(&mut Pair)) -> Model {
        let mut pair = qwen3vl_with(7, &Sizes::default());
        change(&mut pair);
        Model {
            text: self.file("text.gguf", pair.text.to_bytes()),
            mmproj: self.file("mmproj.gguf", pair.mmproj.to_bytes()),
        }
    }
}

/// Paths of a pair.
pub(crate) struct Model {
    pub(crate) text: String,
    pub(crate) mmproj: String,
}

impl Model {
    /// `run` with this model and few tokens, and what follows.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ocelli(&self.arguments("run", arguments))
    }

    /// The arguments of a command with this model.
    pub(crate) fn arguments<'a>(&'a self, command: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![command, "-m", &self.text, "--mmproj", &self.mmproj];
        all.extend(arguments);
        all
    }
}

/// A picture of the goldens.
pub(crate) fn picture(name: &str) -> String {
    ocelli_testkit::goldens()
        .join("images")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A bitmap whose header says this size, with as many rows of grey as fit in a few bytes.
pub(crate) fn bitmap(width: u32, height: u32) -> Vec<u8> {
    let row = (width as usize * 3).next_multiple_of(4);
    let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([1, 0, 24, 0]);
    bytes.resize(54, 0);
    bytes.resize(54 + (row * height as usize).min(1 << 20), 128);
    bytes
}
