//! What can go wrong with a vocabulary, a template or a conversation, with the facts.

/// Errors of tokenizers and chat templates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A metadata value is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] ocelli_gguf::Error),
    /// The vocabulary contradicts itself.
    #[error("bad vocabulary: {what}: found {found}, need {need}")]
    Vocabulary {
        /// The list or number, by its GGUF key where it has one.
        what: String,
        /// What is there.
        found: String,
        /// What is needed.
        need: String,
    },
    /// The way to split text before tokenizing has a name that is not known.
    #[error("unknown pre-tokenizer: tokenizer.ggml.pre: found `{found}`, need one of {known}")]
    UnknownPreTokenizer {
        /// The name in the file.
        found: String,
        /// All known names.
        known: String,
    },
    /// A stop string is empty.
    #[error("bad stop string: number {index}: found an empty string, need at least one character")]
    EmptyStopString {
        /// Its place in the list, from 0.
        index: usize,
    },
}

impl Error {
    pub(crate) fn vocabulary(
        what: impl Into<String>,
        found: impl ToString,
        need: impl ToString,
    ) -> Self {
        Self::Vocabulary {
            what: what.into(),
            found: found.to_string(),
            need: need.to_string(),
        }
    }
}
