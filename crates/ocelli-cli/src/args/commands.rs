//! Flags of each command.

use std::path::PathBuf;

use clap::Args;
use ocelli::{Fps, MOST_FRAMES};

use super::{AnswerArgs, Kv, ModelArgs, values};

/// What is asked, by whatever command.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageArgs {
    /// Picture to look at (PNG, JPEG, WebP, GIF, BMP); repeatable, in order; '-' reads one from
    /// standard input
    #[arg(short, long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) video: VideoArgs,

    /// Whole conversation instead of a prompt: an OpenAI message list (JSON) with image and video
    /// paths or data URLs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "videos", "frames", "system"])]
    pub(crate) messages: Option<PathBuf>,
}

/// Videos that are looked at, by whatever command.
#[derive(Clone, Debug, Args)]
pub(crate) struct VideoArgs {
    /// Video to look at (GIF, WebP, APNG; other files through ffmpeg); repeatable, shown after the pictures
    #[arg(long = "video", value_name = "FILE")]
    pub(crate) videos: Vec<PathBuf>,

    /// Pictures that are the frames of one video, in order; the next flag ends the list
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "fps")]
    pub(crate) frames: Vec<PathBuf>,

    /// Frames per second: for --video, how many to look at (default 2); for --frames, how many there are
    #[arg(long, value_name = "N", value_parser = values::fps, allow_negative_numbers = true)]
    pub(crate) fps: Option<Fps>,

    /// Most frames of each --video to look at
    #[arg(long, value_name = "N", default_value_t = MOST_FRAMES, value_parser = values::frames)]
    pub(crate) max_frames: usize,
}

/// `ocelli run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// The question. Piped text is appended to it; without a question, it is the question ('-' waits for it)
    #[arg(value_name = "PROMPT", conflicts_with = "messages")]
    pub(crate) prompt: Option<String>,

    /// The question, given as a flag
    #[arg(short = 'p', long = "prompt", value_name = "TEXT", conflicts_with_all = ["prompt", "messages"])]
    pub(crate) prompt_flag: Option<String>,

    #[command(flatten)]
    pub(crate) asked: ImageArgs,

    /// Print one JSON object with the answer, usage, image sizes and timings
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the last picture with the answer's boxes and points drawn on it (PNG)
    #[arg(long, value_name = "FILE")]
    pub(crate) draw: Option<PathBuf>,

    /// Print how pictures were seen and the time of each stage to standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}

const RUN_EXAMPLES: &str = "\
Examples:
  ocelli run --image scene.png \"What is in this picture?\"
  ocelli run --image a.jpg --image b.jpg \"What is different?\"
  ocelli run -m model.gguf --json --image scan.png \"Read the text.\"
  ocelli run -m model.gguf --video clip.mp4 \"What happens?\"
  ocelli run -m model.gguf --frames 1.png 2.png 3.png --fps 1 \"What happens?\"
  cat notes.txt | ocelli run -m model.gguf \"Summarise:\"
  ocelli run -m model.gguf             (a chat; /help lists its commands)";

/// `ocelli inspect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub(crate) struct InspectArgs {
    /// Model files or folders (GGUF)
    #[arg(value_name = "FILE", required_unless_present = "model")]
    pub(crate) files: Vec<PathBuf>,

    /// Same as FILE
    #[arg(short, long, value_name = "FILE", hide_short_help = true)]
    pub(crate) model: Option<PathBuf>,

    /// Same as FILE
    #[arg(
        long,
        visible_alias = "projector",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) mmproj: Option<PathBuf>,

    /// Tokens of context for the memory figures. Default: the model's own, at most 32768
    #[arg(
        short = 'c', long = "ctx", visible_alias = "context", alias = "ctx-size", alias = "num-ctx",
        value_name = "TOKENS", value_parser = values::count
    )]
    pub(crate) context: Option<usize>,

    /// Type in which keys and values are kept, for the memory figures
    #[arg(
        long = "kv",
        visible_alias = "cache-type",
        value_name = "TYPE",
        default_value = "f16"
    )]
    pub(crate) kv: Kv,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  ocelli inspect model.gguf
  ocelli inspect model.gguf mmproj.gguf --ctx 8192
  ocelli inspect --json ~/models/qwen3-vl";

/// What is traced and verified.
#[derive(Clone, Debug, Args)]
pub(crate) struct StageArgs {
    /// The question: one user turn, its pictures first
    #[arg(
        short,
        long,
        value_name = "TEXT",
        conflicts_with = "messages",
        required_unless_present = "messages"
    )]
    pub(crate) prompt: Option<String>,

    #[command(flatten)]
    pub(crate) asked: ImageArgs,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
}

/// `ocelli trace`.
#[derive(Clone, Debug, Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub(crate) struct TraceArgs {
    /// File to write (safetensors)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Tokens to decode after the prompt, greedily; end tokens do not stop it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::decode)]
    pub(crate) decode: usize,

    #[command(flatten)]
    pub(crate) stages: StageArgs,
}

const TRACE_EXAMPLES: &str = "\
Example:
  ocelli trace -m model.gguf --image photo.png --prompt \"Describe the image.\" \\
    --decode 8 --out t.safetensors

Decoding is greedy: sampling flags are accepted and ignored.";

/// `ocelli verify`.
#[derive(Clone, Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// Reference values (safetensors), as 'ocelli trace' names them
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: PathBuf,

    /// Largest error of a stage that passes: max|a-b| / max|b|
    #[arg(long, value_name = "X", default_value = "1e-4", value_parser = values::tolerance)]
    pub(crate) tolerance: f64,

    /// Tokens to decode after the prompt. Default: as many as the reference has
    #[arg(long, value_name = "N", value_parser = values::decode)]
    pub(crate) decode: Option<usize>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) stages: StageArgs,
}

const VERIFY_EXAMPLES: &str = "\
Example:
  ocelli verify -m model.gguf --image photo.png --prompt \"Describe the image.\" \\
    --reference t.safetensors

Runs in f32 unless --precision says otherwise. The exit code is 1 if a stage is
over the tolerance or missing.";
