//! The chat: a line is typed, an answer streams, and so on. Lines that start with `/` are commands.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ocelli::{ImageSource, Message, Model, Part, Role, Video, VideoSource};
use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};
use serde_json::{Value, json};

use crate::args::RunArgs;
use crate::failure::{Code, Failure};
use crate::form::Form;
use crate::interrupt::Interrupt;
use crate::output::{self, Output};
use crate::prompt::user_turn;
use crate::{history, run};

const HELP: &str = "\
/image PATH   add a picture to the next message
/video PATH   add a video to the next message
/clear        forget the conversation
/save FILE    write the conversation as a message list (for --messages)
/quit         leave (so does Ctrl-D)
/help         this list
A line that ends with \\ continues on the next one. Ctrl-C stops an answer.";

/// A conversation on the terminal.
pub(crate) struct Chat<'a> {
    model: Model,
    args: &'a RunArgs,
    form: Option<Form>,
    interrupt: &'a Interrupt,
    editor: DefaultEditor,
    messages: Vec<Message>,
    /// Pictures and videos for the next message.
    media: Vec<Part>,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Image(&'a str),
    Video(&'a str),
    Clear,
    Save(&'a str),
    Quit,
    Help,
    Unknown(&'a str),
    Text(&'a str),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = unquoted(rest.trim());
        match word {
            "" => Self::Nothing,
            "/image" | "/i" => Self::Image(rest),
            "/video" => Self::Video(rest),
            "/clear" | "/reset" => Self::Clear,
            "/save" => Self::Save(rest),
            "/quit" | "/exit" | "/bye" | "/q" => Self::Quit,
            "/help" | "/?" | "/h" => Self::Help,
            // Paths and divisions may start a question; only a lone word is a mistyped command.
            _ if is_command(word) => Self::Unknown(word),
            _ => Self::Text(line),
        }
    }
}

fn is_command(word: &str) -> bool {
    word.strip_prefix('/')
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()))
}

/// A path as terminals paste it: in quotes, or not.
fn unquoted(path: &str) -> &str {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| path.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(path)
}

impl<'a> Chat<'a> {
    /// Prepares the terminal.
    ///
    /// # Errors
    /// When there is no terminal to read lines from.
    pub(crate) fn new(
        model: Model,
        args: &'a RunArgs,
        form: Option<Form>,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        // Standard output may be a file: the line editor then uses the terminal itself.
        let config = Config::builder()
            .behavior(Behavior::PreferTerm)
            .auto_add_history(true)
            .build();
        let mut editor = DefaultEditor::with_config(config).map_err(terminal_failed)?;
        if let Some(path) = history::file() {
            // The first chat has no history yet.
            let _ = editor.load_history(&path);
        }
        Ok(Self {
            model,
            args,
            form,
            interrupt,
            editor,
            messages: Vec::new(),
            media: Vec::new(),
        })
    }

    /// Talks until the user leaves.
    ///
    /// # Errors
    /// When the terminal fails, or with 130 on Ctrl-C outside an answer.
    pub(crate) fn talk(mut self, media: Vec<Part>) -> Result<(), Failure> {
        self.media = media;
        self.forget();
        eprintln!(
            "{}, context {} tokens. /help lists the commands, /quit leaves.",
            self.model.name(),
            self.model.context()
        );
        let end = loop {
            match self.read_line() {
                Ok(line) => match self.obey(Line::parse(&line)) {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(end) => break end,
                },
                Err(ReadlineError::Eof) => break Ok(()),
                Err(ReadlineError::Interrupted) => break Err(Failure::silent(Code::Interrupted)),
                Err(error) => break Err(terminal_failed(error)),
            }
        };
        if let Some(path) = history::file() {
            // A chat is not worth less because its history could not be kept.
            let _ = self.editor.save_history(&path);
        }
        end
    }

    /// One line, with those that it goes on in.
    fn read_line(&mut self) -> Result<String, ReadlineError> {
        let mut line = self.editor.readline(">>> ")?;
        while line.ends_with('\\') {
            line.pop();
            line.push('\n');
            line.push_str(&self.editor.readline("... ")?);
        }
        Ok(line)
    }

    fn obey(&mut self, line: Line<'_>) -> ControlFlow<Result<(), Failure>> {
        match line {
            Line::Nothing => {}
            Line::Image(path) => self.add(path, |path| Part::Image(ImageSource::File(path))),
            Line::Video(path) => self.add(path, |path| Part::Video(Video::file(path))),
            Line::Clear => self.forget(),
            Line::Save(path) => self.save(path),
            Line::Help => eprintln!("{HELP}"),
            Line::Unknown(word) => eprintln!("{word} is no command. /help lists them"),
            Line::Quit => return ControlFlow::Break(Ok(())),
            Line::Text(text) => return self.answer(text),
        }
        ControlFlow::Continue(())
    }

    fn forget(&mut self) {
        self.messages.clear();
        let system = self.args.answer.system.as_deref();
        self.messages
            .extend(system.map(|text| Message::text(Role::System, text)));
    }

    fn add(&mut self, path: &str, part: impl Fn(PathBuf) -> Part) {
        let path = at_home(path);
        match std::fs::metadata(&path) {
            _ if path.as_os_str().is_empty() => eprintln!("need a path"),
            Err(error) => eprintln!("cannot read {}: {error}", path.display()),
            Ok(file) if file.is_dir() => {
                eprintln!("{} is a folder, need a file", path.display())
            }
            Ok(_) => {
                eprintln!("{} goes with the next message", path.display());
                self.media.push(part(path));
            }
        }
    }

    fn save(&self, path: &str) {
        if path.is_empty() {
            return eprintln!("/save needs a file name");
        }
        let path = at_home(path);
        let list = Value::Array(self.messages.iter().map(message_json).collect());
        match ocelli::write_bytes(&path, format!("{list:#}\n").as_bytes()) {
            Ok(()) => eprintln!(
                "saved {} messages to {}",
                self.messages.len(),
                path.display()
            ),
            Err(error) => eprintln!("cannot write {}: {error}", path.display()),
        }
    }

    /// Asks and remembers the answer. What fails is reported and forgotten, and the chat goes on.
    fn answer(&mut self, text: &str) -> ControlFlow<Result<(), Failure>> {
        let media = self.media.clone();
        self.messages.push(user_turn(media, text.to_owned()));
        let request = match run::request(
            &self.model,
            &self.args.answer,
            self.form.as_ref(),
            self.messages.clone(),
        ) {
            Ok(request) => request,
            Err(failure) => return ControlFlow::Break(Err(failure)),
        };
        let mut output = Output::new();
        let answering = self.interrupt.answering();
        let answer = run::stream(
            &mut self.model,
            request,
            &mut output,
            &mut || match answering.is_stopped() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
        );
        drop(answering);
        match answer {
            Ok(answer) => {
                self.media.clear();
                if self.args.verbose {
                    eprintln!("{}", output::report(&answer));
                }
                match answer.text.is_empty() {
                    true => drop(self.messages.pop()),
                    false => self
                        .messages
                        .push(Message::text(Role::Assistant, answer.text)),
                }
            }
            Err(failure) => {
                self.messages.pop();
                // A bad picture would spoil the next message as well.
                self.media.clear();
                eprintln!("error: {}", failure.message().unwrap_or_default());
            }
        }
        match output.is_closed() {
            true => ControlFlow::Break(output.finish()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn terminal_failed(error: ReadlineError) -> Failure {
    Failure::new(
        Code::Path,
        format_args!("terminal: cannot read a line: {error}"),
    )
}

/// A path in which `~/` is the home folder, as shells have it.
fn at_home(path: &str) -> PathBuf {
    let home = || std::env::var_os(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
    match (path.strip_prefix("~/"), home()) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// A message as OpenAI lists have it, so that `--messages` can read it again.
fn message_json(message: &Message) -> Value {
    let part_json = |part: &Part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image(ImageSource::File(path)) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            json!({"type": "image_url", "image_url": {"url": path.to_string_lossy()}})
        }
        Part::Image(ImageSource::Bytes(_)) => {
            json!({"type": "text", "text": "(a picture from standard input)"})
        }
        Part::Video(video) => video_json(video),
    };
    let content = match message.parts.as_slice() {
        [Part::Text(text)] => json!(text),
        parts => Value::Array(parts.iter().map(part_json).collect()),
    };
    json!({"role": message.role.name(), "content": content})
}

fn video_json(video: &Video) -> Value {
    let absolute = |path: &PathBuf| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        json!(path.to_string_lossy())
    };
    let frame = |source: &ImageSource| match source {
        ImageSource::File(path) => Some(absolute(path)),
        ImageSource::Bytes(_) => None,
    };
    match &video.source {
        VideoSource::File(path) => json!({
            "type": "video", "video": absolute(path), "fps": video.sampled.get(), "max_frames": video.most_frames,
        }),
        VideoSource::Frames(frames, fps) => {
            let frames: Vec<Value> = frames.iter().filter_map(frame).collect();
            json!({"type": "video", "video": frames, "fps": fps.get()})
        }
        VideoSource::Bytes(_) => json!({"type": "text", "text": "(a video from standard input)"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_questions_or_mistakes() {
        for (line, expected) in [
            ("  ", Line::Nothing),
            ("/image my photo.png ", Line::Image("my photo.png")),
            ("/image 'my photo.png'", Line::Image("my photo.png")),
            ("/video a.mp4", Line::Video("a.mp4")),
            ("/clear", Line::Clear),
            ("/save chat.json", Line::Save("chat.json")),
            ("/quit", Line::Quit),
            ("/bye", Line::Quit),
            ("/help", Line::Help),
            ("/imgae a.png", Line::Unknown("/imgae")),
            ("/etc/passwd is what?", Line::Text("/etc/passwd is what?")),
            ("What is 1 /2?", Line::Text("What is 1 /2?")),
        ] {
            assert_eq!(Line::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn a_saved_conversation_can_be_read_again() {
        let picture = std::path::absolute("a.png").unwrap();
        let messages = [
            Message::text(Role::System, "Be brief."),
            user_turn(
                vec![
                    Part::Image(ImageSource::File(picture)),
                    Part::Video(Video::file(std::path::absolute("b.mp4").unwrap())),
                ],
                "What?".to_owned(),
            ),
            Message::text(Role::Assistant, "A cat."),
        ];
        let list = Value::Array(messages.iter().map(message_json).collect());
        let read =
            ocelli::messages::from_openai(&list.to_string(), Path::new("elsewhere")).unwrap();
        assert_eq!(read, messages);
    }
}
