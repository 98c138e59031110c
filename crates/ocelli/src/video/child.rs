//! A program whose output is read under a time limit. It is ended when it is silent for too long or no longer
//! wanted.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::{Ffmpeg, Wrong};
use crate::ErrorKind;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;

/// So many chunks are read before they are wanted.
const CHUNKS_AHEAD: usize = 4;

/// Most bytes of complaints that are kept: the last ones say most.
const SAID: usize = 4 << 10;

/// A running program.
pub(super) struct Running {
    program: &'static str,
    timeout: Duration,
    child: Child,
    output: Receiver<io::Result<Vec<u8>>>,
    said: Receiver<String>,
}

impl Running {
    /// Starts `ffmpeg` or `ffprobe`.
    pub(super) fn start(
        ffmpeg: &Ffmpeg,
        program: &'static str,
        arguments: &[OsString],
    ) -> Result<Self, Wrong> {
        let path = match &ffmpeg.folder {
            Some(folder) => folder.join(program),
            None => program.into(),
        };
        let started = Command::new(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Wrong::path(format_args!(
                "{} is not there, need ffmpeg and ffprobe for this kind of file. Install FFmpeg, or give frames with --frames",
                path.display()
            )),
            _ => Wrong::path(format_args!("cannot start {}: {error}", path.display())),
        })?;
        let (output, from_child) = mpsc::sync_channel(CHUNKS_AHEAD);
        let (complaints, said) = mpsc::channel();
        let pipes = (child.stdout.take(), child.stderr.take());
        let running = Self {
            program,
            timeout: ffmpeg.timeout,
            child,
            output: from_child,
            said,
        };
        // Their ends are seen as those of what they send to. They are not joined: a child of the
        // program may hold a pipe open after its end.
        let reading = on_thread(move || send_all(pipes.0, &output));
        let listening = on_thread(move || {
            // Nobody listens when nobody wants to know.
            let _ = complaints.send(last_words(pipes.1));
        });
        match reading.and(listening) {
            Ok(()) => Ok(running),
            Err(error) => Err(Wrong::path(format_args!(
                "cannot read what {program} says: {error}"
            ))),
        }
    }

    /// The next bytes of its output; none at the end.
    pub(super) fn read(&mut self) -> Result<Option<Vec<u8>>, Wrong> {
        match self.output.recv_timeout(self.timeout) {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(error)) => Err(Wrong::bad(format_args!(
                "output of {}: {error}",
                self.program
            ))),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(self.silent()),
        }
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> Result<(), Wrong> {
        let end = Instant::now() + self.timeout;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() >= end => return Err(self.silent()),
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Err(error) => {
                    let what = format!("{}: {error}", self.program);
                    let kind = ErrorKind::Internal;
                    return Err(Wrong { what, kind });
                }
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = self.said.recv_timeout(Duration::from_secs(1));
        let said = said.unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        let last: String = last
            .unwrap_or("it did not say why")
            .trim()
            .chars()
            .take(300)
            .collect();
        Err(Wrong::bad(format_args!(
            "{} failed ({status}): {last}",
            self.program
        )))
    }

    fn silent(&self) -> Wrong {
        Wrong::bad(format_args!(
            "{} gave nothing for {} seconds and was ended. The file may be damaged; --ffmpeg-timeout allows more",
            self.program,
            self.timeout.as_secs_f64()
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

/// Sends what comes until it ends, fails, or nobody wants it.
fn send_all(from: Option<impl Read>, to: &SyncSender<io::Result<Vec<u8>>>) {
    let Some(mut from) = from else { return };
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                Ok(chunk)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = read.is_err();
        if to.send(read).is_err() || is_last {
            return;
        }
    }
}

/// The end of what the program complains of, once it has ended.
fn last_words(from: Option<impl Read>) -> String {
    let Some(mut from) = from else {
        return String::new();
    };
    let mut said = Vec::new();
    let mut chunk = [0; SAID];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        let excess = said.len().saturating_sub(SAID);
        said.drain(..excess);
    }
    String::from_utf8_lossy(&said).into_owned()
}
