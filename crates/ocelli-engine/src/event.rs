//! What a request reports on its way and at its end.

use std::time::Duration;

/// Something that happened while a request runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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
    /// New text of the reasoning before the answer, where it is told apart.
    Reasoning(&'a str),
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
    /// How likely the prompt's tokens were, where that was asked for: once, before any text.
    Scored(PromptLogprobs),
    /// New text: always whole characters.
    Text {
        /// The text.
        text: String,
        /// What it is part of.
        channel: Channel,
        /// The tokens of the answer since the last such output, if they were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// The end of the request.
    Done(Box<Outcome>),
    /// The request failed; others go on.
    Failed(crate::Error),
}

/// What a text is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The answer.
    #[default]
    Answer,
    /// What the model thinks before it answers.
    Reasoning,
}

/// How likely a token was, before bias, penalties, temperature and grammar.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token that was chosen.
    pub token: u32,
    /// Its bytes: not always whole characters.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most likely tokens, the first one first.
    pub alternatives: Vec<Alternative>,
}

/// How likely the tokens of a prompt were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptLogprobs {
    /// Bytes of the first token: nothing before it says how likely it was.
    pub first: Vec<u8>,
    /// The others, in order.
    pub rest: Vec<TokenLogprob>,
}

/// A token that could have been chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// The token.
    pub token: u32,
    /// Its bytes: not always whole characters.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended it, a stop string or stop token came, or its grammar is complete.
    Stop,
    /// The token limit or the context was reached.
    Length,
    /// It went in circles.
    Repetition,
    /// The caller did not want more.
    Cancelled,
}

impl FinishReason {
    /// The name in the APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Repetition => "repetition",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What stopped an answer that ended by [`FinishReason::Stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// A token of the model that ends answers.
    End(u32),
    /// A token of the request's `stop_tokens`.
    Token(u32),
    /// A string of the request's `stop`, by its place.
    Text(usize),
    /// Nothing can follow by the grammar.
    Grammar,
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

/// Tokens of an answer that were guessed: see [`Engine::set_draft_tokens`](crate::Engine::set_draft_tokens).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drafts {
    /// Guesses that were run.
    pub tokens: usize,
    /// Those that came: tokens without a step of their own.
    pub accepted: usize,
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub text: String,
    /// What the model thought before it, where that is told apart.
    pub reasoning: String,
    /// Tokens of the answer: an end token, reasoning and its marks included.
    pub tokens: Vec<u32>,
    /// How many of them are reasoning.
    pub reasoning_tokens: usize,
    /// Each token of the text, if asked for; without reasoning, its marks and the end token.
    pub logprobs: Vec<TokenLogprob>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What ended it, if something in the answer did.
    pub stopped: Option<StopCause>,
    /// Tokens of the prompt, pictures included.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were still there.
    pub cached_tokens: usize,
    /// Tokens of the answer that were guessed.
    pub drafts: Drafts,
    /// Where the time went.
    pub timings: Timings,
}
