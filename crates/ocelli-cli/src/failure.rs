//! Why a command ends without success: one line for a person, one exit code for a script.

use std::fmt;

/// Exit codes of the command. Scripts rely on them; they never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// A check that ran and failed.
    Check = 1,
    /// A wrong command line, or a prompt that does not fit the context.
    Usage = 2,
    /// A model file that opens but is bad.
    BadModel = 3,
    /// Files that do not belong together, or a picture for a model that cannot see.
    Pair = 4,
    /// Not enough memory.
    Memory = 5,
    /// A picture that opens but is bad.
    Image = 6,
    /// A download that failed, or brought the wrong bytes.
    Network = 7,
    /// A path that is missing, unreadable or cannot be written.
    Path = 8,
    /// A bug in this program, or arithmetic that went wrong.
    Internal = 70,
    /// Stopped with Ctrl-C.
    Interrupted = 130,
}

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// `None` when everything was said already.
    message: Option<String>,
}

impl Failure {
    /// A failure with its message, which becomes one line.
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: Some(one_line(&message.to_string())),
        }
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A failure about which nothing more needs to be said.
    pub(crate) fn silent(code: Code) -> Self {
        Self {
            code,
            message: None,
        }
    }

    /// The same, with what it is about before it.
    pub(crate) fn of(self, about: impl fmt::Display) -> Self {
        match self.message {
            Some(message) => Self::new(self.code, format_args!("{about}: {message}")),
            None => self,
        }
    }

    /// A path that cannot be read or written.
    pub(crate) fn path(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            Code::Path,
            format_args!("cannot {action} {}: {error}", path.display()),
        )
    }

    /// True when this is the exit code.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code as u8
    }

    /// The line for stderr, without `error: `.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl From<ocelli::Error> for Failure {
    fn from(error: ocelli::Error) -> Self {
        use ocelli::ErrorKind;
        let code = match error.kind() {
            ErrorKind::Usage => Code::Usage,
            ErrorKind::BadModel => Code::BadModel,
            ErrorKind::Pair => Code::Pair,
            ErrorKind::Memory => Code::Memory,
            ErrorKind::Image => Code::Image,
            ErrorKind::Network => Code::Network,
            ErrorKind::Stopped => Code::Interrupted,
            ErrorKind::Path => Code::Path,
            ErrorKind::Busy | ErrorKind::Internal => Code::Internal,
        };
        Self::new(code, error)
    }
}

/// One line that is safe to print: line ends become spaces, control characters are escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        for character in part.chars() {
            match character {
                '\t' => line.push(' '),
                control if control.is_control() => line.extend(control.escape_default()),
                other => line.push(other),
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_cannot_steer_the_terminal() {
        let failure = Failure::new(Code::Usage, "bad\n  name \u{1b}[31m\tx\r\n");
        assert_eq!(failure.message(), Some("bad name \\u{1b}[31m x"));
    }
}
