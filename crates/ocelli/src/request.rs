//! What is asked.

use std::path::PathBuf;

use ocelli_engine::{GrammarSource, Sampling};
use ocelli_text::ToolCall;

use crate::Video;

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions about the model's task.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// The name in templates and APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant, Self::Tool]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// Where a picture's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A file.
    File(PathBuf),
    /// An encoded picture: the content of a PNG, JPEG, WebP, GIF or BMP file.
    Bytes(Vec<u8>),
}

/// A part of a message. Parts stay in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image(ImageSource),
    /// A video.
    Video(Video),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said and shown.
    pub parts: Vec<Part>,
    /// What the model thought before it answered, in a turn of the assistant.
    pub reasoning: Option<String>,
    /// Tools that the model called in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's result belongs to.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message of these parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self {
            role,
            parts,
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// A message of text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role, vec![Part::Text(text.into())])
    }
}

/// A conversation to go on with, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The turns so far; the last is usually the user's.
    pub messages: Vec<Message>,
    /// How tokens are chosen; `None` for the model's own default.
    pub sampling: Option<Sampling>,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Also shows crops of long pictures, after each of them; for families that were trained for it
    /// (Gemma 3). Default false.
    pub pan_and_scan: bool,
    /// What the answer must look like. Default `None`: anything.
    pub grammar: Option<GrammarSource>,
}

/// Most tokens of an answer unless asked otherwise.
const MAX_TOKENS: usize = 1024;

impl Request {
    /// One question.
    pub fn new(question: impl Into<String>) -> Self {
        Self::from_messages(vec![Message::text(Role::User, question)])
    }

    /// A whole conversation.
    pub fn from_messages(messages: Vec<Message>) -> Self {
        Self {
            messages,
            sampling: None,
            max_tokens: MAX_TOKENS,
            stop: Vec::new(),
            pan_and_scan: false,
            grammar: None,
        }
    }

    /// Adds a picture file to the question, behind other pictures and before the text.
    #[must_use]
    pub fn image(self, path: impl Into<PathBuf>) -> Self {
        self.image_source(ImageSource::File(path.into()))
    }

    /// Adds an encoded picture to the question, behind other pictures and before the text.
    #[must_use]
    pub fn image_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.image_source(ImageSource::Bytes(bytes.into()))
    }

    /// Adds a video file to the question, behind pictures and other videos and before the text. Two of its
    /// frames are looked at in a second.
    #[must_use]
    pub fn video(self, path: impl Into<PathBuf>) -> Self {
        self.video_part(Video::file(path))
    }

    /// Adds a video to the question, behind pictures and other videos and before the text.
    #[must_use]
    pub fn video_part(self, video: Video) -> Self {
        self.medium(Part::Video(video))
    }

    fn image_source(self, source: ImageSource) -> Self {
        self.medium(Part::Image(source))
    }

    /// Puts a medium into the last question. Without a question, showing it is one.
    fn medium(mut self, medium: Part) -> Self {
        let question = self.messages.iter_mut().rfind(|m| m.role == Role::User);
        let Some(question) = question else {
            self.messages.push(Message::new(Role::User, vec![medium]));
            return self;
        };
        let is_video = matches!(medium, Part::Video(_));
        let is_before = |part: &Part| match part {
            Part::Image(_) => true,
            Part::Video(_) => is_video,
            Part::Text(_) => false,
        };
        let place = question.parts.iter().take_while(|p| is_before(p)).count();
        question.parts.insert(place, medium);
        self
    }

    /// Puts a system message first.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.messages.insert(0, Message::text(Role::System, text));
        self
    }

    /// Says how tokens are chosen, in place of the model's own default.
    #[must_use]
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = Some(sampling);
        self
    }

    /// Bounds the tokens of the answer (by default 1024).
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// Ends the answer where this text begins, beside other such texts.
    #[must_use]
    pub fn stop_at(mut self, text: impl Into<String>) -> Self {
        self.stop.push(text.into());
        self
    }

    /// Says what the answer must look like.
    ///
    /// ```
    /// use ocelli::{GrammarSource, Model, Request};
    ///
    /// # fn main() -> Result<(), ocelli::Error> {
    /// # std::env::set_current_dir("../..").expect("tests run in the crate's folder");
    /// let question = Request::new("How many circles are there?")
    ///     .image("examples/scene.png")
    ///     .grammar(GrammarSource::Regex("[0-9]".to_owned()))
    ///     .max_tokens(8);
    /// let answer = Model::demo()?.ask(question)?;
    /// assert!(answer.text.parse::<u8>().is_ok(), "{}", answer.text);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn grammar(mut self, grammar: GrammarSource) -> Self {
        self.grammar = Some(grammar);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_front_of_the_text_of_the_last_question_and_videos_behind_them() {
        let messages = vec![
            Message::text(Role::User, "a"),
            Message::text(Role::Assistant, "b"),
            Message::text(Role::User, "c"),
        ];
        let request = Request::from_messages(messages)
            .video("1.gif")
            .image("1.png")
            .image("2.png")
            .system("Be brief.");
        let image = |name: &str| Part::Image(ImageSource::File(name.into()));
        let expected = [
            image("1.png"),
            image("2.png"),
            Part::Video(Video::file("1.gif")),
            Part::Text("c".to_owned()),
        ];
        assert_eq!(
            request.messages[0],
            Message::text(Role::System, "Be brief.")
        );
        assert_eq!(request.messages[1], Message::text(Role::User, "a"));
        assert_eq!(request.messages[3].parts, expected);
    }

    #[test]
    fn a_picture_is_never_lost_where_nobody_asked_yet() {
        let request = Request::from_messages(Vec::new())
            .system("Describe what you see.")
            .image("1.png")
            .image_bytes(*b"GIF");
        assert_eq!(request.messages.len(), 2);
        assert_eq!(request.messages[1].role, Role::User);
        assert_eq!(request.messages[1].parts.len(), 2);
    }
}
