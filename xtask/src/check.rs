//! `cargo xtask check`: every check of CI in order, timed, up to the first failure.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::tidy;

/// Whether the tests belong to this run; CI has run them already, by the command of the README.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    Run,
    Skip,
}

enum Action {
    Tidy,
    Cargo {
        arguments: &'static [&'static str],
        environment: &'static [(&'static str, &'static str)],
    },
}

struct Step {
    name: &'static str,
    action: Action,
}

/// Cheapest first, so that a slip shows within seconds.
const STEPS: [Step; 6] = [
    cargo("format", &["fmt", "--all", "--check"], &[]),
    Step {
        name: "tidy",
        action: Action::Tidy,
    },
    cargo(
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    cargo(
        "docs",
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    ),
    cargo(TESTS, &["test", "--release", "--workspace"], &[]),
    // Each body runs this long, all of them at once.
    cargo(
        "fuzz",
        &["test", "--release", "-p", "ocelli-server", "--test", "fuzz"],
        &[("OCELLI_FUZZ_SECONDS", "30")],
    ),
];

const TESTS: &str = "tests";

const fn cargo(
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
) -> Step {
    Step {
        name,
        action: Action::Cargo {
            arguments,
            environment,
        },
    }
}

/// Runs the steps; `false` when one failed.
///
/// # Errors
/// When a step could not be started.
pub(crate) fn run(root: &Path, tests: Tests) -> Result<bool> {
    let mut summary = Vec::new();
    let mut all_passed = true;
    for step in &STEPS {
        if step.name == TESTS && tests == Tests::Skip {
            summary.push(format!("{:<8} skipped (--skip-tests)", step.name));
            continue;
        }
        if !all_passed {
            summary.push(format!("{:<8} not run", step.name));
            continue;
        }
        let start = Instant::now();
        all_passed = run_step(root, step)?;
        let verdict = if all_passed { "passed" } else { "FAILED" };
        summary.push(line(step.name, verdict, start.elapsed()));
    }
    println!("\nsummary");
    for line in &summary {
        println!("  {line}");
    }
    Ok(all_passed)
}

fn line(name: &str, verdict: &str, took: Duration) -> String {
    format!("{name:<8} {verdict} in {:.1} s", took.as_secs_f64())
}

fn run_step(root: &Path, step: &Step) -> Result<bool> {
    match step.action {
        Action::Tidy => {
            println!("==> {}", step.name);
            tidy::run(root)
        }
        Action::Cargo {
            arguments,
            environment,
        } => {
            let settings: String = environment
                .iter()
                .map(|(key, value)| format!("{key}=\"{value}\" "))
                .collect();
            println!("==> {}: {settings}cargo {}", step.name, arguments.join(" "));
            let status = Command::new(cargo_program())
                .args(arguments)
                .envs(environment.iter().copied())
                .current_dir(root)
                .status()
                .with_context(|| format!("cannot start cargo for `{}`", step.name))?;
            Ok(status.success())
        }
    }
}

/// The cargo that runs this task, so that a chosen toolchain stays chosen.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
