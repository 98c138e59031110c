//! Why a request gets no answer, in words that all APIs can render.

use std::io::Write as _;

use axum::http::StatusCode;
use ocelli::errors::{EngineError, LeftOut};
use ocelli::{Error, ErrorKind};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// A stable word for programs.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) message: String,
    /// The field that is wrong, as in `messages[0].content`.
    pub(crate) param: Option<String>,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u32>,
}

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl std::fmt::Display,
    ) -> Self {
        Self {
            status,
            code,
            message: message.to_string(),
            param: None,
            retry_after: None,
        }
    }

    /// A request that the client can mend.
    pub(crate) fn bad(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// A field that is wrong: `param` and what is the matter with it.
    pub(crate) fn field(param: impl Into<String>, what: impl std::fmt::Display) -> Self {
        let param = param.into();
        let mut failure = Self::bad(format_args!("{param} {what}"));
        failure.code = "invalid_value";
        failure.param = Some(param);
        failure
    }

    /// Too much to do at the moment.
    pub(crate) fn busy(code: &'static str, message: impl std::fmt::Display, after: u32) -> Self {
        Self {
            retry_after: Some(after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    /// A fault of ours. What it was goes to the log, not to the client.
    pub(crate) fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// A model that could not be loaded. Paths stay on this side.
    pub(crate) fn unloadable(name: &str, error: &Error) -> Self {
        match error {
            Error::UnknownModel { .. } => Self::from(error),
            Error::Memory { .. } | Error::NoThread(_) => Self::busy("no_memory", error, 5),
            _ if error.kind() == ErrorKind::Memory => {
                log(format_args!("model '{name}': {error}"));
                let message = format!("there is no memory for model '{name}' now");
                Self::busy("no_memory", message, 5)
            }
            _ => {
                log(format_args!("model '{name}': {error}"));
                Self::internal(format_args!(
                    "model '{name}' could not be loaded; the server's log says why"
                ))
            }
        }
    }

    /// What is not told apart further than by its kind.
    fn of_kind(error: &Error) -> Self {
        let bad = |code| Self {
            code,
            ..Self::bad(error)
        };
        match error.kind() {
            ErrorKind::Image => bad("invalid_image"),
            // What a template or a pair says about this request is in the last two.
            ErrorKind::Usage | ErrorKind::Pair | ErrorKind::BadModel => bad("invalid_request"),
            ErrorKind::Memory => Self::busy("no_memory", error, 5),
            _ => {
                log(error);
                Self::internal("internal error; the server's log says what happened")
            }
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let bad = |code| Self {
            code,
            ..Self::bad(error)
        };
        match error {
            Error::UnknownModel { .. } => {
                Self::new(StatusCode::NOT_FOUND, "model_not_found", error)
            }
            Error::Busy { .. } => Self::busy("queue_full", error, 1),
            Error::Waited { .. } => Self::busy("queue_timeout", error, 5),
            Error::Ending => Self::busy("ending", error, 5),
            Error::PromptTooLong { .. } => bad("context_length_exceeded"),
            Error::NoVision { model, .. } => Self {
                code: "no_vision",
                ..Self::bad(format_args!(
                    "model '{model}' has no vision; start with --mmproj"
                ))
            },
            Error::NoTools { left_out, .. } => Self {
                // Which field holds calls and results differs from API to API.
                param: (*left_out == LeftOut::Descriptions).then(|| "tools".to_owned()),
                ..bad("tools_not_supported")
            },
            Error::Video { .. } if matches!(error.kind(), ErrorKind::Image | ErrorKind::Usage) => {
                bad("invalid_video")
            }
            Error::Engine(EngineError::Grammar(_)) => bad("invalid_schema"),
            Error::Engine(EngineError::GrammarDeadEnd) => bad("grammar_dead_end"),
            Error::Engine(EngineError::GrammarTooExpensive) => bad("grammar_too_expensive"),
            Error::Engine(EngineError::ContextFull { .. }) => bad("context_length_exceeded"),
            Error::Engine(EngineError::NonFinite { .. }) => Self {
                code: "numerical_error",
                ..Self::internal(error)
            },
            _ => Self::of_kind(error),
        }
    }
}

/// Tells whoever runs the server. Nobody may be listening any more: that ends no request.
fn log(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "error: {what}");
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}
