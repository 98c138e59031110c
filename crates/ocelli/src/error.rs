//! One error for all of the library, and what kind of trouble it is.

use std::path::PathBuf;

/// Everything that can go wrong. [`Error::kind`] sorts the variants; [`errors`](crate::errors)
/// names what they hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model file.
    #[error(transparent)]
    Gguf(#[from] ocelli_gguf::Error),
    /// Finding or pairing model files.
    #[error(transparent)]
    Store(#[from] ocelli_store::Error),
    /// A model, or a picture for it.
    #[error(transparent)]
    Model(#[from] ocelli_models::Error),
    /// A tokenizer or chat template of a model file.
    #[error("{}{file}: {source}", if source.is_bad_file() { "bad model file: " } else { "" })]
    Text {
        /// The model file.
        file: String,
        /// What is wrong.
        source: Box<ocelli_text::Error>,
    },
    /// A request.
    #[error(transparent)]
    Engine(#[from] ocelli_engine::Error),
    /// A picture.
    #[error("image {number}{}: {source}", name.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Image {
        /// Which picture of the request, from 1.
        number: usize,
        /// Its file name, if it has one.
        name: Option<String>,
        /// What is wrong.
        source: ocelli_image::Error,
    },
    /// A picture whose decoding would take too much memory.
    #[error(
        "image {number}: decoding takes {needed_mib} MiB, limit {limit_mib} MiB. Save it smaller, or as a baseline JPEG"
    )]
    PictureMemory {
        /// Which picture of the request, from 1.
        number: usize,
        /// What it takes.
        needed_mib: u64,
        /// Most for all pictures together.
        limit_mib: u64,
    },
    /// A video.
    #[error("video {number}{}: {what}", name.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Video {
        /// Which video of the request, from 1.
        number: usize,
        /// Its file name, if it has one.
        name: Option<String>,
        /// What is wrong.
        what: String,
        /// What kind of trouble that is.
        kind: ErrorKind,
    },
    /// Too many videos.
    #[error("{found} videos, limit {limit}")]
    TooManyVideos {
        /// Videos of the request.
        found: usize,
        /// Most videos.
        limit: usize,
    },
    /// A video for a model that sees pictures only.
    #[error("model '{model}' takes no videos. Qwen2-VL, Qwen2.5-VL and Qwen3-VL do")]
    NoVideo {
        /// The model.
        model: String,
    },
    /// More text than the context could hold if every token were the longest there is.
    #[error(
        "prompt of {bytes} bytes, the context holds at most {most_bytes}. Raise the context or shorten the prompt"
    )]
    PromptTooLong {
        /// Bytes of text.
        bytes: usize,
        /// Bytes that can fit.
        most_bytes: usize,
    },
    /// Too many pictures.
    #[error("{found} images, limit {limit}")]
    TooManyImages {
        /// Pictures of the request.
        found: usize,
        /// Most pictures.
        limit: usize,
    },
    /// A size that a request wants of a picture, and that the model was not opened for.
    #[error(
        "image {number}: at least {least} pixels and at most {most} wanted, need least <= most. A request can only narrow the server's own budget"
    )]
    PictureBudget {
        /// Which picture of the request, from 1.
        number: usize,
        /// Least pixels of request and model.
        least: u64,
        /// Most pixels of request and model.
        most: u64,
    },
    /// A token that the vocabulary does not have.
    #[error("prompt: found token {token}, need less than {vocabulary}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// The queue is full.
    #[error("{waiting} requests run or wait already, limit {limit}. Try again later")]
    Busy {
        /// Requests that run or wait.
        waiting: usize,
        /// Most of them.
        limit: usize,
    },
    /// A request waited too long for its turn.
    #[error("waited {seconds} s for a turn, limit {limit} s. Try again later")]
    Waited {
        /// How long it waited.
        seconds: u64,
        /// How long it may wait.
        limit: u64,
    },
    /// The service is ending.
    #[error("the model is being unloaded or the server is ending. Try again later")]
    Ending,
    /// No model has this name.
    #[error("model '{name}' not found, there is {known}")]
    UnknownModel {
        /// The name, cut to 64 characters.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A bug of Ocelli in the work for one request.
    #[error("internal: {0}")]
    Internal(String),
    /// A picture for a model that cannot see.
    #[error("model '{model}' has no vision: {why}. Give its projector with --mmproj FILE")]
    NoVision {
        /// The model.
        model: String,
        /// What was looked for.
        why: String,
    },
    /// Tools for a model whose chat template does not show them.
    #[error(
        "model '{model}' does not support tools: its chat template leaves out {left_out}. {instead}"
    )]
    NoTools {
        /// The model.
        model: String,
        /// What the template would drop.
        left_out: LeftOut,
        /// What to do.
        instead: &'static str,
    },
    /// The vocabulary does not fit the weights.
    #[error("bad model file: {file}: tokenizer has {tokens} tokens, embedding has {rows} rows")]
    Vocabulary {
        /// The text model.
        file: String,
        /// Tokens of the vocabulary.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The machine has too little memory.
    #[error(
        "not enough memory: {what}: need {needed_mib} MiB, {available_mib} MiB available. {hint}"
    )]
    Memory {
        /// What it is for.
        what: String,
        /// What is needed.
        needed_mib: u64,
        /// What there is.
        available_mib: u64,
        /// What to do.
        hint: &'static str,
    },
    /// The system has no thread for a model.
    #[error("threads for a model: {0}, need a few more. Raise the limit of threads or of memory")]
    NoThread(#[source] std::io::Error),
    /// A setting that cannot be.
    #[error("{0}")]
    Settings(String),
    /// The CPU backend could not be made.
    #[error("{0}")]
    Backend(String),
    /// An OpenAI message list.
    #[error("{place}: {what}")]
    Messages {
        /// For example `messages[0].content[1]`.
        place: String,
        /// Found and needed.
        what: String,
    },
    /// A file that could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Path {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A trace file.
    #[error("{}: not a usable trace: {what}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What a chat template would drop of tools without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOut {
    /// Which tools there are.
    Descriptions,
    /// Calls that an answer made.
    Calls,
    /// What calls gave.
    Results,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Descriptions => "their descriptions",
            Self::Calls => "calls of tools",
            Self::Results => "results of tools",
        })
    }
}

/// What kind of trouble an error is; each has an exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request or a setting: 2.
    Usage,
    /// A model file that opens but is bad: 3.
    BadModel,
    /// Files that do not belong together, or a picture without a projector: 4.
    Pair,
    /// Too little memory: 5.
    Memory,
    /// A picture that opens but is bad: 6.
    Image,
    /// Network, server or checksum: 7.
    Network,
    /// A path that is missing or unreadable, or a full disk: 8.
    Path,
    /// Too much to do at the moment: 70; a server says when to come back.
    Busy,
    /// Our own fault, or numbers that went wrong: 70.
    Internal,
    /// The caller stopped it: 130.
    Stopped,
}

impl Error {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(error) => gguf_kind(error),
            Self::Store(ocelli_store::Error::Gguf(error)) => gguf_kind(error),
            Self::Store(error) => store_kind(error),
            Self::Model(error) => model_kind(error),
            Self::Text { .. } | Self::Vocabulary { .. } => ErrorKind::BadModel,
            Self::Engine(error) => engine_kind(error),
            Self::Image { source, .. } => image_kind(source),
            Self::PictureMemory { .. } => ErrorKind::Image,
            Self::Video { kind, .. } => *kind,
            Self::NoVision { .. } | Self::NoVideo { .. } => ErrorKind::Pair,
            Self::Busy { .. } | Self::Waited { .. } | Self::Ending => ErrorKind::Busy,
            Self::UnknownModel { .. } => ErrorKind::Path,
            Self::Internal(_) => ErrorKind::Internal,
            Self::Memory { .. } | Self::NoThread(_) => ErrorKind::Memory,
            Self::TooManyImages { .. }
            | Self::TooManyVideos { .. }
            | Self::PromptTooLong { .. }
            | Self::PictureBudget { .. }
            | Self::UnknownToken { .. }
            | Self::NoTools { .. }
            | Self::Settings(_)
            | Self::Messages { .. }
            | Self::Backend(_) => ErrorKind::Usage,
            Self::Path { .. } => ErrorKind::Path,
            Self::Trace { .. } => ErrorKind::Usage,
        }
    }
}

fn gguf_kind(error: &ocelli_gguf::Error) -> ErrorKind {
    match error {
        ocelli_gguf::Error::Io { .. } => ErrorKind::Path,
        _ => ErrorKind::BadModel,
    }
}

fn store_kind(error: &ocelli_store::Error) -> ErrorKind {
    match error.kind() {
        ocelli_store::ErrorKind::Model => ErrorKind::BadModel,
        ocelli_store::ErrorKind::Path => ErrorKind::Path,
        ocelli_store::ErrorKind::Usage => ErrorKind::Usage,
        ocelli_store::ErrorKind::Pair => ErrorKind::Pair,
        ocelli_store::ErrorKind::Network => ErrorKind::Network,
        ocelli_store::ErrorKind::Stopped => ErrorKind::Stopped,
    }
}

fn model_kind(error: &ocelli_models::Error) -> ErrorKind {
    match error {
        ocelli_models::Error::Gguf(error) => gguf_kind(error),
        ocelli_models::Error::Image(error) => image_kind(error),
        ocelli_models::Error::PairMismatch { .. } | ocelli_models::Error::MissingToken { .. } => {
            ErrorKind::Pair
        }
        ocelli_models::Error::NoVisionEncoder { .. } => ErrorKind::Pair,
        ocelli_models::Error::NoMemory { .. } => ErrorKind::Memory,
        _ => ErrorKind::BadModel,
    }
}

fn engine_kind(error: &ocelli_engine::Error) -> ErrorKind {
    match error {
        ocelli_engine::Error::Model(error) => model_kind(error),
        ocelli_engine::Error::NoVision { .. } => ErrorKind::Pair,
        ocelli_engine::Error::NonFinite { .. } | ocelli_engine::Error::Panicked { .. } => {
            ErrorKind::Internal
        }
        ocelli_engine::Error::ImageSlots { .. } => ErrorKind::BadModel,
        _ => ErrorKind::Usage,
    }
}

fn image_kind(error: &ocelli_image::Error) -> ErrorKind {
    match error {
        ocelli_image::Error::Read { .. } => ErrorKind::Path,
        ocelli_image::Error::Budget(_) => ErrorKind::Usage,
        _ => ErrorKind::Image,
    }
}
