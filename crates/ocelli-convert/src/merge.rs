//! Text model and projector in one file, and back.
//!
//! A merged file has the text model's metadata and tensors as they were, then those of the
//! projector. Projector keys that the text model could have too (all but `clip.*`) get a prefix; a
//! list of the projector's keys and the number of text tensors are all that is needed to take both
//! apart again, in their old order.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use ocelli_gguf::{Gguf, Metadata, TensorInfo, Value};

use crate::Error;
use crate::convert::{Existing, check_targets};
use crate::encode::{OnProgress, Output, OutputFile, write_files};
use crate::parts::{base_name, numbered_parts};
use crate::repair::{self, Part};
use crate::source::Stored;

/// Names of the projector's keys, in order.
const KEYS: &str = "ocelli.merged.projector_keys";
/// How many tensors, from the first, are the text model's.
const TEXT_TENSORS: &str = "ocelli.merged.text_tensors";
/// Before projector keys that are no `clip.*`.
const PREFIX: &str = "ocelli.merged.projector.";
/// `general.file_type` of the projector inside a merged file.
pub(crate) const FILE_TYPE_OF_PROJECTOR: &str = "ocelli.merged.projector.general.file_type";

/// Whether names and keys are kept or written as current tools write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// As the input has them.
    #[default]
    Keep,
    /// Old and foreign names and keys become current ones.
    Repair,
}

/// How to merge, split and repair.
#[derive(Debug, Clone, Default)]
pub struct RewriteOptions {
    /// What happens to old names and keys.
    pub layout: Layout,
    /// What happens to files that are there already.
    pub existing: Existing,
    /// Most bytes of tensors in one output file; larger models become numbered parts. Not for merged output.
    pub part_bytes: Option<NonZero<u64>>,
    /// Threads; one for each core by default.
    pub threads: Option<NonZero<usize>>,
}

/// What was written, and what was assumed on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewritten {
    /// The files: text first, parts in order.
    pub files: Vec<PathBuf>,
    /// What was assumed, renamed or left out.
    pub notes: Vec<String>,
}

/// Writes a text model and its projector as one file.
///
/// # Errors
/// When the files are not what they should be or do not fit each other, and as for every writing.
pub fn merge(
    text: &Path,
    projector: &Path,
    output: &Path,
    options: &RewriteOptions,
    on_progress: &mut OnProgress<'_>,
) -> Result<Rewritten, Error> {
    let (text, projector) = (Gguf::open(text)?, Gguf::open(projector)?);
    check_kind(&text, "merge", "a text model")?;
    check_kind(&projector, "merge", "a vision projector")?;
    check_widths(&text, &projector)?;
    if let Some(tensor) = projector
        .tensors()
        .iter()
        .find(|t| text.tensor(t.name()).is_some())
    {
        return Err(Error::SameTensor {
            name: tensor.name().to_owned(),
        });
    }
    let (text_part, projector_part) = match options.layout {
        Layout::Keep => (whole(&text), whole(&projector)),
        Layout::Repair => (repair::text(&text)?, repair::projector(&projector)?),
    };
    let notes = [text_part.notes, projector_part.notes].concat();
    let mut metadata = text_part.metadata;
    let keys: Vec<&str> = projector_part
        .metadata
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    let marks = [
        (
            TEXT_TENSORS.to_owned(),
            Value::U32(text_part.tensors.len() as u32),
        ),
        (KEYS.to_owned(), keys.into()),
    ];
    let is_free = |key: &str| key.starts_with("clip.") && text.metadata().get(key).is_none();
    let moved = projector_part
        .metadata
        .into_iter()
        .map(|(key, value)| match is_free(&key) {
            true => (key, value),
            false => (format!("{PREFIX}{key}"), value),
        });
    metadata.extend(marks.into_iter().chain(moved));
    let mut tensors = text_part.tensors;
    tensors.extend(projector_part.tensors);
    let files = [OutputFile {
        path: output.to_path_buf(),
        metadata,
        tensors,
    }];
    check_targets(&files, options.existing)?;
    write_files(&files, &[&text, &projector], options.threads, on_progress)?;
    Ok(Rewritten {
        files: vec![output.to_path_buf()],
        notes,
    })
}

/// Takes a merged file apart into `{name}.gguf` and `mmproj-{name}.gguf` in `out_dir`, exactly as
/// they were if [`merge`] made it, with current names if another tool did. With
/// [`RewriteOptions::part_bytes`], any file is also cut into numbered parts.
///
/// # Errors
/// When there is nothing to split, and as for every writing.
pub fn split(
    input: &Path,
    out_dir: &Path,
    options: &RewriteOptions,
    on_progress: &mut OnProgress<'_>,
) -> Result<Rewritten, Error> {
    if !out_dir.is_dir() {
        return Err(Error::NoOutputFolder {
            path: out_dir.to_path_buf(),
        });
    }
    let file = Gguf::open(input)?;
    let name = base_name(input);
    let mut parts = match kind(&file)? {
        "a merged model" => take_apart(&file, options.layout)?,
        found if options.part_bytes.is_none() => {
            return Err(Error::WrongKind {
                action: "split",
                file: file.name().to_owned(),
                found: found.to_owned(),
                need: "a merged model, or a size for parts",
            });
        }
        "a vision projector" if options.layout == Layout::Repair => {
            vec![("", repair::projector(&file)?)]
        }
        _ if options.layout == Layout::Repair => vec![("", repair::text(&file)?)],
        _ => vec![("", whole(&file))],
    };
    let mut result = Rewritten::default();
    let mut files = Vec::new();
    for (prefix, part) in &mut parts {
        result.notes.append(&mut part.notes);
        let one = OutputFile {
            path: out_dir.join(format!("{prefix}{name}.gguf")),
            metadata: std::mem::take(&mut part.metadata),
            tensors: std::mem::take(&mut part.tensors),
        };
        match options.part_bytes {
            Some(most) => files.extend(numbered_parts(one, most.get())?),
            None => files.push(one),
        }
    }
    check_targets(&files, options.existing)?;
    write_files(&files, &[&file], options.threads, on_progress)?;
    result.files = files.into_iter().map(|file| file.path).collect();
    Ok(result)
}

/// Writes a text model or projector with current names and keys.
///
/// # Errors
/// When it is a merged file (see [`split`]) or of no family whose old layouts are known, and as for
/// every writing.
pub fn repair(
    input: &Path,
    output: &Path,
    options: &RewriteOptions,
    on_progress: &mut OnProgress<'_>,
) -> Result<Rewritten, Error> {
    let file = Gguf::open(input)?;
    let part = match kind(&file)? {
        "a merged model" => {
            return Err(Error::WrongKind {
                action: "repair",
                file: file.name().to_owned(),
                found: "a merged model".to_owned(),
                need: "a text model or a projector; split it, which repairs",
            });
        }
        "a vision projector" => repair::projector(&file)?,
        _ => repair::text(&file)?,
    };
    let files = [OutputFile {
        path: output.to_path_buf(),
        metadata: part.metadata,
        tensors: part.tensors,
    }];
    check_targets(&files, options.existing)?;
    write_files(&files, &[&file], options.threads, on_progress)?;
    Ok(Rewritten {
        files: vec![output.to_path_buf()],
        notes: part.notes,
    })
}

/// "a text model", "a vision projector" or "a merged model".
fn kind(file: &Gguf) -> Result<&'static str, Error> {
    let architecture = file.metadata().required_str("general.architecture")?;
    let ty = file.metadata().str("general.type")?.unwrap_or("model");
    let has_vision = file
        .tensors()
        .iter()
        .any(|tensor| tensor.name().starts_with("v."));
    Ok(match (architecture, ty, has_vision) {
        ("clip", _, _) | (_, "mmproj" | "projector", _) => "a vision projector",
        (_, _, true) => "a merged model",
        _ => "a text model",
    })
}

fn check_kind(file: &Gguf, action: &'static str, need: &'static str) -> Result<(), Error> {
    let found = kind(file)?;
    match found == need {
        true => Ok(()),
        false => Err(Error::WrongKind {
            action,
            file: file.name().to_owned(),
            found: found.to_owned(),
            need,
        }),
    }
}

/// The projector's last product must give rows of the text model's width.
fn check_widths(text: &Gguf, projector: &Gguf) -> Result<(), Error> {
    let width = text
        .tensor("token_embd.weight")
        .map(|tensor| tensor.row_elements() as u64);
    let output = match projector.tensor("mm.2.weight").map(TensorInfo::shape) {
        Some(&[_, output]) => Some(output),
        _ => projector.metadata().u64("clip.vision.projection_dim")?,
    };
    match (output, width) {
        (Some(projector), Some(text)) if projector != text => {
            Err(Error::WidthMismatch { projector, text })
        }
        _ => Ok(()),
    }
}

/// A file as it is, without the keys that describe its parts.
fn whole(file: &Gguf) -> Part<'_> {
    Part {
        metadata: own_metadata(file.metadata()).collect(),
        tensors: file
            .tensors()
            .iter()
            .map(|tensor| copy(file, tensor))
            .collect(),
        notes: Vec::new(),
    }
}

fn own_metadata(metadata: &Metadata) -> impl Iterator<Item = (String, Value)> + '_ {
    metadata
        .iter()
        .filter(|(key, _)| !key.starts_with("split."))
        .map(|(key, value)| (key.to_owned(), value.clone()))
}

pub(crate) fn copy<'a>(file: &'a Gguf, tensor: &'a TensorInfo) -> Output<'a> {
    Output {
        name: tensor.name().to_owned(),
        shape: tensor.shape().to_vec(),
        ty: tensor.ty(),
        source: Box::new(Stored::whole(file, tensor)),
    }
}

/// Text part and projector of a merged file, with the prefixes of their files.
fn take_apart(file: &Gguf, layout: Layout) -> Result<Vec<(&'static str, Part<'_>)>, Error> {
    let is_ours = file.metadata().get(KEYS).is_some();
    let (text, projector) = match (is_ours, layout) {
        (true, Layout::Keep) => restore(file)?,
        _ => (repair::text(file)?, repair::projector(file)?),
    };
    Ok(vec![("", text), ("mmproj-", projector)])
}

/// Undoes [`merge`].
fn restore(file: &Gguf) -> Result<(Part<'_>, Part<'_>), Error> {
    let metadata = file.metadata();
    let bad = |problem: String| Error::BadMerged {
        file: file.name().to_owned(),
        problem,
    };
    let count = metadata.required_u32(TEXT_TENSORS)? as usize;
    let (text_tensors, projector_tensors) =
        file.tensors().split_at_checked(count).ok_or_else(|| {
            bad(format!(
                "{TEXT_TENSORS}: found {count}, need at most {}",
                file.tensors().len()
            ))
        })?;
    let keys = metadata.required_str_array(KEYS)?;
    let mut projector_metadata = Vec::with_capacity(keys.len());
    let mut is_free = std::collections::HashSet::new();
    for key in keys.iter() {
        let moved = metadata.get(&format!("{PREFIX}{key}"));
        let value = moved.or_else(|| metadata.get(key));
        let value =
            value.ok_or_else(|| bad(format!("metadata {key} of the projector not found")))?;
        projector_metadata.push((key.to_owned(), value.clone()));
        if moved.is_none() {
            is_free.insert(key);
        }
    }
    let is_text = |key: &str| {
        key != KEYS && key != TEXT_TENSORS && !key.starts_with(PREFIX) && !is_free.contains(key)
    };
    let text = Part {
        metadata: own_metadata(metadata)
            .filter(|(key, _)| is_text(key))
            .collect(),
        tensors: text_tensors
            .iter()
            .map(|tensor| copy(file, tensor))
            .collect(),
        notes: Vec::new(),
    };
    let projector = Part {
        metadata: projector_metadata,
        tensors: projector_tensors
            .iter()
            .map(|tensor| copy(file, tensor))
            .collect(),
        notes: Vec::new(),
    };
    Ok((text, projector))
}

/// Keys that only say how a file was merged.
pub(crate) fn is_mark(key: &str) -> bool {
    key.starts_with("ocelli.merged.")
}
