//! Flags of the commands that work on many pictures.

use std::path::PathBuf;

use clap::Args;

use super::{AnswerArgs, ModelArgs, VideoArgs, values};

/// `ocelli batch`.
#[derive(Clone, Debug, Args)]
#[command(after_help = BATCH_EXAMPLES)]
pub(crate) struct BatchArgs {
    /// Folders (with all below them), pictures, or patterns such as 'scans/**/*.png'
    #[arg(value_name = "DIR|GLOB", required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// What is asked of every picture
    #[arg(short, long, value_name = "TEXT", value_parser = values::question)]
    pub(crate) prompt: String,

    /// File for the answers, one line of JSON for each picture. If it exists, the work continues
    /// after its last line
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}

const BATCH_EXAMPLES: &str = "\
Examples:
  ocelli batch scans --prompt \"Read the text.\" --out texts.jsonl
  ocelli batch 'photos/**/*.jpg' -m model.gguf -p \"Describe it.\" -o out.jsonl
  ocelli batch bills -p \"Read the bill.\" --schema bill.json -o bills.jsonl
  ocelli batch photos -p \"Find every person.\" --boxes -o people.jsonl

A picture that cannot be read gets a line with \"error\" and the others go on; the
exit code is then 6. After a crash or a kill, run the same command again: it
continues where it stopped.";

/// `ocelli plan`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub(crate) struct PlanArgs {
    /// Pictures, folders (with all below them), or patterns such as 'scans/**/*.png'
    #[arg(value_name = "IMAGE", required_unless_present_any = ["videos", "frames"])]
    pub(crate) inputs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) video: VideoArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

const PLAN_EXAMPLES: &str = "\
Examples:
  ocelli plan photo.jpg
  ocelli plan scans -m model.gguf --image-max-tokens 1024 --json
  ocelli plan -m model.gguf --video clip.mp4 --fps 1

The model does not run: only headers and metadata are read, and a few frames and
the first pictures decoded. Seconds are estimates: the work there is, divided by
the speed of this machine in a short measurement.";
