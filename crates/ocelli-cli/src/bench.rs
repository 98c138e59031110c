//! `ocelli bench`: tables or JSON of what was measured; how far it is goes to standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use ocelli::bench::{self, OperationReport, Progress, Report, Run, Stage, TokenStage};

use crate::args::BenchArgs;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Output, print_json};

/// Runs the command.
///
/// # Errors
/// When the model is bad or missing, or memory is short.
pub(crate) fn bench(args: &BenchArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    if let Some(folder) = &args.write {
        return write_files(args, folder, interrupt);
    }
    let options = args.options()?;
    let mut line = Line::new();
    let report = bench::run(&options, &mut |progress| line.show(&progress))?;
    line.clear();
    if args.json {
        let value = serde_json::to_value(&report);
        return print_json(&value.map_err(|error| Failure::new(Code::Internal, error))?);
    }
    let mut output = Output::new();
    output.text(&match args.md {
        true => markdown(&report),
        false => plain(&report),
    });
    output.finish()
}

/// Ctrl-C stops it so that nothing half-written is left.
fn write_files(args: &BenchArgs, folder: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    eprintln!("writing {} of {}", args.file_type, args.shape());
    let types = (args.file_type, args.mmproj_type);
    let stop = interrupt.answering();
    let files = bench::write(&args.shape(), types, folder, &|| stop.is_stopped())?;
    let Some(files) = files else {
        let stopped = "stopped: nothing was written";
        return Err(Failure::new(Code::Interrupted, stopped));
    };
    let mut output = Output::new();
    for path in files {
        output.text(&format!("{}\n", path.display()));
    }
    output.finish()
}

/// One line on standard error: rewritten on a terminal, elsewhere a line for each step.
struct Line {
    is_terminal: bool,
    step: String,
}

impl Line {
    fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            step: String::new(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        // Standard error may be closed; the report still comes.
        let mut err = io::stderr().lock();
        let _ = match progress {
            Progress::Step(step) => {
                self.step.clone_from(step);
                match self.is_terminal {
                    true => write!(err, "\r\x1b[K{step}"),
                    false => writeln!(err, "{step}"),
                }
            }
            Progress::Detail(detail) if self.is_terminal => {
                write!(err, "\r\x1b[K{}: {detail}", self.step)
            }
            Progress::Detail(_) => Ok(()),
        };
        let _ = err.flush();
    }

    fn clear(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A table's cells, the first row its head.
type Table = Vec<Vec<String>>;

fn machine_line(report: &Report) -> String {
    let machine = &report.machine;
    let mut line = format!(
        "{}, {} threads, {}, {:.0} GB memory, load {:.1}; ocelli {}",
        machine.cpu,
        machine.threads,
        machine.system,
        machine.memory_gb,
        machine.load_average,
        report.version
    );
    let _ = write!(line, "\nread {:.1} GB/s", machine.read_gbps);
    for peak in &machine.peaks {
        let _ = write!(
            line,
            ", {} {} {}",
            peak.isa,
            peak.operands,
            tera(peak.tera_per_second)
        );
    }
    let int8 = machine
        .int8_tops
        .map(|tops| format!(", int8 {}", tera(tops)));
    let _ = write!(
        line,
        " (T op/s)\nin use: {}, float {}{}",
        machine.isa,
        tera(machine.bf16_tflops),
        int8.unwrap_or_default()
    );
    line
}

fn tera(value: f64) -> String {
    match value {
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn model_line(report: &Report) -> String {
    let model = &report.model;
    let kind = if model.is_synthetic {
        " (random weights)"
    } else {
        ""
    };
    let projector = model
        .projector_mb
        .map(|mb| format!(", projector {mb:.0} MB"));
    let arena = model
        .image_arena_mb
        .map(|mb| format!(", picture arena {mb:.0} MB"));
    format!(
        "{}{kind}: text {:.0} MB{}; in memory: weights {:.0} MB, cache {:.0} MB in {}{}, text arena {:.0} MB; peak {}",
        model.name,
        model.text_mb,
        projector.unwrap_or_default(),
        model.weights_mb,
        model.cache_mb,
        model.kv,
        arena.unwrap_or_default(),
        model.text_arena_mb,
        report
            .peak_memory_mb
            .map_or_else(|| "unknown".to_owned(), |mb| format!("{mb:.0} MB"))
    )
}

fn case_line(run: &Run) -> String {
    let picture = match (&run.image, &run.resized) {
        (Some(image), Some(resized)) => format!(
            "picture {image} (seen at {resized}, {} patches, {} tokens), ",
            run.patches, run.image_tokens
        ),
        _ => String::new(),
    };
    let batch = match run.batch {
        1 => String::new(),
        batch => format!(", {batch} sequences"),
    };
    let first = run.time_to_first_token_s.map_or_else(String::new, |s| {
        format!("; first token after {}", seconds(Some(s)))
    });
    format!(
        "{picture}prompt {} tokens, {} generated{batch}{first}",
        run.prompt_tokens, run.new_tokens
    )
}

fn stages(run: &Run) -> Table {
    let mut table = vec![
        [
            "stage",
            "median s",
            "range s",
            "tokens/s",
            "share of limit",
            "limit",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut row = |name: &str, stage: &Stage, tokens: Option<f64>, limit: &str| {
        if stage.seconds.is_none() {
            return;
        }
        let share = stage
            .share_of_limit
            .map(|share| format!("{:.1} %", 100.0 * share));
        table.push(vec![
            name.to_owned(),
            seconds(stage.seconds),
            format!(
                "{} - {}",
                seconds(stage.seconds_min),
                seconds(stage.seconds_max)
            ),
            tokens.map_or_else(String::new, |rate| format!("{rate:.1}")),
            share.unwrap_or_default(),
            limit.to_owned(),
        ]);
    };
    let stages = &run.stages;
    let image_rate = stages.encode.seconds.map(|s| run.image_tokens as f64 / s);
    row("load", &stages.load, None, "");
    row("image decode", &stages.image_decode, None, "");
    row("preprocess", &stages.preprocess, None, "");
    row("encode", &stages.encode, image_rate, "float products");
    let tokens = |stage: &TokenStage| stage.tokens_per_second;
    row(
        "prefill",
        &stages.prefill.stage,
        tokens(&stages.prefill),
        "float products",
    );
    row(
        "decode",
        &stages.decode.stage,
        tokens(&stages.decode),
        "memory",
    );
    table
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value @ 10.0..) => format!("{value:.1}"),
        Some(value @ 0.1..) => format!("{value:.3}"),
        Some(value) => format!("{value:.5}"),
    }
}

/// What took the time of each stage that was run, with the name of the stage.
fn operations(run: &Run) -> Vec<(&'static str, Table)> {
    let Some(operations) = &run.operations else {
        return Vec::new();
    };
    let stages = [
        ("encode", &operations.encode),
        ("prefill", &operations.prefill),
        ("decode", &operations.decode),
    ];
    let shown = stages.into_iter().filter(|(_, lines)| !lines.is_empty());
    shown
        .map(|(stage, lines)| (stage, operation_table(stage, lines)))
        .collect()
}

fn operation_table(stage: &str, lines: &[OperationReport]) -> Table {
    let head = [stage, "calls", "mean s", "share of stage", "share of limit"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    table.extend(lines.iter().map(|line| {
        let calls = (line.calls > 0.0).then(|| format!("{:.0}", line.calls));
        let share = line
            .share_of_limit
            .map(|share| format!("{:.1} %", 100.0 * share));
        vec![
            line.operation.clone(),
            calls.unwrap_or_default(),
            seconds(Some(line.seconds)),
            format!("{:.1} %", 100.0 * line.share_of_stage),
            share.unwrap_or_default(),
        ]
    }));
    table
}

fn markdown_table(table: &Table) -> String {
    let mut text = String::new();
    for (index, row) in table.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}

fn markdown(report: &Report) -> String {
    let mut text = format!(
        "{}\n\n{}\n",
        machine_line(report).replace('\n', "  \n"),
        model_line(report)
    );
    for run in &report.runs {
        let _ = writeln!(text, "\n{}\n", case_line(run));
        text += &markdown_table(&stages(run));
        for (_, table) in operations(run) {
            let _ = write!(text, "\n{}", markdown_table(&table));
        }
    }
    text
}

/// Columns side by side; words in the first and, of stages, the last one start where they stand.
fn plain_table(table: &Table) -> String {
    let mut text = String::new();
    let widths: Vec<usize> = (0..table[0].len())
        .map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    for row in table {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 | 5 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}

fn plain(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", machine_line(report), model_line(report));
    for run in &report.runs {
        let _ = writeln!(text, "\n{}", case_line(run));
        text += &plain_table(&stages(run));
        for (_, table) in operations(run) {
            let _ = write!(text, "\n{}", plain_table(&table));
        }
    }
    text
}
