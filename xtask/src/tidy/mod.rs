//! `cargo xtask tidy`: rules of the repository that need no build.
//!
//! Each rule is a pure function from text to [`Finding`]s, with a bad sample in its tests.

mod directions;
mod docs;
mod files;
mod rust_code;
mod source;

use std::fmt;
use std::path::Path;

use anyhow::Result;

/// Whether a finding fails the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Warning,
    Error,
}

/// Something a rule has to say about a place in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// Path from the repository's root, with `/`.
    path: String,
    /// From 1; `None` when the whole file is meant.
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn error(path: &str, line: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }

    fn warning(path: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            path: path.to_owned(),
            line: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        match self.line {
            Some(line) => write!(f, "{kind}: {}:{line}: {}", self.path, self.message),
            None => write!(f, "{kind}: {}: {}", self.path, self.message),
        }
    }
}

/// Prints what the rules find; `false` when one of the findings is an error.
///
/// # Errors
/// When the repository cannot be read.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let files = files::list(root)?;
    let metadata = directions::metadata(root)?;
    let mut findings = directions::check(&metadata);
    findings.extend(directions::check_built(&directions::built(root)?));
    for file in &files {
        findings.extend(file.check(root)?);
    }
    findings.extend(docs::check_crate_tables(
        root,
        &directions::names(&metadata),
    )?);
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    println!(
        "tidy: {} files, {errors} errors, {} warnings",
        files.len(),
        findings.len() - errors
    );
    Ok(errors == 0)
}
