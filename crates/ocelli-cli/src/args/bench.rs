//! Flags of `ocelli bench`.

use std::path::PathBuf;

use clap::Args;
use ocelli::Isa;
use ocelli::bench::{BenchOptions, Shape, Subject};
use ocelli::convert::FileType;

use super::{Kv, Precision, named, values};
use crate::failure::Failure;
use crate::models;

/// `ocelli bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Text model (GGUF), or a folder or name as for 'run'; its projector is found beside it
    #[arg(short, long, value_name = "MODEL", conflicts_with = "shape", help_heading = MODEL)]
    pub(crate) model: Option<PathBuf>,

    /// Vision projector (GGUF) of the model
    #[arg(
        long, visible_alias = "projector", value_name = "FILE", requires = "model", conflicts_with = "shape",
        help_heading = MODEL
    )]
    pub(crate) mmproj: Option<PathBuf>,

    /// Random weights in the shape of a published model; no file is needed. The tiny ones are for
    /// trying the command. Default without a model: qwen3-vl-2b
    #[arg(long, value_name = "NAME", value_parser = named::shape(), help_heading = MODEL)]
    pub(crate) shape: Option<Shape>,

    /// Type of a shape's text model
    #[arg(
        long = "type", value_name = "TYPE", default_value = "q4_k_m", value_parser = named::file_type(),
        conflicts_with = "model", help_heading = MODEL
    )]
    pub(crate) file_type: FileType,

    /// Type of a shape's projector
    #[arg(
        long, value_name = "TYPE", default_value = "f16", value_parser = named::file_type(), conflicts_with = "model",
        help_heading = MODEL
    )]
    pub(crate) mmproj_type: FileType,

    /// Size of a made-up picture; repeatable, each is a case. Default without -p: 1024x1024
    #[arg(long = "image", value_name = "WxH", value_parser = size, help_heading = CASES)]
    pub(crate) images: Vec<(u32, u32)>,

    /// Text tokens of the prompt, beside the picture; repeatable, each is a case. Default: 12 with
    /// a picture, else 512
    #[arg(short = 'p', long = "prompt-tokens", value_name = "N", value_parser = values::bench_tokens, help_heading = CASES)]
    pub(crate) text_tokens: Vec<usize>,

    /// Tokens to generate
    #[arg(
        short = 'n', long = "new-tokens", value_name = "N", default_value_t = 64, value_parser = values::bench_tokens,
        help_heading = CASES
    )]
    pub(crate) new_tokens: usize,

    /// Sequences to generate in one step; repeatable, each is a case
    #[arg(
        long = "batch", value_name = "N", default_values_t = [1], value_parser = values::sequences,
        help_heading = CASES
    )]
    pub(crate) batches: Vec<usize>,

    /// How often each case is run; the median counts
    #[arg(
        short = 'r', long, value_name = "N", default_value_t = 3, value_parser = values::repeats,
        help_heading = CASES
    )]
    pub(crate) repeats: usize,

    /// Show where the time of each stage went, by kind of operation
    #[arg(long, help_heading = CASES)]
    pub(crate) operations: bool,

    /// Threads to compute with. Default: as many as the process may use
    #[arg(short, long, value_name = "N", value_parser = values::threads, help_heading = MACHINE)]
    pub(crate) threads: Option<usize>,

    /// Instruction set. Default: the fastest of this machine
    #[arg(long, value_name = "NAME", env = "OCELLI_ISA", value_parser = named::isa(), help_heading = MACHINE)]
    pub(crate) isa: Option<Isa>,

    /// Arithmetic of matrix products
    #[arg(long, value_name = "KIND", help_heading = MACHINE)]
    pub(crate) precision: Option<Precision>,

    /// Type in which keys and values are kept. Default: f16, or f32 with --precision f32
    #[arg(long = "kv", visible_alias = "cache-type", value_name = "TYPE", help_heading = MACHINE)]
    pub(crate) kv: Option<Kv>,

    /// Print one JSON object
    #[arg(long, conflicts_with = "md")]
    pub(crate) json: bool,

    /// Print Markdown tables
    #[arg(long)]
    pub(crate) md: bool,

    /// Measure nothing: write the shape's text model and projector as files into a folder, for other programs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "json", "md", "operations"])]
    pub(crate) write: Option<PathBuf>,
}

const MODEL: &str = "Model";
const CASES: &str = "Cases";
const MACHINE: &str = "Machine";

const EXAMPLES: &str = "\
Examples:
  ocelli bench                   (Qwen3-VL-2B with a picture of 1024x1024)
  ocelli bench --shape qwen2.5-vl-3b --image 512x512 --image 2048x2048 --md
  ocelli bench --shape qwen3-vl-4b --type q8_0 -p 512 -p 2048 --batch 8 --json
  ocelli bench -m model.gguf --image 1024x1024 --isa avx2
  ocelli bench --shape qwen3-vl-2b --write shapes    (files for other programs)";

/// `WxH`, both sides from 1 to 16384.
fn size(text: &str) -> Result<(u32, u32), String> {
    const MOST: u32 = 16_384;
    let side = |part: &str| part.parse().ok().filter(|side| (1..=MOST).contains(side));
    let sides = text.split_once('x').map(|(w, h)| (side(w), side(h)));
    match sides {
        Some((Some(width), Some(height))) => Ok((width, height)),
        _ => {
            let shown: String = text.chars().take(64).collect();
            Err(format!(
                "found '{shown}', need WxH as 1024x768, sides from 1 to {MOST}"
            ))
        }
    }
}

impl BenchArgs {
    /// The shape that is asked for, or the default.
    pub(crate) fn shape(&self) -> Shape {
        self.shape.unwrap_or(Shape::ALL[0])
    }

    /// What is measured.
    ///
    /// # Errors
    /// When the model is not found.
    pub(crate) fn options(&self) -> Result<BenchOptions, Failure> {
        let subject = match &self.model {
            Some(given) => {
                let found = models::find(given)?;
                Subject::Files {
                    text: found.text,
                    projector: self.mmproj.clone().or(found.projector),
                }
            }
            None => Subject::Shape {
                shape: self.shape(),
                file_type: self.file_type,
                projector_type: self.mmproj_type,
            },
        };
        Ok(BenchOptions {
            subject,
            images: self.images.clone(),
            text_tokens: self.text_tokens.clone(),
            new_tokens: self.new_tokens,
            batches: self.batches.clone(),
            threads: self.threads,
            isa: self.isa,
            precision: self.precision.unwrap_or(Precision::Auto).into(),
            kv: self.kv.map(Into::into),
            repeats: self.repeats,
            operations: self.operations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_sides_with_an_x_between() {
        assert_eq!(size("1024x768"), Ok((1024, 768)));
        for bad in ["1024", "0x5", "5x0", "16385x1", "axb", "1x2x3", "", "-1x4"] {
            assert!(size(bad).unwrap_err().contains("need WxH"), "{bad}");
        }
    }
}
