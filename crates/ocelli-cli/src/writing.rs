//! `ocelli convert`, `quantize`, `merge`, `split` and `repair`: files in, files out, a bar between.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;

use ocelli::convert::{
    self, ConvertOptions, Error, ErrorKind, Existing, Layout, QuantizeOptions, RewriteOptions,
    VisionTensors,
};
use ocelli::quality::{self, Quality};
use serde_json::json;

use crate::args::{ConvertArgs, MergeArgs, QuantizeArgs, RepairArgs, SplitArgs, WriteArgs};
use crate::failure::{Code, Failure, one_line};
use crate::interrupt::Interrupt;
use crate::output::{Output, print_json};
use crate::progress::Progress;

/// A folder for what is written; if it was not there, it goes again when nothing came of it.
struct Folder<'a> {
    made: Option<&'a Path>,
}

impl<'a> Folder<'a> {
    fn at(path: &'a Path) -> Result<Self, Failure> {
        let made = match path.is_dir() {
            true => None,
            false => {
                std::fs::create_dir_all(path)
                    .map_err(|error| Failure::path("make the folder", path, &error))?;
                Some(path)
            }
        };
        Ok(Self { made })
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.made {
            // Fails, as it should, when there is something in it.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// Converts a Hugging Face folder.
///
/// # Errors
/// When the folder or the output is no good.
pub(crate) fn convert(args: &ConvertArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    if let Err(error) = std::fs::metadata(&args.checkpoint) {
        return Err(Failure::path("open", &args.checkpoint, &error));
    }
    let options = ConvertOptions {
        text_type: args.text_type,
        projector_type: args.mmproj_type,
        name: args.name.clone(),
        existing: existing(&args.write),
        threads: threads(&args.write),
    };
    let _folder = Folder::at(&args.out)?;
    let made = with_bar(interrupt, |bar| {
        convert::convert(&args.checkpoint, &args.out, &options, bar)
    })?;
    let files = std::iter::once(&made.text).chain(&made.projector);
    print_files(files.map(|path| path.as_path()))
}

/// Quantises a file.
///
/// # Errors
/// When the input or the output is no good.
pub(crate) fn quantize(args: &QuantizeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let options = QuantizeOptions {
        vision: match args.mmproj {
            true => VisionTensors::Quantize,
            false => VisionTensors::Keep,
        },
        existing: existing(&args.write),
        threads: threads(&args.write),
    };
    let done = with_bar(interrupt, |bar| {
        convert::quantize(&args.input, &args.output, args.file_type, &options, bar)
    })?;
    let report = match done.has_vision && !args.no_report {
        true => Some(measure(args)?),
        false => None,
    };
    if args.json {
        return print_json(&json!({
            "file": args.output.display().to_string(),
            "bytes_before": done.bytes_before,
            "bytes_after": done.bytes_after,
            "notes": done.notes,
            "quality": report,
        }));
    }
    print_notes(&args.write, &done.notes);
    if let Some(report) = &report {
        eprint!("{}", quality_table(report));
    }
    print_files([args.output.as_path()])
}

/// What the written projector lost. The file is there and good whatever comes of this.
fn measure(args: &QuantizeArgs) -> Result<Quality, Failure> {
    let threads = args.write.threads;
    Ok(quality::compare(
        &args.input,
        &args.output,
        args.text.as_deref(),
        threads,
    )?)
}

fn quality_table(report: &Quality) -> String {
    let mut text = format!(
        "against the original, on {}: cosine, and of the worst row\n",
        report.pictures.join(", ")
    );
    for stage in &report.stages {
        text.push_str(&format!(
            "  {:<24} {:.6}  {:.6}\n",
            stage.name, stage.cosine, stage.worst_row
        ));
    }
    match (&report.answers, &report.why_no_answers) {
        (Some(answers), _) => text.push_str(&format!(
            "  {} of {} answers are the same; {} of {} tokens come before the first that differs ({})\n",
            answers.equal,
            answers.of,
            answers.equal_tokens,
            answers.of_tokens,
            one_line(&answers.text.display().to_string())
        )),
        (None, why) => text.push_str(&format!(
            "  answers were not compared: {}. Name a text model with --text\n",
            one_line(why.as_deref().unwrap_or("no text model"))
        )),
    }
    text
}

/// Merges a pair.
///
/// # Errors
/// When the files do not belong together or the output is no good.
pub(crate) fn merge(args: &MergeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let options = rewrite(&args.write, args.repair, None);
    let done = with_bar(interrupt, |bar| {
        convert::merge(&args.text, &args.projector, &args.output, &options, bar)
    })?;
    print_rewritten(&args.write, &done)
}

/// Takes a merged file apart, or cuts a file into numbered parts.
///
/// # Errors
/// When there is nothing to split or the output is no good.
pub(crate) fn split(args: &SplitArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let options = rewrite(&args.write, args.repair, args.max_shard_size);
    let _folder = Folder::at(&args.out)?;
    let done = with_bar(interrupt, |bar| {
        convert::split(&args.input, &args.out, &options, bar)
    })?;
    print_rewritten(&args.write, &done)
}

/// Writes a file of an old converter with current names and keys.
///
/// # Errors
/// When the input is of no known layout or the output is no good.
pub(crate) fn repair(args: &RepairArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let options = rewrite(&args.write, true, None);
    let done = with_bar(interrupt, |bar| {
        convert::repair(&args.input, &args.output, &options, bar)
    })?;
    print_rewritten(&args.write, &done)
}

/// Runs the work with a bar on standard error. Ctrl-C stops it so that nothing half-written is left.
fn with_bar<T>(
    interrupt: &Interrupt,
    work: impl FnOnce(&mut convert::OnProgress<'_>) -> Result<T, Error>,
) -> Result<T, Failure> {
    let mut bar = Progress::new();
    let stop = interrupt.answering();
    let done = work(&mut |progress| {
        bar.write(progress.bytes_done, progress.bytes_total);
        match stop.is_stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.clear();
    Ok(done?)
}

fn existing(args: &WriteArgs) -> Existing {
    match args.force {
        true => Existing::Replace,
        false => Existing::Keep,
    }
}

fn threads(args: &WriteArgs) -> Option<NonZero<usize>> {
    args.threads.and_then(NonZero::new)
}

fn rewrite(args: &WriteArgs, is_repair: bool, part_bytes: Option<NonZero<u64>>) -> RewriteOptions {
    RewriteOptions {
        layout: match is_repair {
            true => Layout::Repair,
            false => Layout::Keep,
        },
        existing: existing(args),
        part_bytes,
        threads: threads(args),
    }
}

fn print_rewritten(args: &WriteArgs, done: &convert::Rewritten) -> Result<(), Failure> {
    print_notes(args, &done.notes);
    print_files(done.files.iter().map(|path| path.as_path()))
}

fn print_notes(args: &WriteArgs, notes: &[String]) {
    if !args.quiet {
        for note in notes {
            eprintln!("note: {}", one_line(note));
        }
    }
}

/// The written files, one a line, for scripts.
fn print_files<'p>(files: impl IntoIterator<Item = &'p Path>) -> Result<(), Failure> {
    let mut output = Output::new();
    for path in files {
        output.text(&format!("{}\n", path.display()));
    }
    output.finish()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Path => Code::Path,
            ErrorKind::BadInput => Code::BadModel,
            ErrorKind::Pair => Code::Pair,
            ErrorKind::Usage => Code::Usage,
            ErrorKind::Stopped => Code::Interrupted,
            ErrorKind::Memory => Code::Memory,
            ErrorKind::Internal => Code::Internal,
        };
        Self::new(code, error)
    }
}
