//! How fast a model runs here, stage by stage, as shares of what the machine can do at most.
//!
//! The machine's limits (reading of memory, peaks of its arithmetic units) are measured in the same
//! run, on the same threads, again beside every stage. A model comes from files, or is made of
//! nothing in the shape of a published one.
//!
//! ```
//! use ocelli::bench::{BenchOptions, Subject, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = BenchOptions {
//!     subject: Subject::Shape { shape: "tiny".parse()?, file_type: "q4_k_m".parse()?, projector_type: "f16".parse()? },
//!     images: vec![(64, 64)],
//!     new_tokens: 4,
//!     repeats: 1,
//!     ..BenchOptions::default()
//! };
//! let report = run(&options, &mut |_| {})?;
//! println!("first token after {:?} s", report.time_to_first_token_s);
//! # Ok(())
//! # }
//! ```

mod case;
mod limits;
mod load;
mod operations;
mod picture;
mod random;
mod report;
mod shape;
mod still;
mod synthetic;
mod system;
mod tensors;
mod vocabulary;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_cpu::{CpuBackend, CpuOptions};
use ocelli_engine::STEP_ROWS;

pub use operations::{OperationReport, OperationsReport};
pub use report::{MachineReport, ModelReport, PeakReport, Report, Run, Stage, Stages, TokenStage};
pub use shape::Shape;

use crate::convert::FileType;
use crate::{Error, Isa, KvElement, Precision};
use case::Case;
use limits::Limits;
use load::Loaded;

/// Text tokens beside a picture unless asked otherwise: a short question.
const QUESTION_TOKENS: usize = 12;
/// Prompt tokens without a picture unless asked otherwise.
const TEXT_TOKENS: usize = 512;
/// The picture unless asked otherwise.
const PICTURE: (u32, u32) = (1024, 1024);

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The model.
    pub subject: Subject,
    /// Pictures, width and height: each is a case. With neither pictures nor prompts, one of 1024 x 1024.
    pub images: Vec<(u32, u32)>,
    /// Text tokens of the prompt, beside the picture: each is a case, for every picture.
    pub text_tokens: Vec<usize>,
    /// Tokens that are generated.
    pub new_tokens: usize,
    /// Sequences that are generated in one step, at most 544: each is a case.
    pub batches: Vec<usize>,
    /// Threads that compute; `None` for as many as the process may use.
    pub threads: Option<usize>,
    /// Instruction set; `None` for the fastest there is.
    pub isa: Option<Isa>,
    /// Arithmetic.
    pub precision: Precision,
    /// What keys and values are kept in; `None` as for [`crate::Options::kv`].
    pub kv: Option<KvElement>,
    /// How often each case is run, after one run that does not count.
    pub repeats: usize,
    /// Whether the time of every kind of operation is kept, too.
    pub operations: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            subject: Subject::default(),
            images: Vec::new(),
            text_tokens: Vec::new(),
            new_tokens: 64,
            batches: vec![1],
            threads: None,
            isa: None,
            precision: Precision::default(),
            kv: None,
            repeats: 3,
            operations: false,
        }
    }
}

/// The model that is measured.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Random weights in the shape of a published model.
    Shape {
        /// The shape.
        shape: Shape,
        /// Types of the text model.
        file_type: FileType,
        /// Types of the projector.
        projector_type: FileType,
    },
    /// A text model, with its projector if that does not lie beside it.
    Files {
        /// The text model.
        text: PathBuf,
        /// The projector.
        projector: Option<PathBuf>,
    },
}

impl Default for Subject {
    fn default() -> Self {
        Self::Shape {
            shape: Shape::ALL[0],
            file_type: FileType::Q4_K_M,
            projector_type: FileType::F16,
        }
    }
}

/// How far a benchmark is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What begins now.
    Step(String),
    /// How far it is.
    Detail(String),
}

/// Gets told what happens.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// Measures.
///
/// # Errors
/// When the model cannot be opened or made, memory is short, or a setting cannot be.
pub fn run(options: &BenchOptions, progress: OnProgress<'_>) -> Result<Report, Error> {
    check(options)?;
    load::check_subject(options)?;
    let (cpu, memory, system, load_average) = system::describe();
    let backend = CpuBackend::new(&CpuOptions {
        threads: options.threads,
        isa: options.isa,
        precision: options.precision,
    });
    let backend = Arc::new(backend.map_err(|error| Error::Backend(error.to_string()))?);
    let step = |what: &str| Progress::Step(what.to_owned());
    progress(step("measuring the machine"));
    let Some(machine) = backend.measure_machine() else {
        let what = "the machine's memory cannot be measured: none is free".to_owned();
        return Err(Error::Backend(what));
    };
    let mut loaded = Loaded::new(options, &backend, progress)?;
    let mut limits = Limits::new(&backend, machine);
    let cases = loaded.cases.clone();
    let mut runs = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        let name = format!("case {} of {}, {case}", index + 1, cases.len());
        progress(Progress::Step(name));
        runs.push(loaded.measure(case, &mut limits, progress)?);
    }
    let first: &Run = runs
        .first()
        .ok_or_else(|| Error::Settings("no case".to_owned()))?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        stages: first.stages.clone(),
        time_to_first_token_s: first.time_to_first_token_s,
        machine: describe(&limits, (cpu, memory, system, load_average)),
        model: loaded.describe(options),
        peak_memory_mb: limits.peak_bytes().map(|bytes| bytes as f64 / 1e6),
        repeats: options.repeats,
        runs,
    })
}

/// Writes the pair of a shape as files, as large as the published ones, for other programs to be
/// measured with.
///
/// `is_stopped` is asked before each tensor; once it says so, nothing is left of the files and none
/// come back.
///
/// # Errors
/// When the type does not fit the shape or the files cannot be written.
pub fn write(
    shape: &Shape,
    (file_type, projector_type): (FileType, FileType),
    folder: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<[PathBuf; 2]>, Error> {
    let pair = synthetic::pair(shape, file_type, projector_type)?;
    synthetic::write(folder, &pair, is_stopped)
}

fn check(options: &BenchOptions) -> Result<(), Error> {
    let counts = [options.new_tokens, options.repeats, options.batches.len()];
    let numbers = options.text_tokens.iter().chain(&options.batches);
    if counts.iter().chain(numbers).any(|&count| count == 0) {
        let what = "tokens, repeats and sequences: found 0, need at least 1";
        return Err(Error::Settings(what.to_owned()));
    }
    match options.batches.iter().find(|&&batch| batch > STEP_ROWS) {
        None => Ok(()),
        Some(batch) => Err(Error::Settings(format!(
            "{batch} sequences in one step, need at most {STEP_ROWS}"
        ))),
    }
}

/// Every combination of pictures, prompts and batches.
fn cases(options: &BenchOptions, can_see: bool) -> Vec<Case> {
    let images: Vec<Option<(u32, u32)>> = match options.images.is_empty() {
        false => options.images.iter().copied().map(Some).collect(),
        true if can_see && options.text_tokens.is_empty() => vec![Some(PICTURE)],
        true => vec![None],
    };
    let mut cases = Vec::new();
    for image in images {
        let usual = [image.map_or(TEXT_TOKENS, |_| QUESTION_TOKENS)];
        let texts = match options.text_tokens.as_slice() {
            [] => &usual,
            given => given,
        };
        for &text_tokens in texts {
            cases.extend(options.batches.iter().map(|&batch| Case {
                image,
                text_tokens,
                batch,
            }));
        }
    }
    cases
}

fn describe(
    limits: &Limits,
    (cpu, memory, system, load_average): (String, u64, String, f64),
) -> MachineReport {
    let (machine, limit) = (&limits.machine, limits.since((0, 0)));
    let peaks = machine.peaks.iter().map(|peak| PeakReport {
        isa: peak.isa,
        operands: peak.operands,
        tera_per_second: peak.tera,
    });
    MachineReport {
        cpu,
        memory_gb: memory as f64 / 1e9,
        system,
        load_average,
        isa: machine.isa.to_owned(),
        threads: machine.threads,
        read_gbps: limit.read_gbps,
        bf16_tflops: limit.float_tera,
        int8_tops: machine.int8_tera(),
        peaks: peaks.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_sequences_are_measured_than_a_step_takes() {
        let of = |batch| {
            check(&BenchOptions {
                batches: vec![1, batch],
                ..BenchOptions::default()
            })
        };
        assert!(of(STEP_ROWS).is_ok());
        assert!(of(STEP_ROWS + 1).is_err() && of(0).is_err());
    }

    #[test]
    fn cases_are_all_combinations_and_the_default_is_one_picture_with_a_question() {
        let case = |image, text_tokens, batch| Case {
            image,
            text_tokens,
            batch,
        };
        let none = BenchOptions::default();
        assert_eq!(cases(&none, true), [case(Some(PICTURE), 12, 1)]);
        assert_eq!(cases(&none, false), [case(None, 512, 1)]);
        let given = BenchOptions {
            images: vec![(8, 9)],
            text_tokens: vec![5, 6],
            batches: vec![1, 8],
            ..BenchOptions::default()
        };
        let image = Some((8, 9));
        assert_eq!(
            cases(&given, true),
            [
                case(image, 5, 1),
                case(image, 5, 8),
                case(image, 6, 1),
                case(image, 6, 8)
            ]
        );
        let text = BenchOptions {
            text_tokens: vec![7],
            ..BenchOptions::default()
        };
        assert_eq!(cases(&text, true), [case(None, 7, 1)]);
    }
}
