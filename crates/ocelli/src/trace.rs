//! Named intermediates of a run, in a file, and how two runs compare.
//!
//! A trace is a safetensors file. Names: `image.{i}.pixels`, `image.{i}.grid`, `vision.{i}.patch_embed`,
//! `vision.{i}.layer.{n}`, `vision.{i}.output`, `vision.{i}.deepstack.{k}`, `prompt.tokens`,
//! `prompt.positions`, `text.layer.{n}`, `logits`, `decode.{k}.logits`, `decode.tokens`. Of videos:
//! `video.{i}.pixels`, `video.{i}.grid` and `vision.video.{i}.patch_embed` and so on, the rows of all temporal
//! patches below each other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::path::Path;

use ocelli_engine::{Owner, Traced};
use ocelli_image::{Patches, write_bytes};
use ocelli_tensor::Stage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::Error;

/// Values of one stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers that may differ a little.
    F32(Vec<f32>),
    /// Numbers that must be equal.
    I32(Vec<i32>),
}

/// One stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Size of each dimension, slowest first.
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub values: Values,
}

/// All stages of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// By name.
    pub stages: BTreeMap<String, Entry>,
}

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
fn order(name: &str) -> (usize, Vec<usize>, String) {
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

impl Trace {
    /// Writes the trace.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes: Vec<(&String, Dtype, &Vec<usize>, Vec<u8>)> = self
            .stages
            .iter()
            .map(|(name, entry)| match &entry.values {
                Values::F32(v) => (
                    name,
                    Dtype::F32,
                    &entry.shape,
                    to_bytes(v, |v| v.to_le_bytes()),
                ),
                Values::I32(v) => (
                    name,
                    Dtype::I32,
                    &entry.shape,
                    to_bytes(v, |v| v.to_le_bytes()),
                ),
            })
            .collect();
        let unusable = |what: String| Error::Trace {
            path: path.to_owned(),
            what,
        };
        let views = bytes
            .iter()
            .map(|(name, dtype, shape, data)| {
                let view = TensorView::new(*dtype, (*shape).clone(), data);
                Ok((name.as_str(), view.map_err(|e| unusable(e.to_string()))?))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let about = [
            ("format", "ocelli-trace"),
            ("version", "1"),
            ("engine", "ocelli"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let file = safetensors::serialize(views, Some(about.into()))
            .map_err(|error| unusable(error.to_string()))?;
        write_bytes(path, &file).map_err(|source| Error::Path {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Reads a trace, from this program or from the reference.
    ///
    /// # Errors
    /// When the file is missing, no safetensors file, or holds other types than F32, I32 and I64.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Path {
            action: "read",
            path: path.to_owned(),
            source,
        };
        // Asked before opening: a pipe could wait and a device go on for ever.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !(metadata.is_file() || metadata.is_dir()) {
            return Err(failed(std::io::Error::other("this is no regular file")));
        }
        let file = std::fs::read(path).map_err(failed)?;
        let unusable = |what: String| Error::Trace {
            path: path.to_owned(),
            what,
        };
        let tensors = SafeTensors::deserialize(&file).map_err(|e| unusable(e.to_string()))?;
        let mut trace = Self::default();
        for (name, view) in tensors.tensors() {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(numbers(data, f32::from_le_bytes)),
                Dtype::I32 => Values::I32(numbers(data, i32::from_le_bytes)),
                Dtype::I64 => Values::I32(numbers(data, |b| i64::from_le_bytes(b) as i32)),
                other => return Err(unusable(format!("{name} is {other:?}, need F32 or I32"))),
            };
            let shape = view.shape().to_vec();
            trace.stages.insert(name, Entry { shape, values });
        }
        Ok(trace)
    }
}

fn to_bytes<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| bytes(*v)).collect()
}

fn numbers<T, const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|b| number(*b)).collect()
}

/// Collects stages while a model runs.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    trace: Trace,
}

impl Recorder {
    /// Adds a picture, or the next temporal patch of a video.
    pub(crate) fn picture(&mut self, owner: Owner, patches: &Patches) {
        let name = match owner {
            Owner::Image(index) => format!("image.{index}"),
            Owner::Video(index) => format!("video.{index}"),
        };
        let grid = patches.grid;
        let columns = patches.pixels.len() / grid.patches();
        self.rows(format!("{name}.pixels"), columns, &patches.pixels);
        let sides = [grid.t, grid.h, grid.w].map(|n| n as i32);
        let whole = Entry {
            shape: vec![3],
            values: Values::I32(sides.to_vec()),
        };
        match self.trace.stages.entry(format!("{name}.grid")) {
            Occupied(mut entry) => {
                if let Values::I32(sides) = &mut entry.get_mut().values {
                    sides[0] += grid.t as i32;
                }
            }
            Vacant(entry) => drop(entry.insert(whole)),
        }
    }

    /// Adds a stage. Rows of the same stage from later steps of a prompt, and from later temporal patches,
    /// go below the earlier ones.
    pub(crate) fn stage(&mut self, owner: Option<Owner>, stage: &Stage<'_>) {
        let name = match owner {
            Some(Owner::Image(index)) => format!("vision.{index}.{}", stage.name),
            Some(Owner::Video(index)) => format!("vision.video.{index}.{}", stage.name),
            None => format!("text.{}", stage.name),
        };
        self.rows(name, stage.columns, stage.values);
    }

    fn rows(&mut self, name: String, columns: usize, rows: &[f32]) {
        let entry = self.trace.stages.entry(name).or_insert_with(|| Entry {
            shape: vec![0, columns],
            values: Values::F32(Vec::new()),
        });
        entry.shape[0] += rows.len() / columns;
        if let Values::F32(values) = &mut entry.values {
            values.extend_from_slice(rows);
        }
    }

    pub(crate) fn finish(mut self, traced: Traced) -> Trace {
        let count = traced.tokens.len();
        let tokens = traced.tokens.iter().map(|t| *t as i32).collect();
        self.whole("prompt.tokens".to_owned(), vec![count], tokens);
        let positions = (0..3)
            .flat_map(|axis| traced.positions.iter().map(move |p| p[axis] as i32))
            .collect();
        self.whole("prompt.positions".to_owned(), vec![3, count], positions);
        self.floats(
            "logits".to_owned(),
            vec![traced.logits.len()],
            traced.logits,
        );
        if !traced.decoded.is_empty() {
            let tokens: Vec<i32> = traced.decoded.iter().map(|(t, _)| *t as i32).collect();
            self.whole("decode.tokens".to_owned(), vec![tokens.len()], tokens);
        }
        for (k, (_, logits)) in traced.decoded.into_iter().enumerate() {
            self.floats(format!("decode.{k}.logits"), vec![logits.len()], logits);
        }
        self.trace
    }

    fn floats(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        let values = Values::F32(values);
        self.trace.stages.insert(name, Entry { shape, values });
    }

    fn whole(&mut self, name: String, shape: Vec<usize>, values: Vec<i32>) {
        let values = Values::I32(values);
        self.trace.stages.insert(name, Entry { shape, values });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(stages: &[(&str, &[f32])]) -> Trace {
        let mut recorder = Recorder::default();
        for (name, values) in stages {
            recorder.floats((*name).to_owned(), vec![values.len()], values.to_vec());
        }
        recorder.trace
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

    #[test]
    fn a_trace_comes_back_from_its_file() {
        let dir = std::env::temp_dir().join(format!("ocelli-trace-{}", std::process::id()));
        let mut written = trace(&[("logits", &[1.0, -2.5])]);
        let entry = Entry {
            shape: vec![2],
            values: Values::I32(vec![3, -4]),
        };
        written.stages.insert("prompt.tokens".to_owned(), entry);
        written.write(&dir).unwrap();
        let read = Trace::read(&dir);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(read.unwrap(), written);
    }
}
