//! How two runs compare, stage by stage.

use super::{Entry, Trace, Values};

/// How one stage compares with the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// Name of the stage.
    pub name: String,
    /// Its shape in the reference.
    pub shape: Vec<usize>,
    /// `max|a - b| / max|b|`, infinite where shapes differ or a value is not finite. Zero for equal
    /// whole numbers, the number of differing ones otherwise.
    pub error: f64,
    /// True when the values had to be equal.
    pub exact: bool,
    /// True when the error is over the tolerance.
    pub failed: bool,
    /// What to know beside the number.
    pub note: Option<String>,
}

/// Compares each stage of `reference` with the same one of `got`, in the order of a run. Stages of a run
/// that the reference lacks are left out.
pub fn compare(got: &Trace, reference: &Trace, tolerance: f64) -> Vec<StageReport> {
    let mut reports: Vec<StageReport> = reference
        .stages
        .iter()
        .map(|(name, expected)| report(name, got.stages.get(name), expected, tolerance))
        .collect();
    reports.sort_by_key(|report| order(&report.name));
    reports
}

fn report(name: &str, got: Option<&Entry>, expected: &Entry, tolerance: f64) -> StageReport {
    let exact = matches!(expected.values, Values::I32(_)) || name.ends_with(".pixels");
    let (error, note) = match got {
        None => (f64::INFINITY, Some("missing in this run".to_owned())),
        Some(got) if got.shape != expected.shape => (
            f64::INFINITY,
            Some(format!("shape {:?} in this run", got.shape)),
        ),
        Some(got) => (difference(got, expected), None),
    };
    StageReport {
        name: name.to_owned(),
        shape: expected.shape.clone(),
        error,
        exact,
        failed: if exact {
            error != 0.0
        } else {
            error > tolerance
        },
        note,
    }
}

fn difference(got: &Entry, expected: &Entry) -> f64 {
    match (&got.values, &expected.values) {
        (Values::F32(a), Values::F32(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            let (mut most, mut scale) = (0.0_f64, 0.0_f64);
            for (a, b) in pairs {
                if !a.is_finite() || !b.is_finite() {
                    return f64::INFINITY;
                }
                most = most.max((a - b).abs());
                scale = scale.max(b.abs());
            }
            if most == 0.0 { 0.0 } else { most / scale }
        }
        (Values::I32(a), Values::I32(b)) => a.iter().zip(b).filter(|(a, b)| a != b).count() as f64,
        _ => f64::INFINITY,
    }
}

/// Where a stage comes in a run, so that the first one that is wrong comes first.
pub(super) fn order(name: &str) -> (usize, Vec<usize>, String) {
    const STAGES: [&str; 17] = [
        "image.grid",
        "image.pixels",
        "video.grid",
        "video.pixels",
        "vision.video.patch_embed",
        "vision.video.layer",
        "vision.video.deepstack",
        "vision.video.output",
        "vision.patch_embed",
        "vision.layer",
        "vision.deepstack",
        "vision.output",
        "prompt.tokens",
        "prompt.positions",
        "text.layer",
        "logits",
        "decode",
    ];
    let numbers = name
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect();
    let words: Vec<&str> = name
        .split('.')
        .filter(|part| part.parse::<usize>().is_err())
        .collect();
    let kind = words.join(".");
    let place = STAGES.iter().position(|stage| kind.starts_with(stage));
    (place.unwrap_or(STAGES.len()), numbers, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(stages: &[(&str, &[f32])]) -> Trace {
        let stages = stages.iter().map(|(name, values)| {
            let entry = Entry {
                shape: vec![values.len()],
                values: Values::F32(values.to_vec()),
            };
            ((*name).to_owned(), entry)
        });
        Trace {
            stages: stages.collect(),
        }
    }

    #[test]
    fn the_first_wrong_stage_of_a_run_comes_first() {
        let reference = trace(&[
            ("logits", &[1.0]),
            ("text.layer.10", &[1.0]),
            ("text.layer.9", &[1.0]),
            ("vision.0.output", &[1.0]),
        ]);
        let got = trace(&[
            ("logits", &[2.0]),
            ("text.layer.10", &[2.0]),
            ("text.layer.9", &[1.0]),
            ("vision.0.output", &[1.0]),
        ]);
        let reports = compare(&got, &reference, 1e-4);
        let failed: Vec<&str> = reports
            .iter()
            .filter(|r| r.failed)
            .map(|r| r.name.as_str())
            .collect();
        assert_eq!(failed, ["text.layer.10", "logits"]);
    }

    #[test]
    fn missing_stages_other_shapes_and_nan_all_fail() {
        let reference = trace(&[("a", &[1.0]), ("b", &[1.0]), ("c", &[1.0])]);
        let got = trace(&[("b", &[1.0, 2.0]), ("c", &[f32::NAN])]);
        assert!(compare(&got, &reference, 1e9).iter().all(|r| r.failed));
    }

    #[test]
    fn pixels_must_be_equal() {
        let reference = trace(&[("image.0.pixels", &[1.0])]);
        let got = trace(&[("image.0.pixels", &[1.000_001])]);
        assert!(compare(&got, &reference, 1e-3)[0].failed);
    }
}
