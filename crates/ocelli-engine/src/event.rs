//! What a request reports on its way and at its end.

use std::time::Duration;

/// Something that happened while a request runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// Layers done of a picture's encoding.
    Encoding {
        /// Index of the picture.
        image: usize,
        /// Layers done.
        done: usize,
        /// All layers.
        total: usize,
    },
    /// Prompt tokens done.
    Prefill {
        /// Tokens done, cached ones included.
        done: usize,
        /// All tokens.
        total: usize,
    },
    /// New text of the answer: always whole characters.
    Text(&'a str),
}

/// What a step brought to one request.
#[derive(Debug)]
pub enum Output {
    /// Layers done of a picture's encoding.
    Encoding {
        /// Index of the picture.
        image: usize,
        /// Layers done.
        done: usize,
        /// All layers.
        total: usize,
    },
    /// Prompt tokens done.
    Prefill {
        /// Tokens done, cached ones included.
        done: usize,
        /// All tokens.
        total: usize,
    },
    /// New text of the answer: always whole characters.
    Text {
        /// The token that completed it.
        token: u32,
        /// The text.
        text: String,
    },
    /// The end of the request.
    Done(Box<Outcome>),
    /// The request failed; others go on.
    Failed(crate::Error),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string came.
    Stop,
    /// The token limit or the context was reached.
    Length,
    /// The caller did not want more.
    Cancelled,
}

impl FinishReason {
    /// The name in the APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Encoding of pictures.
    pub encode: Duration,
    /// Prompt tokens.
    pub prefill: Duration,
    /// Generated tokens after the first.
    pub decode: Duration,
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub text: String,
    /// Tokens of the answer, an end token included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, pictures included.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were still there.
    pub cached_tokens: usize,
    /// Where the time went.
    pub timings: Timings,
}
