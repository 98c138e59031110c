//! What can go wrong while writing models, with the facts.

use std::path::PathBuf;

/// Errors of converting, quantising, merging, splitting and repairing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "each variant's message says what it and its fields are"
)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Gguf(#[from] ocelli_gguf::Error),
    #[error(transparent)]
    Names(#[from] ocelli_models::Error),
    #[error("not a Hugging Face model folder: {}: found {found}, need config.json and *.safetensors. {hint}", path.display())]
    NotACheckpoint {
        path: PathBuf,
        found: String,
        hint: &'static str,
    },
    #[error("checkpoint incomplete: {}: {what} not found. Download it again", folder.display())]
    MissingFile { folder: PathBuf, what: String },
    #[error("bad checkpoint: {file}: {problem}")]
    BadFile { file: String, problem: String },
    #[error("bad checkpoint: {file}: {key}: found {found}, need {need}")]
    Setting {
        file: String,
        key: String,
        found: String,
        need: String,
    },
    #[error("cannot convert: config.json: model_type: found {found}, need one of {need}")]
    Architecture { found: String, need: String },
    #[error("cannot convert: {what}: found {found}, need {need}")]
    Unsupported {
        what: String,
        found: String,
        need: String,
    },
    #[error("bad checkpoint: tensor '{name}' not found{hint}")]
    MissingTensor { name: String, hint: String },
    #[error("bad checkpoint: {count} tensors that this architecture does not have: {names}")]
    ExtraTensors { count: usize, names: String },
    #[error("bad checkpoint: tensor '{name}': found shape {found:?}, need {need:?}")]
    WrongShape {
        name: String,
        found: Vec<usize>,
        need: Vec<usize>,
    },
    #[error("cannot convert: tensor '{name}': found {found} elements, need F32, F16 or BF16")]
    ElementType { name: String, found: String },
    #[error("cannot write tensor '{name}' as {ty}: found {found}, need {need}")]
    Values {
        name: String,
        ty: &'static str,
        found: String,
        need: &'static str,
    },
    #[error("tensor '{name}': {source}")]
    Quant {
        name: String,
        source: ocelli_quant::QuantError,
    },
    #[error("unknown type: found '{found}', need one of {need}")]
    UnknownType { found: String, need: String },
    #[error("output folder not found: {}. Create it first", path.display())]
    NoOutputFolder { path: PathBuf },
    #[error("file exists: {}. Remove it, or allow it to be replaced (--force)", path.display())]
    Exists { path: PathBuf },
    /// Renaming over it would put a file in the place of a device.
    #[error("cannot replace {}: found a folder, device or pipe, need a file", path.display())]
    NotAFile { path: PathBuf },
    #[error("cannot {action}: {file}: found {found}, need {need}")]
    WrongKind {
        action: &'static str,
        file: String,
        found: String,
        need: &'static str,
    },
    #[error(
        "cannot merge: projector output {projector} but text model embedding is {text}: wrong mmproj for this model"
    )]
    WidthMismatch { projector: u64, text: u64 },
    #[error("cannot merge: tensor '{name}' is in both files")]
    SameTensor { name: String },
    #[error("bad merged file: {file}: {problem}")]
    BadMerged { file: String, problem: String },
    #[error(
        "a part of {part_bytes} bytes makes {parts} parts, need at most {most}. Choose larger parts"
    )]
    TooManyParts {
        part_bytes: u64,
        parts: usize,
        most: usize,
    },
    #[error("stopped: nothing was written")]
    Stopped,
    #[error(
        "threads: {0}, need one for each core. Ask for fewer, or raise the limit of threads or of memory"
    )]
    NoThread(#[source] std::io::Error),
    #[error("an encoding thread ended early; this is a mistake in Ocelli")]
    Thread,
}

/// What an error is about, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A path that is missing, cannot be read or written, or is in the way; a full disk.
    Path,
    /// A checkpoint or model file that is bad or of no known family.
    BadInput,
    /// Files that are sound but not what the command needs, or do not belong together.
    Pair,
    /// A wrong argument.
    Usage,
    /// The caller stopped the work.
    Stopped,
    /// The system has too little memory or too few threads.
    Memory,
    /// A mistake in this crate.
    Internal,
}

impl Error {
    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Gguf(ocelli_gguf::Error::Io { .. }) => ErrorKind::Path,
            Self::NoOutputFolder { .. } | Self::Exists { .. } | Self::NotAFile { .. } => {
                ErrorKind::Path
            }
            Self::Gguf(_) | Self::Names(_) | Self::Quant { .. } | Self::Values { .. } => {
                ErrorKind::BadInput
            }
            Self::NotACheckpoint { .. } | Self::MissingFile { .. } | Self::BadFile { .. } => {
                ErrorKind::BadInput
            }
            Self::Setting { .. } | Self::Architecture { .. } | Self::Unsupported { .. } => {
                ErrorKind::BadInput
            }
            Self::MissingTensor { .. } | Self::ExtraTensors { .. } | Self::WrongShape { .. } => {
                ErrorKind::BadInput
            }
            Self::ElementType { .. } | Self::BadMerged { .. } => ErrorKind::BadInput,
            Self::WrongKind { .. } | Self::WidthMismatch { .. } | Self::SameTensor { .. } => {
                ErrorKind::Pair
            }
            Self::UnknownType { .. } | Self::TooManyParts { .. } => ErrorKind::Usage,
            Self::Stopped => ErrorKind::Stopped,
            Self::NoThread(_) => ErrorKind::Memory,
            Self::Thread => ErrorKind::Internal,
        }
    }
}
