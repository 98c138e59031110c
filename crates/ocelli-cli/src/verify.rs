//! `ocelli verify`: the stages of a run beside those of a reference.

use ocelli::trace::{StageReport, Trace, compare};
use serde_json::{Value, json};

use crate::args::{Precision, VerifyArgs};
use crate::failure::{Code, Failure};
use crate::output::{Output, print_json};
use crate::trace::prepare;

/// Runs the command.
///
/// # Errors
/// With code 1 when a stage is over the tolerance or missing.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let reference = Trace::read(&args.reference)?;
    let decode = args.decode.unwrap_or_else(|| decoded(&reference));
    let (mut model, request) = prepare(&args.stages, Precision::F32)?;
    let got = model.trace(&request, decode)?;
    let comparison = Comparison {
        stages: compare(&got, &reference, args.tolerance),
        only_here: got
            .stages
            .keys()
            .filter(|name| !reference.stages.contains_key(*name))
            .cloned()
            .collect(),
        tolerance: args.tolerance,
    };
    if args.json {
        print_json(&comparison.json())?;
    } else {
        let mut output = Output::new();
        output.text(&comparison.table());
        output.finish()?;
    }
    comparison.verdict(&args.reference.display().to_string())
}

/// How many tokens the reference decoded.
fn decoded(reference: &Trace) -> usize {
    let number = |name: &str| {
        name.strip_prefix("decode.")?
            .strip_suffix(".logits")?
            .parse::<usize>()
            .ok()
    };
    let logits = reference
        .stages
        .keys()
        .filter_map(|name| number(name))
        .max()
        .map_or(0, |last| last + 1);
    let tokens = reference
        .stages
        .get("decode.tokens")
        .and_then(|stage| stage.shape.first().copied());
    logits.max(tokens.unwrap_or(0))
}

struct Comparison {
    /// In the order of a run.
    stages: Vec<StageReport>,
    /// Stages of this run that the reference does not have.
    only_here: Vec<String>,
    tolerance: f64,
}

impl Comparison {
    fn first_failed(&self) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.failed)
    }

    fn failed(&self) -> usize {
        self.stages.iter().filter(|stage| stage.failed).count()
    }

    fn table(&self) -> String {
        let width = self
            .stages
            .iter()
            .map(|stage| stage.name.len())
            .max()
            .unwrap_or(0)
            .max(5);
        let mut lines = vec![format!(
            "{:<width$}  {:<16} {:>10}  verdict",
            "stage", "shape", "error"
        )];
        for stage in &self.stages {
            let line = format!(
                "{:<width$}  {:<16} {:>10}  {}",
                stage.name,
                shape(stage),
                error(stage),
                verdict(stage)
            );
            lines.push(line);
        }
        if !self.only_here.is_empty() {
            lines.push(format!("not in the reference: {}", ranges(&self.only_here)));
        }
        lines.push(match self.first_failed() {
            None => format!(
                "{} stages agree within {:e}",
                self.stages.len(),
                self.tolerance
            ),
            Some(first) => format!(
                "{} of {} stages fail; the first is {}",
                self.failed(),
                self.stages.len(),
                first.name
            ),
        });
        lines.join("\n") + "\n"
    }

    fn json(&self) -> Value {
        let stage_json = |stage: &StageReport| {
            json!({
                "name": stage.name,
                "shape": stage.shape,
                // JSON has no infinity.
                "error": stage.error.is_finite().then_some(stage.error),
                "exact": stage.exact,
                "failed": stage.failed,
                "note": stage.note,
            })
        };
        json!({
            "passed": self.first_failed().is_none() && !self.stages.is_empty(),
            "tolerance": self.tolerance,
            "first_failed": self.first_failed().map(|stage| &stage.name),
            "stages": self.stages.iter().map(stage_json).collect::<Vec<Value>>(),
            "not_in_reference": self.only_here,
        })
    }

    fn verdict(&self, reference: &str) -> Result<(), Failure> {
        if self.stages.is_empty() {
            return Err(Failure::new(
                Code::Check,
                format_args!("verify: {reference}: found no stages, need at least one"),
            ));
        }
        match self.first_failed() {
            None => Ok(()),
            Some(first) => {
                let found = match &first.note {
                    Some(note) => note.clone(),
                    None if first.exact => {
                        format!("values that differ (error {:.2e})", first.error)
                    }
                    None => format!("error {:.2e}", first.error),
                };
                let need = match first.exact {
                    true => "equal values".to_owned(),
                    false => format!("at most {:e}", self.tolerance),
                };
                Err(Failure::new(
                    Code::Check,
                    format_args!("verify: {}: found {found}, need {need}", first.name),
                ))
            }
        }
    }
}

fn shape(stage: &StageReport) -> String {
    let sides: Vec<String> = stage.shape.iter().map(usize::to_string).collect();
    format!("[{}]", sides.join(", "))
}

fn error(stage: &StageReport) -> String {
    match stage.error {
        0.0 => "0".to_owned(),
        infinite if !infinite.is_finite() => "-".to_owned(),
        error => format!("{error:.2e}"),
    }
}

fn verdict(stage: &StageReport) -> String {
    let word = match (stage.failed, stage.exact) {
        (true, _) => "FAIL",
        (false, true) => "equal",
        (false, false) => "ok",
    };
    match &stage.note {
        Some(note) => format!("{word}: {note}"),
        None => word.to_owned(),
    }
}

/// Names, at most a few of them.
fn ranges(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        ..=SHOWN => shown,
        all => format!("{shown} and {} more", all - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, error: f64, exact: bool, failed: bool) -> StageReport {
        StageReport {
            name: name.to_owned(),
            shape: vec![2, 3],
            error,
            exact,
            failed,
            note: None,
        }
    }

    #[test]
    fn the_verdict_names_the_first_stage_that_fails() {
        let stages = vec![
            stage("prompt.tokens", 0.0, true, false),
            stage("text.layer.0", 3e-3, false, true),
            stage("logits", f64::INFINITY, false, true),
        ];
        let comparison = Comparison {
            stages,
            only_here: vec!["x".to_owned()],
            tolerance: 1e-4,
        };
        let table = comparison.table();
        assert!(
            table.contains("the first is text.layer.0")
                && table.contains("not in the reference: x"),
            "{table}"
        );
        let failure = comparison.verdict("t.safetensors").unwrap_err();
        assert_eq!(failure.code(), 1);
        assert_eq!(
            failure.message(),
            Some("verify: text.layer.0: found error 3.00e-3, need at most 1e-4")
        );
        assert_eq!(comparison.json()["first_failed"], "text.layer.0");
        assert!(comparison.json()["stages"][2]["error"].is_null());
    }

    #[test]
    fn a_reference_without_stages_proves_nothing() {
        let comparison = Comparison {
            stages: Vec::new(),
            only_here: Vec::new(),
            tolerance: 1e-4,
        };
        assert_eq!(comparison.verdict("t").unwrap_err().code(), 1);
    }
}
