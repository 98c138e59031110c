//! What is asked.

use std::path::PathBuf;

use ocelli_engine::{GrammarSource, Sampling};
use ocelli_text::ToolCall;

use crate::Video;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sets the model's task.
    System,
    /// Asks.
    User,
    /// Answered.
    Assistant,
    /// A tool's result.
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
    /// Shows crops of long pictures behind them, for families that know crops (Gemma 3). Default false.
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

    fn medium(mut self, medium: Part) -> Self {
        let question = self.messages.iter_mut().rfind(|m| m.role == Role::User);
        if let Some(question) = question {
            let is_video = matches!(medium, Part::Video(_));
            let is_before = |part: &Part| match part {
                Part::Image(_) => true,
                Part::Video(_) => is_video,
                Part::Text(_) => false,
            };
            let parts = &mut question.parts;
            let place = parts.iter().take_while(|p| is_before(p)).count();
            parts.insert(place, medium);
        }
        self
    }

    /// Puts a system message first.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.messages.insert(0, Message::text(Role::System, text));
        self
    }
}
