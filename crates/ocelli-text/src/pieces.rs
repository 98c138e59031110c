//! Text that knows where it came from.

/// Who wrote a stretch of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The chat template, or the program itself. Trusted: may contain control tokens.
    Template,
    /// A value that was put into the template. Never trusted, whoever wrote it.
    Value(Source),
}

/// Which kind of value a stretch of a prompt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A system or developer message.
    System,
    /// A user message.
    User,
    /// An earlier answer of the model, its reasoning and its tool calls. It may repeat what a user
    /// or a picture said.
    Assistant,
    /// A tool's description or result.
    Tool,
    /// An extra template argument of the request.
    Parameter,
}

/// A stretch of a rendered prompt with one origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The text; may be empty.
    pub text: String,
    /// Who wrote it.
    pub origin: Origin,
}

impl Piece {
    /// Text of the template or of the program: control tokens in it count.
    pub fn template(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            origin: Origin::Template,
        }
    }

    /// Text of a user: control tokens in it are plain text.
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            origin: Origin::Value(Source::User),
        }
    }

    /// The text of all pieces, one after the other.
    pub fn text_of(pieces: &[Self]) -> String {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }
}
