//! From the command line, standard input and files to the messages of a request.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ocelli::{Fps, ImageSource, Message, Part, Role, Video, VideoSource};

use crate::args::{ImageArgs, RunArgs, VideoArgs};
use crate::failure::{Code, Failure};

/// Most bytes of a prompt from standard input.
const PROMPT_BYTES: u64 = 16 << 20;
/// Most bytes of a message list; pictures may be inside.
const MESSAGES_BYTES: u64 = 512 << 20;
/// Most bytes of a picture from standard input.
const IMAGE_BYTES: u64 = 256 << 20;
/// How long an open pipe may stay silent when there is a prompt already.
const SILENCE: Duration = Duration::from_secs(2);
/// Stands for standard input.
const STDIN: &str = "-";

/// What a run is to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Answer once.
    Answer(Vec<Message>),
    /// Chat, with pictures and videos for the first message.
    Chat(Vec<Part>),
}

/// Finds out what a run is to do, reading standard input where it belongs to the prompt.
///
/// # Errors
/// When nothing is asked, or an input cannot be read.
pub(crate) fn task(args: &RunArgs) -> Result<Task, Failure> {
    if let Some(path) = &args.asked.messages {
        return messages(path).map(Task::Answer);
    }
    let mut stdin = Stdin { is_free: true };
    let media = media_and(&args.asked, &mut stdin)?;
    let system = args.answer.system.as_deref();
    let given = args.prompt.as_deref().or(args.prompt_flag.as_deref());
    let prompt = match given {
        Some(STDIN) => stdin.text("PROMPT")?,
        Some(prompt) => join(prompt, stdin.text_beside_prompt()?),
        None if stdin.is_free && io::stdin().is_terminal() => return Ok(Task::Chat(media)),
        None if stdin.is_free => stdin.text("prompt")?,
        None => String::new(),
    };
    if prompt.trim().is_empty() && media.is_empty() {
        return Err(Failure::usage(
            "no prompt: found nothing, need a question. Give it as an argument or on standard input",
        ));
    }
    Ok(Task::Answer(conversation(system, media, prompt)))
}

/// One user turn, its pictures and videos first, after an optional system message.
pub(crate) fn conversation(system: Option<&str>, media: Vec<Part>, prompt: String) -> Vec<Message> {
    let system = system.map(|text| Message::text(Role::System, text));
    system
        .into_iter()
        .chain([user_turn(media, prompt)])
        .collect()
}

/// A user's message, pictures and videos first.
pub(crate) fn user_turn(media: Vec<Part>, prompt: String) -> Message {
    let text = (!prompt.is_empty()).then_some(Part::Text(prompt));
    let parts = media.into_iter().chain(text).collect();
    Message::new(Role::User, parts)
}

/// Reads an OpenAI message list; paths in it are relative to its folder.
///
/// # Errors
/// When the file cannot be read or is no message list.
pub(crate) fn messages(path: &Path) -> Result<Vec<Message>, Failure> {
    let (bytes, folder) = if path == Path::new(STDIN) {
        (
            limited(io::stdin().lock(), MESSAGES_BYTES, "--messages")?,
            PathBuf::new(),
        )
    } else {
        let bytes = file(path, MESSAGES_BYTES)?;
        (bytes, path.parent().map(Path::to_owned).unwrap_or_default())
    };
    let text = utf8(bytes, "--messages")?;
    ocelli::messages::from_openai(&text, &folder)
        .map_err(|error| Failure::from(error).of(format_args!("--messages {}", path.display())))
}

/// Pictures and then videos, in the order they were given.
///
/// # Errors
/// When one is to come from standard input and cannot, or a rate has no video.
pub(crate) fn media(asked: &ImageArgs) -> Result<Vec<Part>, Failure> {
    media_and(asked, &mut Stdin { is_free: true })
}

fn media_and(asked: &ImageArgs, stdin: &mut Stdin) -> Result<Vec<Part>, Failure> {
    let mut media = Vec::new();
    for path in &asked.images {
        media.push(Part::Image(match path == Path::new(STDIN) {
            true => ImageSource::Bytes(stdin.bytes("--image", IMAGE_BYTES)?),
            false => ImageSource::File(path.clone()),
        }));
    }
    let videos = videos_and(&asked.video, stdin)?;
    media.extend(videos.into_iter().map(Part::Video));
    Ok(media)
}

/// Videos, in the order they were given.
///
/// # Errors
/// As [`media`].
pub(crate) fn videos(asked: &VideoArgs) -> Result<Vec<Video>, Failure> {
    videos_and(asked, &mut Stdin { is_free: true })
}

fn videos_and(asked: &VideoArgs, stdin: &mut Stdin) -> Result<Vec<Video>, Failure> {
    if asked.fps.is_some() && asked.videos.is_empty() && asked.frames.is_empty() {
        return Err(Failure::usage(
            "--fps: found no video, need one with --video or --frames",
        ));
    }
    let mut videos = Vec::new();
    for path in &asked.videos {
        let source = match path == Path::new(STDIN) {
            true => VideoSource::Bytes(stdin.bytes("--video", IMAGE_BYTES)?),
            false => VideoSource::File(path.clone()),
        };
        videos.push(Video {
            sampled: asked.fps.unwrap_or(Fps::USUAL),
            most_frames: asked.max_frames,
            ..Video::new(source)
        });
    }
    if let (false, Some(fps)) = (asked.frames.is_empty(), asked.fps) {
        let frames = asked.frames.iter().cloned().map(ImageSource::File);
        let source = VideoSource::Frames(frames.collect(), fps);
        videos.push(Video::new(source));
    }
    Ok(videos)
}

/// Standard input, which only one thing can be read from.
struct Stdin {
    is_free: bool,
}

impl Stdin {
    fn bytes(&mut self, whose: &str, most: u64) -> Result<Vec<u8>, Failure> {
        if !std::mem::replace(&mut self.is_free, false) {
            return Err(Failure::usage(format_args!(
                "{whose}: standard input is read already, need one '-' at most"
            )));
        }
        limited(io::stdin().lock(), most, whose)
    }

    fn text(&mut self, whose: &str) -> Result<String, Failure> {
        let text = utf8(self.bytes(whose, PROMPT_BYTES)?, whose)?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Text that was piped in beside a prompt. Scripts often run with a pipe that nobody writes to
    /// or closes; such a one must not stop an answer for which everything is there.
    fn text_beside_prompt(&mut self) -> Result<String, Failure> {
        if !self.is_free || io::stdin().is_terminal() {
            return Ok(String::new());
        }
        self.is_free = false;
        let (send, receive) = mpsc::channel();
        // Not joined: it may wait for a pipe until the process ends.
        let started = std::thread::Builder::new().spawn(move || read_announced(&send));
        started.map_err(|error| {
            Failure::new(
                Code::Memory,
                format_args!("a thread for standard input: {error}, need one. Raise the limit of threads or of memory"),
            )
        })?;
        let nothing = Some(Ok(Vec::new()));
        let read = match receive.recv_timeout(SILENCE) {
            Ok(None) => receive.recv().unwrap_or(nothing),
            Ok(read) => read,
            Err(RecvTimeoutError::Disconnected) => nothing,
            Err(RecvTimeoutError::Timeout) => {
                eprintln!(
                    "note: standard input is an open pipe without data and is ignored; '-' as the prompt waits for it"
                );
                nothing
            }
        };
        utf8(read.unwrap_or_else(|| Ok(Vec::new()))?, "standard input")
    }
}

/// All of standard input; `None` is sent ahead as soon as the first byte is there.
fn read_announced(send: &mpsc::Sender<Option<Result<Vec<u8>, Failure>>>) {
    let mut stdin = io::stdin().lock();
    let mut first = [0; 1];
    let read = match stdin.read(&mut first) {
        Ok(1) => {
            let _ = send.send(None);
            limited((&first[..]).chain(stdin), PROMPT_BYTES, "standard input")
        }
        // Closed or not readable: as good as empty.
        _ => Ok(Vec::new()),
    };
    // Nobody listens when the process went on without this pipe.
    let _ = send.send(Some(read));
}

/// A file's content, or that of a pipe that is written to.
///
/// # Errors
/// When it cannot be read or has more than `most` bytes.
pub(crate) fn file(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let bytes = ocelli::read_bytes(path, most);
    let bytes = bytes.map_err(|error| Failure::path("read", path, &error))?;
    at_most(bytes, most, &path.display().to_string())
}

fn limited(from: impl io::Read, most: u64, whose: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = from.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| {
        Failure::new(Code::Path, format_args!("{whose}: cannot be read: {error}"))
    })?;
    at_most(bytes, most, whose)
}

fn at_most(bytes: Vec<u8>, most: u64, whose: &str) -> Result<Vec<u8>, Failure> {
    if bytes.len() as u64 > most {
        return Err(Failure::usage(format_args!(
            "{whose}: found more than {most} bytes, need at most that many"
        )));
    }
    Ok(bytes)
}

/// Text of a file or of standard input.
///
/// # Errors
/// When it is none.
pub(crate) fn utf8(bytes: Vec<u8>, whose: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format_args!(
            "{whose}: byte {at}: found no UTF-8, need text"
        ))
    })
}

/// The prompt, then what was piped.
fn join(prompt: &str, piped: String) -> String {
    match piped.trim_end_matches(['\n', '\r']) {
        "" => prompt.to_owned(),
        piped => format!("{prompt}\n\n{piped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_text_follows_the_prompt() {
        assert_eq!(join("Sum up:", "a\nb\n".to_owned()), "Sum up:\n\na\nb");
        assert_eq!(join("Why?", "\n".to_owned()), "Why?");
    }

    #[test]
    fn pictures_come_before_the_question() {
        let turn = user_turn(
            vec![Part::Image(ImageSource::File("a.png".into()))],
            "What?".to_owned(),
        );
        assert!(matches!(
            turn.parts.as_slice(),
            [Part::Image(_), Part::Text(_)]
        ));
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        assert!(limited(&b"abc"[..], 2, "x").is_err());
        assert_eq!(limited(&b"abc"[..], 3, "x").ok(), Some(b"abc".to_vec()));
    }
}
