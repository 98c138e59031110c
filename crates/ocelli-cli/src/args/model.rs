//! Flags about the model: which files, how it is run, how large pictures are shown to it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ocelli::{Ffmpeg, Isa, Options, Source};

use super::{named, values};
use crate::failure::Failure;

/// Which model, and how it is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Text model (GGUF), or a folder with one; its projector is found beside it. Default: the
    /// built-in demo model
    #[arg(short, long, value_name = "FILE", env = "OCELLI_MODEL", help_heading = MODEL)]
    pub(crate) model: Option<PathBuf>,

    /// Vision projector (GGUF) of the model
    #[arg(long, visible_alias = "projector", value_name = "FILE", help_heading = MODEL)]
    pub(crate) mmproj: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// How a model is run, whichever it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct HowArgs {
    /// Tokens that prompt and answer may have together. Default: the smallest of: the model's own,
    /// 32768, what half of the free memory holds
    #[arg(
        short = 'c', long = "ctx", visible_alias = "context", alias = "ctx-size", alias = "num-ctx",
        value_name = "TOKENS", value_parser = values::count, help_heading = MODEL
    )]
    pub(crate) context: Option<usize>,

    /// Threads to compute with. Default: as many as the process may use
    #[arg(short, long, value_name = "N", value_parser = values::threads, help_heading = MODEL)]
    pub(crate) threads: Option<usize>,

    /// Arithmetic of matrix products. Default: auto, or f32 for 'trace' and 'verify'
    #[arg(long, value_name = "KIND", help_heading = MODEL)]
    pub(crate) precision: Option<Precision>,

    /// Type in which keys and values of the context are kept. Default: f16, or f32 with --precision f32
    #[arg(long = "kv", visible_alias = "cache-type", value_name = "TYPE", help_heading = MODEL)]
    pub(crate) kv: Option<Kv>,

    /// Most tokens that are guessed ahead in a step, by what followed the same tokens before; 0 for
    /// none. Answers stay the same, those that repeat something come faster
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::draft, help_heading = MODEL)]
    pub(crate) draft_max: usize,

    /// Instruction set. Default: the fastest of this machine
    #[arg(long, value_name = "NAME", env = "OCELLI_ISA", value_parser = named::isa(), help_heading = MODEL)]
    pub(crate) isa: Option<Isa>,

    /// Read every weight once when loading, and refuse files with values that are not finite
    #[arg(long, help_heading = MODEL)]
    pub(crate) check: bool,

    /// Fewest tokens of a picture; smaller ones are enlarged. Default: the model family's
    #[arg(long, value_name = "TOKENS", value_parser = values::image_tokens, help_heading = IMAGE)]
    pub(crate) image_min_tokens: Option<u32>,

    /// Most tokens of a picture; larger ones are shrunk. Default: the model family's, at most 4096
    #[arg(long, value_name = "TOKENS", value_parser = values::image_tokens, help_heading = IMAGE)]
    pub(crate) image_max_tokens: Option<u32>,

    /// Fewest tokens of a video; smaller ones are enlarged. Default: the model family's size of a frame
    #[arg(long, value_name = "TOKENS", value_parser = values::video_tokens, help_heading = IMAGE)]
    pub(crate) video_min_tokens: Option<u32>,

    /// Most tokens of a video; larger ones are shrunk. Default: 12288, or three quarters of the
    /// context if that is less
    #[arg(long, value_name = "TOKENS", value_parser = values::video_tokens, help_heading = IMAGE)]
    pub(crate) video_max_tokens: Option<u32>,

    /// Folder with ffmpeg and ffprobe, which read video files. Default: looked up in PATH
    #[arg(long, value_name = "DIR", env = "OCELLI_FFMPEG", help_heading = VIDEO)]
    pub(crate) ffmpeg: Option<PathBuf>,

    /// Seconds that ffmpeg may be silent before it is stopped
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = values::seconds, help_heading = VIDEO)]
    pub(crate) ffmpeg_timeout: Duration,
}

const MODEL: &str = "Model";
const IMAGE: &str = "Image and video size";
const VIDEO: &str = "Video files";

/// Arithmetic of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// What is fast on this machine within the error bounds of docs/numerics.md
    Auto,
    /// 32-bit floating point everywhere
    F32,
    /// Weights, and activations of prompts and pictures, rounded to 16 bits
    Bf16,
    /// Activations and 16-bit weights rounded to bytes: fastest, least exact
    Int8,
}

/// Type in which keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// 16-bit floating point
    F16,
    /// 8 bits, with a scale for every 32 values: half the memory
    #[value(alias = "q8_0")]
    Q8,
    /// 32-bit floating point
    F32,
}

impl From<Kv> for ocelli::KvElement {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F16 => Self::F16,
            Kv::Q8 => Self::Q8,
            Kv::F32 => Self::F32,
        }
    }
}

impl From<Precision> for ocelli::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Auto => Self::Auto,
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::Int8 => Self::Int8,
        }
    }
}

impl ModelArgs {
    /// Where the model is.
    ///
    /// # Errors
    /// When a projector is given without a model.
    pub(crate) fn source(&self) -> Result<Source, Failure> {
        match (&self.model, &self.mmproj) {
            (Some(path), _) => Ok(Source::File(path.clone())),
            (None, None) => Ok(Source::Demo),
            (None, Some(projector)) => Err(Failure::usage(format_args!(
                "--mmproj: found {} without a text model, need one. Give it with -m",
                projector.display()
            ))),
        }
    }

    /// The library's options.
    ///
    /// # Errors
    /// When the image budget contradicts itself.
    pub(crate) fn options(&self, default_precision: Precision) -> Result<Options, Failure> {
        Ok(Options {
            projector: self.mmproj.clone(),
            ..self.how.options(default_precision)?
        })
    }
}

impl HowArgs {
    /// The library's options, without a projector.
    ///
    /// # Errors
    /// When the image budget contradicts itself.
    pub(crate) fn options(&self, default_precision: Precision) -> Result<Options, Failure> {
        if let (Some(least), Some(most)) = (self.image_min_tokens, self.image_max_tokens)
            && least > most
        {
            return Err(Failure::usage(format_args!(
                "--image-min-tokens: found {least}, need at most the {most} of --image-max-tokens"
            )));
        }
        if let (Some(least), Some(most)) = (self.video_min_tokens, self.video_max_tokens)
            && least > most
        {
            return Err(Failure::usage(format_args!(
                "--video-min-tokens: found {least}, need at most the {most} of --video-max-tokens"
            )));
        }
        Ok(Options {
            projector: None,
            context: self.context,
            sequences: None,
            cache_tokens: None,
            image_cache: None,
            threads: self.threads,
            isa: self.isa,
            precision: self.precision.unwrap_or(default_precision).into(),
            draft_tokens: Some(self.draft_max),
            kv: self.kv.map(Into::into),
            backend: None,
            image_min_tokens: self.image_min_tokens,
            image_max_tokens: self.image_max_tokens,
            video_min_tokens: self.video_min_tokens,
            video_max_tokens: self.video_max_tokens,
            ffmpeg: Ffmpeg {
                folder: self.ffmpeg.clone(),
                timeout: self.ffmpeg_timeout,
            },
            check: self.check,
            witness: None,
        })
    }
}
