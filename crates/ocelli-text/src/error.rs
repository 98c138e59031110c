//! What can go wrong with a vocabulary, a template or a conversation, with the facts.

/// Errors of tokenizers and chat templates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// A chat template does not compile, fails or exceeds its budget.
    #[error("chat template{}: {problem}", .line.map(|line| format!(" line {line}")).unwrap_or_default())]
    Template {
        /// Line of the template, from 1, where one is known.
        line: Option<usize>,
        /// What is wrong.
        problem: String,
    },
    /// The file has no chat template and none is built in.
    #[error(
        "no chat template: tokenizer.chat_template: found nothing and no built-in template for architecture \
         `{architecture}`, need one of them"
    )]
    NoTemplate {
        /// `general.architecture`.
        architecture: String,
    },
    /// The template itself refuses the conversation.
    #[error("the chat template refuses the conversation: {message}")]
    Refused {
        /// What the template says, cut to 200 characters.
        message: String,
    },
    /// An extra template argument has a bad name or is too large.
    #[error("bad template argument: found {found}, need {need}")]
    Argument {
        /// The name or the size.
        found: String,
        /// What is allowed.
        need: String,
    },
    /// The texts of a conversation leave no characters to mark them with.
    #[error(
        "bad messages: found nearly every private-use character of Unicode in them, need some that are free"
    )]
    PrivateUse,
    /// A prompt has not one place for each picture or video.
    #[error(
        "chat template: found {places} places for {given} {name} in the prompt, need one for each. \
         The template may not be made for {name}"
    )]
    Places {
        /// `images` or `videos`.
        name: &'static str,
        /// How many the messages have.
        given: usize,
        /// How many places the template wrote.
        places: usize,
    },
}

impl Error {
    /// True when the model file is at fault, whatever was asked.
    pub fn is_bad_file(&self) -> bool {
        matches!(
            self,
            Self::Vocabulary { .. }
                | Self::UnknownPreTokenizer { .. }
                | Self::Template { .. }
                | Self::NoTemplate { .. }
        )
    }

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

    /// A problem at a byte of a template.
    pub(crate) fn template(source: &str, at: usize, problem: impl Into<String>) -> Self {
        Self::Template {
            line: Some(Self::line_of(source, at)),
            problem: problem.into(),
        }
    }

    /// The line of a byte, from 1.
    pub(crate) fn line_of(source: &str, at: usize) -> usize {
        source.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1
    }
}
