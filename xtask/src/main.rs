//! Project tasks: `cargo xtask check` is what CI runs, `cargo xtask tidy` its fast part.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line tool reports on stdout")]

mod check;
mod goldens;
mod load;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask <task>

tasks:
  check [--skip-tests]   format, tidy, clippy, docs, tests, fuzz: what CI runs
  tidy                   rules of the sources that need no build (seconds)
  load [--seconds N] [--clients N] [--restarts N] [--server FILE] [SCENARIO]...
                         many clients on a server: lost, wrong, memory (build it first)
  load throughput [--address IP:PORT] [--model NAME] [--side N] [--tokens N] [--rounds N] [--concurrent 1,4,8,16]
                         how fast a server answers chats about pictures, and a second question about one
  goldens [ARGUMENT]...  make the golden files again (needs Python, see CONTRIBUTING.md)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs a task; `false` when a check failed.
fn run(arguments: &[String]) -> Result<bool> {
    let root = repository_root()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check::run(&root, check::Tests::Run),
        ["check", "--skip-tests"] => check::run(&root, check::Tests::Skip),
        ["tidy"] => tidy::run(&root),
        ["load", rest @ ..] => load::run(&root, rest),
        ["goldens", rest @ ..] => goldens::run(&root, rest),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(true)
        }
        [] => bail!("no task given\n\n{USAGE}"),
        other => bail!("unknown task `{}`\n\n{USAGE}", other.join(" ")),
    }
}

/// The folder above this package: tasks work from anywhere inside the repository.
fn repository_root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().context("xtask has no parent folder")?;
    Ok(root.to_owned())
}
