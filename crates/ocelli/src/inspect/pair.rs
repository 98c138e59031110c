//! Which files belong together, and why.

use std::path::{Path, PathBuf};

use ocelli_gguf::Gguf;
use ocelli_store::{
    FileKind, Pairing, ProjectorFacts, TextFacts, find_projector, find_text_model, fit,
};
use serde::Serialize;

use super::{Cache, MemoryReport, Opened, memory};

/// A text model and its projector.
#[derive(Clone, Debug, Serialize)]
pub struct PairReport {
    /// The text model; the projector itself when it has none.
    pub text: PathBuf,
    /// The projector; `None` when there is none, or when `text` holds the vision part too.
    pub projector: Option<PathBuf>,
    /// True when both can be opened as one model, or when the file is one by itself.
    pub fits: bool,
    /// Why this projector, or why none.
    pub reason: String,
    /// Other files that were looked at, each with the reason against it.
    pub rejected: Vec<Rejected>,
    /// Why this engine cannot run it; `None` when it can.
    pub problem: Option<String>,
    /// What it needs; `None` when it cannot be run.
    pub memory: Option<MemoryReport>,
}

/// A file that was not taken.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// Every text model with each projector that was named beside it, else with the one found beside it on disk.
pub(super) fn reports(opened: &[Opened], cache: Cache) -> Vec<PairReport> {
    let projectors: Vec<(&Opened, &ProjectorFacts)> = opened
        .iter()
        .filter_map(|one| match &one.kind {
            FileKind::Projector(facts) => Some((one, facts)),
            _ => None,
        })
        .collect();
    let mut reports = Vec::new();
    let mut has_text = false;
    for one in opened {
        match &one.kind {
            FileKind::Text(facts) if projectors.is_empty() => {
                reports.push(with_found(one, facts, cache))
            }
            FileKind::Text(facts) => reports.extend(
                projectors
                    .iter()
                    .map(|&pair| with_named((one, facts), pair, cache)),
            ),
            FileKind::Merged(_) => reports.push(merged(one, cache)),
            FileKind::Projector(_) | FileKind::Other(_) => continue,
        }
        has_text = true;
    }
    if !has_text {
        reports.extend(
            projectors
                .iter()
                .map(|(one, facts)| without_text(one, facts, cache)),
        );
    }
    reports
}

fn with_named(
    (text, text_facts): (&Opened, &TextFacts),
    (projector, facts): (&Opened, &ProjectorFacts),
    cache: Cache,
) -> PairReport {
    let judged = fit(text_facts, facts);
    let report = Paths {
        text: &text.path,
        projector: Some(&projector.path),
    };
    match judged {
        Ok(matched) => {
            let reason = match matched.is_empty() {
                true => "nothing speaks against it".to_owned(),
                false => matched.join(", "),
            };
            report.fitting(reason, Vec::new(), &text.file, Some(&projector.file), cache)
        }
        Err(misfit) => report.alone(false, misfit.to_string(), Vec::new()),
    }
}

fn with_found(text: &Opened, facts: &TextFacts, cache: Cache) -> PairReport {
    let (projector, pairing) = find_projector(&text.path, facts);
    let rejected = rejected(&pairing);
    let report = Paths {
        text: &text.path,
        projector: pairing.chosen.as_deref(),
    };
    report.fitting(
        pairing.reason,
        rejected,
        &text.file,
        projector.as_ref(),
        cache,
    )
}

fn merged(text: &Opened, cache: Cache) -> PairReport {
    let reason = "text and vision are in one file".to_owned();
    let report = Paths {
        text: &text.path,
        projector: None,
    };
    report.fitting(reason, Vec::new(), &text.file, Some(&text.file), cache)
}

fn without_text(projector: &Opened, facts: &ProjectorFacts, cache: Cache) -> PairReport {
    let (text, pairing) = find_text_model(&projector.path, facts);
    let rejected = rejected(&pairing);
    match (&text, &pairing.chosen) {
        (Some(file), Some(path)) => {
            let report = Paths {
                text: path,
                projector: Some(&projector.path),
            };
            report.fitting(pairing.reason, rejected, file, Some(&projector.file), cache)
        }
        _ => {
            let report = Paths {
                text: &projector.path,
                projector: None,
            };
            report.alone(
                false,
                format!("no text model: {}", pairing.reason),
                rejected,
            )
        }
    }
}

fn rejected(pairing: &Pairing) -> Vec<Rejected> {
    let one = |(path, why): &(PathBuf, String)| Rejected {
        path: path.clone(),
        why: why.clone(),
    };
    pairing.rejected.iter().map(one).collect()
}

/// The files of a report to be.
struct Paths<'a> {
    text: &'a Path,
    projector: Option<&'a Path>,
}

impl Paths<'_> {
    fn alone(&self, fits: bool, reason: String, rejected: Vec<Rejected>) -> PairReport {
        PairReport {
            text: self.text.to_owned(),
            projector: self.projector.map(Path::to_owned),
            fits,
            reason,
            rejected,
            problem: None,
            memory: None,
        }
    }

    fn fitting(
        &self,
        reason: String,
        rejected: Vec<Rejected>,
        text: &Gguf,
        vision: Option<&Gguf>,
        cache: Cache,
    ) -> PairReport {
        let mut report = self.alone(true, reason, rejected);
        match memory::report(text, vision, cache) {
            Ok(needed) => report.memory = Some(needed),
            Err(error) => report.problem = Some(error.to_string()),
        }
        report
    }
}
