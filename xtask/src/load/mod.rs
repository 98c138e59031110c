//! `cargo xtask load`: many clients on a server of the demo model, and what became of each.
//!
//! Arrivals are open-loop: they come at their time, however busy the server is. Each answer is
//! compared with the one that the same request got alone.

mod cases;
mod client;
mod hostile;
mod scenarios;
mod server;
mod throughput;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use client::{Answer, Missing};

/// What is run, and how much of it.
#[derive(Debug)]
struct Settings {
    program: PathBuf,
    /// Of each scenario.
    time: Duration,
    clients: usize,
    restarts: usize,
    /// Empty for all.
    scenarios: Vec<String>,
}

/// Reads arguments and runs the scenarios; `false` when a gate failed.
///
/// # Errors
/// When an argument is wrong or the server does not start.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    if let ["throughput", rest @ ..] = arguments {
        return throughput::run(rest);
    }
    let settings = read(root, arguments)?;
    type Scenario = fn(&Settings) -> Result<Report>;
    let all: [(&str, Scenario); 6] = [
        ("steady", scenarios::steady),
        ("disconnects", scenarios::disconnects),
        ("slow", scenarios::slow_readers),
        ("overload", scenarios::overload),
        ("hostile", hostile::hostile),
        ("sigterm", scenarios::sigterm),
    ];
    for name in &settings.scenarios {
        if !all.iter().any(|(known, _)| known == name) {
            bail!(
                "unknown scenario `{name}`: need steady, disconnects, slow, overload, hostile or sigterm"
            );
        }
    }
    let mut all_passed = true;
    for (name, scenario) in all {
        if !settings.scenarios.is_empty() && !settings.scenarios.iter().any(|s| s == name) {
            continue;
        }
        let start = Instant::now();
        let report = scenario(&settings)?;
        all_passed &= report.passed();
        println!("{name} ({:.0} s): {report}", start.elapsed().as_secs_f64());
    }
    Ok(all_passed)
}

fn read(root: &Path, arguments: &[&str]) -> Result<Settings> {
    let mut settings = Settings {
        program: root.join("target/release/ocelli"),
        time: Duration::from_secs(20),
        clients: 64,
        restarts: 5,
        scenarios: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match *argument {
            "--seconds" => settings.time = Duration::from_secs(value()?.parse()?),
            "--clients" => settings.clients = value()?.parse::<usize>()?.max(1),
            "--restarts" => settings.restarts = value()?.parse()?,
            "--server" => settings.program = PathBuf::from(value()?),
            name if !name.starts_with('-') => settings.scenarios.push(name.to_owned()),
            other => bail!("unknown argument `{other}`"),
        }
    }
    Ok(settings)
}

/// What became of a scenario's requests.
#[derive(Debug, Default)]
pub(crate) struct Report {
    requests: usize,
    /// Requests that should have had an answer and had none, or half of one.
    lost: usize,
    /// Answers that differ from the one alone.
    wrong: usize,
    /// Refusals with `Retry-After`.
    refused: usize,
    /// Other answers than 200 and 503.
    other: usize,
    panics: u64,
    firsts: Vec<Duration>,
    gaps: Vec<Duration>,
    peak_mib: f64,
    slope_mib: f64,
    /// What else is to be said.
    notes: Vec<String>,
    /// Gates that did not hold.
    failed: Vec<String>,
}

impl Report {
    fn passed(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.panics == 0 && self.failed.is_empty()
    }

    /// Counts an answer that should be this one.
    fn count(&mut self, answer: Result<Answer, Missing>, alone: &str) {
        self.requests += 1;
        match answer {
            Err(_) => self.lost += 1,
            Ok(answer) if answer.status == 503 && answer.has_retry_after => self.refused += 1,
            Ok(answer) if answer.status != 200 => self.other += 1,
            Ok(answer) => {
                self.wrong += usize::from(answer.text != alone);
                self.firsts.push(answer.first);
                self.gaps.extend(answer.gaps);
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.other += other.other;
        self.firsts.extend(other.firsts);
        self.gaps.extend(other.gaps);
    }
}

/// The value below which this share of the sorted values lies, in milliseconds.
fn percentile(values: &mut [Duration], share: f64) -> f64 {
    values.sort_unstable();
    let place = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values
        .get(place)
        .map_or(0.0, |value| value.as_secs_f64() * 1e3)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut firsts, mut gaps) = (self.firsts.clone(), self.gaps.clone());
        write!(
            f,
            "requests {}, answered {}, lost {}, wrong {}, refused {}, other {}, panics {}, \
             first token p50/p99/max {:.0}/{:.0}/{:.0} ms, gap p99/max {:.0}/{:.0} ms",
            self.requests,
            self.firsts.len(),
            self.lost,
            self.wrong,
            self.refused,
            self.other,
            self.panics,
            percentile(&mut firsts, 0.5),
            percentile(&mut firsts, 0.99),
            percentile(&mut firsts, 1.0),
            percentile(&mut gaps, 0.99),
            percentile(&mut gaps, 1.0),
        )?;
        if self.peak_mib > 0.0 {
            write!(
                f,
                ", memory peak {:.0} MiB, slope {:+.1} MiB/h",
                self.peak_mib, self.slope_mib
            )?;
        }
        for note in &self.notes {
            write!(f, ", {note}")?;
        }
        for failed in &self.failed {
            write!(f, ", FAILED: {failed}")?;
        }
        f.write_str(if self.passed() {
            ": passed"
        } else {
            ": FAILED"
        })
    }
}
