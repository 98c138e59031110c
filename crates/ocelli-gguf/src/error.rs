//! What can go wrong with a model file, with the facts.

use std::io;
use std::path::PathBuf;

use ocelli_quant::QuantError;

/// Errors of reading and writing GGUF files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is missing, unreadable, not a file, or cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `"open"`, `"read"`, `"write"`, ...
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and its content is bad.
    #[error("bad model file: {file}: {problem}")]
    BadFile {
        /// File name, without its folder.
        file: String,
        /// What is wrong, with found and needed values.
        problem: Problem,
    },
    /// A metadata value is missing or of the wrong type or value.
    #[error("bad model file: {file}: metadata {key}: found {found}, need {need}")]
    Metadata {
        /// File name, without its folder.
        file: String,
        /// The key.
        key: String,
        /// What is there.
        found: String,
        /// What is needed.
        need: String,
    },
    /// The parts of a split file are not all there or do not belong together.
    #[error("split model: {file}: {problem}")]
    Shards {
        /// File name of the part, without its folder.
        file: String,
        /// What is wrong, with found and needed values.
        problem: String,
    },
    /// The file on disk is no longer the one that was opened.
    #[error("model file changed on disk: {file}: {what}; load it again")]
    Changed {
        /// File name, without its folder.
        file: String,
        /// Size or time then and now.
        what: String,
    },
    /// What was handed to the writer is no valid file.
    #[error("cannot write GGUF: {0}")]
    Write(Problem),
}

/// What is wrong inside a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "each variant's message says what it and its fields are"
)]
pub enum Problem {
    #[error("file is empty (0 bytes)")]
    Empty,
    #[error("too short for a GGUF header ({bytes} of 24 bytes); download incomplete?")]
    TooShort { bytes: u64 },
    #[error("this is a Git LFS pointer, not the model; download the real file")]
    LfsPointer,
    #[error("this is a web page (HTML), the download failed; download the file again")]
    Html,
    #[error("not a GGUF file: {0}")]
    NotGguf(String),
    #[error("GGUF version {version} not supported (2 and 3 are)")]
    Version { version: u32 },
    #[error("GGUF v1 is obsolete; re-convert the model with a current converter")]
    Version1,
    #[error(
        "big-endian GGUF (version {version}) is not supported; need little-endian, re-convert the model"
    )]
    BigEndian { version: u32 },
    #[error("header claims {claimed} {what}; file can hold at most {most}")]
    Count {
        what: &'static str,
        claimed: u64,
        most: u64,
    },
    #[error("file truncated: need {need} bytes, have {have}; download incomplete?")]
    Truncated { need: u64, have: u64 },
    #[error("metadata key {index} is empty")]
    EmptyKey { index: u64 },
    #[error(
        "metadata key {index}: length {length} exceeds remaining {remaining} bytes; file damaged or download incomplete?"
    )]
    KeyPastEnd {
        index: u64,
        length: u64,
        remaining: u64,
    },
    #[error("metadata key {index}: length {length} exceeds {most}")]
    KeyTooLong { index: u64, length: u64, most: u64 },
    #[error("duplicate metadata key {key}")]
    DuplicateKey { key: String },
    #[error(
        "{place}: string of {length} bytes exceeds remaining {remaining}; file damaged or download incomplete?"
    )]
    StringPastEnd {
        place: String,
        length: u64,
        remaining: u64,
    },
    #[error("{place}: string of {length} bytes exceeds the limit of {most}")]
    StringTooLong {
        place: String,
        length: u64,
        most: u64,
    },
    #[error("{place}: not valid UTF-8")]
    NotUtf8 { place: String },
    #[error(
        "{key}: array of {length} elements cannot fit in the file ({remaining} bytes remain); file damaged or download incomplete?"
    )]
    ArrayPastEnd {
        key: String,
        length: u64,
        remaining: u64,
    },
    #[error("{key}: array of {length} elements exceeds the limit of {most}")]
    ArrayTooLong { key: String, length: u64, most: u64 },
    #[error("{key}: arrays of arrays are not supported")]
    NestedArray { key: String },
    #[error("{key}: unknown metadata type {id}; need 0..12")]
    UnknownValueType { key: String, id: u32 },
    #[error("{key}: bool must be 0 or 1, found {found}")]
    BadBool { key: String, found: u8 },
    #[error("general.alignment {found} is not a power of two in 8..65536")]
    Alignment { found: u32 },
    #[error("general.alignment must be u32, found {found}")]
    AlignmentType { found: &'static str },
    #[error("tensor {index}: name is empty")]
    EmptyTensorName { index: u64 },
    #[error("tensor {index}: tensor name too long ({length} > 63)")]
    TensorNameTooLong { index: u64, length: u64 },
    #[error(
        "tensor {index}: bad tensor name {name}: control characters and path parts are not allowed"
    )]
    BadTensorName { index: u64, name: String },
    #[error("duplicate tensor '{name}'")]
    DuplicateTensor { name: String },
    #[error("tensor '{name}': found {found} dimensions, need 1 to 4")]
    Rank { name: String, found: u32 },
    #[error("tensor '{name}': dimension {axis} is 0, need at least 1")]
    ZeroDimension { name: String, axis: usize },
    #[error("tensor '{name}': element count overflows: shape {shape:?}")]
    ElementOverflow { name: String, shape: Vec<u64> },
    #[error("tensor '{name}': {source}")]
    Type { name: String, source: QuantError },
    #[error("tensor '{name}': row length {row} is not a multiple of the {ty} block ({block})")]
    RowLength {
        name: String,
        row: u64,
        ty: &'static str,
        block: usize,
    },
    #[error("tensor '{name}': offset {offset} is not a multiple of the alignment {alignment}")]
    OffsetAlignment {
        name: String,
        offset: u64,
        alignment: u32,
    },
    #[error(
        "the {tensors} tensors that the header lists are followed by bytes that are neither data nor zero: the list goes on, or the file is damaged"
    )]
    Padding { tensors: u64 },
    #[error("tensor '{name}': data range {start}..{end} outside file (size {size})")]
    DataRange {
        name: String,
        start: u128,
        end: u128,
        size: u64,
    },
    #[error("tensor '{name}': data overlaps that of '{other}'")]
    Overlap { name: String, other: String },
    #[error("tensor '{name}': found {found} bytes of data, need {need}")]
    DataLength { name: String, found: u64, need: u64 },
    #[error("found data for tensor '{found}', need that of '{need}' (the order of declaration)")]
    WriteOrder { found: String, need: String },
}

/// A string from a file as messages show it: escaped, cut at 64 characters.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 64;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str(&format!("... ({} bytes)", text.len()));
    }
    shown
}
