//! `ocelli inspect`: facts about files, as a table or as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;

use ocelli::inspect::{
    Cache, FileReport, MemoryReport, PairReport, Report, TemplateReport, TypeReport,
    VocabularyReport, inspect as look,
};
use serde_json::Value;

use crate::args::InspectArgs;
use crate::failure::{Code, Failure, one_line};
use crate::models;
use crate::output::{Output, print_json};

/// Runs the command.
///
/// # Errors
/// When a file is missing or bad.
pub(crate) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let named = args.model.iter().chain(&args.mmproj).chain(&args.files);
    let mut paths: Vec<PathBuf> = Vec::new();
    for given in named {
        let found = models::find(given)?;
        paths.push(found.text);
        paths.extend(found.projector);
    }
    let cache = Cache {
        context: args.context,
        kv: args.kv.into(),
    };
    let report = look(&paths, cache)?;
    if args.json {
        return print_json(&report_json(&report)?);
    }
    let mut output = Output::new();
    output.text(&table(&report));
    output.finish()
}

fn report_json(report: &Report) -> Result<Value, Failure> {
    serde_json::to_value(report).map_err(|error| Failure::new(Code::Internal, error))
}

fn table(report: &Report) -> String {
    let mut parts: Vec<String> = report.files.iter().map(file_table).collect();
    parts.extend(report.pairs.iter().map(pair_table));
    if !report.unreadable.is_empty() {
        let mut table = Table::new("cannot be opened");
        for file in &report.unreadable {
            table.row("", format_args!("{}: {}", file.path.display(), file.why));
        }
        parts.push(table.text);
    }
    parts.join("\n")
}

/// Lines of a name and what is to be said about it.
struct Table {
    text: String,
}

impl Table {
    fn new(title: &str) -> Self {
        Self {
            text: format!("{}\n", one_line(title)),
        }
    }

    /// Text from files may hold anything; it becomes one harmless line.
    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  {name:<12} {}", one_line(&value.to_string()));
    }
}

fn file_table(file: &FileReport) -> String {
    let mut table = Table::new(&file.path.display().to_string());
    let of = [&file.architecture, &file.projector_type, &file.name]
        .into_iter()
        .flatten();
    let what: Vec<&str> = std::iter::once(file.kind.as_str())
        .chain(of.map(String::as_str))
        .collect();
    table.row("kind", what.join(", "));
    let parts = match file.parts.len() {
        ..=1 => String::new(),
        several => format!(" in {several} parts"),
    };
    table.row(
        "file",
        format_args!(
            "GGUF version {}, {}{parts}",
            file.gguf_version,
            size(file.bytes)
        ),
    );
    let sizes = [
        ("layers", file.layers),
        ("width", file.width),
        ("context", file.context_length),
    ];
    let known: Vec<String> = sizes
        .iter()
        .filter_map(|(name, n)| n.map(|n| format!("{name} {n}")))
        .collect();
    if !known.is_empty() {
        table.row("sizes", known.join(", "));
    }
    table.row(
        "tensors",
        format_args!("{}, {} parameters", file.tensors, count(file.parameters)),
    );
    type_rows(&mut table, &file.types);
    if let Some(template) = &file.template {
        template_rows(&mut table, template);
    }
    if let Some(vocabulary) = &file.vocabulary {
        vocabulary_rows(&mut table, vocabulary);
    }
    for (index, note) in file.assumed.iter().enumerate() {
        table.row(if index == 0 { "assumed" } else { "" }, note);
    }
    table.text
}

fn type_rows(table: &mut Table, types: &[TypeReport]) {
    for ty in types {
        let hint = if ty.is_runnable {
            ""
        } else {
            "  (this version cannot run it)"
        };
        table.row(
            "",
            format_args!(
                "{}: {} tensors, {}{hint}",
                ty.name,
                ty.tensors,
                size(ty.bytes)
            ),
        );
    }
}

fn template_rows(table: &mut Table, template: &TemplateReport) {
    let origin = if template.is_in_file {
        ""
    } else {
        ", built in: the file has none"
    };
    let tools = if template.shows_tools {
        ", shows tools"
    } else {
        ""
    };
    table.row(
        "template",
        format_args!(
            "{} bytes, SHA-256 {}{origin}{tools}",
            template.bytes, template.sha256
        ),
    );
    if let Some(problem) = &template.problem {
        table.row("", format_args!("cannot be used: {problem}"));
    }
    if !template.content_conditions.is_empty() {
        let places = template.content_conditions.len();
        table.row(
            "",
            format_args!("looks at what messages say in {places} places:"),
        );
    }
    for condition in &template.content_conditions {
        table.row(
            "",
            format_args!("- {}", condition.chars().take(160).collect::<String>()),
        );
    }
}

fn vocabulary_rows(table: &mut Table, vocabulary: &VocabularyReport) {
    let pre = vocabulary
        .pre
        .as_deref()
        .map(|pre| format!(" ({pre})"))
        .unwrap_or_default();
    if let Some(problem) = &vocabulary.problem {
        return table.row(
            "vocabulary",
            format_args!("{}{pre}: {problem}", vocabulary.model),
        );
    }
    table.row(
        "vocabulary",
        format_args!(
            "{}{pre}, {} tokens ({} control), {} merges",
            vocabulary.model, vocabulary.tokens, vocabulary.control_tokens, vocabulary.merges
        ),
    );
    for token in &vocabulary.special {
        let text = token.text.as_deref().unwrap_or("(not in the vocabulary)");
        table.row("", format_args!("{} = {} {text}", token.role, token.id));
    }
}

fn pair_table(pair: &PairReport) -> String {
    let mut table = Table::new(if pair.fits { "model" } else { "no model" });
    table.row("text", pair.text.display());
    match &pair.projector {
        Some(projector) => table.row("projector", projector.display()),
        None => table.row("projector", "none"),
    }
    table.row(if pair.fits { "because" } else { "why not" }, &pair.reason);
    for file in &pair.rejected {
        table.row(
            "not taken",
            format_args!("{}: {}", file.path.display(), file.why),
        );
    }
    match (&pair.problem, &pair.memory) {
        (Some(problem), _) => table.row("runs", format_args!("no: {problem}")),
        (None, Some(memory)) => {
            table.row("runs", "yes");
            memory_rows(&mut table, memory);
        }
        (None, None) => {}
    }
    table.text
}

fn memory_rows(table: &mut Table, memory: &MemoryReport) {
    let images = match memory.image_tokens {
        Some(tokens) => format!(", images of up to {tokens} tokens"),
        None => String::new(),
    };
    table.row(
        "memory",
        format_args!(
            "{} at a context of {} tokens{images}",
            size(memory.total),
            memory.context
        ),
    );
    for (what, bytes) in [
        ("weights", memory.weights),
        ("keys and values", memory.cache),
        ("text step", memory.text_step),
        ("image encoding", memory.image_encoding),
    ] {
        table.row("", format_args!("{what}: {}", size(bytes)));
    }
    table.row(
        "",
        format_args!("free on this machine: {}", size(memory.available)),
    );
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// A large number for people.
fn count(number: u64) -> String {
    match number {
        ..10_000 => number.to_string(),
        10_000..10_000_000 => format!("{:.1} thousand", number as f64 / 1e3),
        10_000_000..1_000_000_000 => format!("{:.1} million", number as f64 / 1e6),
        _ => format!("{:.2} billion", number as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_readable() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.00 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (number, text) in [
            (9999, "9999"),
            (1_500_000, "1500.0 thousand"),
            (7_000_000_000, "7.00 billion"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn text_from_a_file_cannot_break_the_table() {
        let mut table = Table::new("a\nb");
        table.row("name", "x\n\u{1b}[2J");
        assert_eq!(table.text, "a b\n  name         x \\u{1b}[2J\n");
    }
}
