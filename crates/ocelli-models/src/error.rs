//! Why a model cannot be loaded or run: always with the file, the place, found and needed.

use ocelli_tensor::PackError;

/// Everything that can be wrong with a model or a pair.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container could not be read as asked.
    #[error(transparent)]
    Gguf(#[from] ocelli_gguf::Error),
    /// A picture could not be prepared.
    #[error(transparent)]
    Image(#[from] ocelli_image::Error),
    /// A video without frames.
    #[error("video has no frames, need at least 1")]
    NoFrames,
    /// No code for this text architecture.
    #[error("{file}: architecture '{found}' not supported; supported: {supported}")]
    UnsupportedArchitecture {
        /// File that was opened.
        file: String,
        /// Architecture it names.
        found: String,
        /// Architectures there are.
        supported: String,
    },
    /// No code for this projector.
    #[error("{file}: projector type '{found}' not supported; supported: {supported}")]
    UnsupportedProjector {
        /// File that was opened.
        file: String,
        /// Projector type it names.
        found: String,
        /// Projector types there are.
        supported: String,
    },
    /// A projector without a vision part.
    #[error("{file}: has no vision encoder; need a projector with 'v.*' tensors")]
    NoVisionEncoder {
        /// File that was opened.
        file: String,
    },
    /// Metadata or tensors that contradict each other or make no model.
    #[error("bad model file: {file}: {what}")]
    Invalid {
        /// File that was opened.
        file: String,
        /// What is wrong, with both values.
        what: String,
    },
    /// A tensor that the model needs is not in the file.
    #[error("bad model file: {file}: missing tensor '{name}', needed with shape {expected:?}")]
    MissingTensor {
        /// File that was opened.
        file: String,
        /// Normalised name.
        name: String,
        /// Needed shape, fastest dimension first.
        expected: Vec<u64>,
    },
    /// A tensor of another shape than the metadata implies.
    #[error("bad model file: {file}: tensor '{name}' has shape {found:?}, need {expected:?}")]
    WrongShape {
        /// File that was opened.
        file: String,
        /// Name in the file.
        name: String,
        /// Shape in the file, fastest dimension first.
        found: Vec<u64>,
        /// Needed shape, fastest dimension first.
        expected: Vec<u64>,
    },
    /// A tensor that nothing read: a misspelt name or another model.
    #[error("bad model file: {file}: tensor '{name}' is not used by {model}{more}")]
    UnusedTensor {
        /// File that was opened.
        file: String,
        /// Name in the file.
        name: String,
        /// Architecture or projector type.
        model: String,
        /// How many others there are.
        more: String,
    },
    /// A tensor type without arithmetic.
    #[error(
        "bad model file: {file}: tensor '{name}': {source}; take the model in another quantisation"
    )]
    Pack {
        /// File that was opened.
        file: String,
        /// Name in the file.
        name: String,
        /// What the backend says.
        source: PackError,
    },
    /// The machine has no memory left for a tensor; the file is fine.
    #[error("{file}: tensor '{name}': {source}")]
    NoMemory {
        /// File that was opened.
        file: String,
        /// Name in the file.
        name: String,
        /// What the backend says.
        source: PackError,
    },
    /// Two files that do not belong together.
    #[error("{what}: wrong mmproj for this model (files {text_file}, {projector_file})")]
    PairMismatch {
        /// What differs, with both values.
        what: String,
        /// The text model.
        text_file: String,
        /// The projector.
        projector_file: String,
    },
    /// A token that the pair needs is not in the vocabulary.
    #[error("{file}: token '{token}' not in this model's vocabulary; pictures cannot be placed")]
    MissingToken {
        /// File that was opened.
        file: String,
        /// Text of the token.
        token: String,
    },
}

/// Words from a file as messages show them: short, and without what could steer a terminal.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push_str("...");
    }
    shown
}
