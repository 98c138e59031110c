//! Flags of the commands that write models.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use ocelli::convert::FileType;

use super::{named, values};

/// What every writing command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct WriteArgs {
    /// Replace files that already exist
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Threads to compute with; by default as many as the process may use
    #[arg(short, long, value_name = "N", value_parser = values::threads)]
    pub(crate) threads: Option<usize>,

    /// Do not list what was assumed or renamed
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `ocelli convert`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Folder with config.json, tokenizer and *.safetensors
    #[arg(value_name = "HF_DIR")]
    pub(crate) checkpoint: PathBuf,

    /// Folder for the files
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Type of the text model
    #[arg(long = "type", value_name = "TYPE", default_value = "f16", value_parser = named::file_type())]
    pub(crate) text_type: FileType,

    /// Type of the projector
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = named::file_type())]
    pub(crate) mmproj_type: FileType,

    /// Name of the model and of its files; by default the folder's name
    #[arg(long, value_name = "NAME", value_parser = values::file_stem)]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// `ocelli quantize`.
#[derive(Clone, Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// Text model, projector or merged file
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// The file to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// Type of the new file
    #[arg(value_name = "TYPE", value_parser = named::file_type())]
    pub(crate) file_type: FileType,

    /// Quantise the vision tensors of a merged file too
    #[arg(long)]
    pub(crate) mmproj: bool,

    /// Text model that answers before and after, for the report on a projector; by default the one beside IN
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<PathBuf>,

    /// Do not measure what a quantised projector lost
    #[arg(long)]
    pub(crate) no_report: bool,

    /// Print one JSON object: the file, notes, and the report on a projector
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// `ocelli merge`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MergeArgs {
    /// Text model
    #[arg(value_name = "TEXT")]
    pub(crate) text: PathBuf,

    /// Its projector
    #[arg(value_name = "PROJECTOR")]
    pub(crate) projector: PathBuf,

    /// The file to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// Write current names and keys where the files have old ones
    #[arg(long)]
    pub(crate) repair: bool,

    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// `ocelli split`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SplitArgs {
    /// Merged file, or any model with --max-shard-size
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// Folder for the files
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Most bytes of tensors in one file, as 4G or 500M; larger models become numbered parts
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) max_shard_size: Option<NonZero<u64>>,

    /// Write current names and keys where the file has old ones
    #[arg(long)]
    pub(crate) repair: bool,

    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// `ocelli repair`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RepairArgs {
    /// Text model or projector of an old converter
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// The file to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) write: WriteArgs,
}
