//! Flags about the answer: its length, how tokens are chosen, what ends it.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

use clap::Args;
use ocelli::Sampling;

use super::values::{self, STOP_STRINGS, Seed};
use crate::failure::Failure;

/// How the answer is made. What is not given is the model file's own choice, else greedy.
#[derive(Clone, Debug, Args)]
pub(crate) struct AnswerArgs {
    /// Most tokens of the answer
    #[arg(
        short = 'n', long, visible_alias = "predict", alias = "n-predict", alias = "num-predict",
        value_name = "TOKENS", default_value_t = 1024, value_parser = values::count, help_heading = ANSWER
    )]
    pub(crate) max_tokens: usize,

    /// System message: what the model should be or do
    #[arg(long, value_name = "TEXT", help_heading = ANSWER)]
    pub(crate) system: Option<String>,

    /// Text that ends the answer when the model writes it; repeatable
    #[arg(long, value_name = "TEXT", value_parser = values::stop_string, help_heading = ANSWER)]
    pub(crate) stop: Vec<String>,

    /// Also show crops of long pictures, for models that were trained for it (Gemma 3)
    #[arg(long, help_heading = ANSWER)]
    pub(crate) pan_and_scan: bool,

    /// JSON schema that the answer must follow; JSON output then also has the parsed answer as "json"
    #[arg(long, value_name = "FILE", help_heading = ANSWER)]
    pub(crate) schema: Option<PathBuf>,

    /// Bind the answer to boxes and their names, as the model's family was trained to write them
    #[arg(long, conflicts_with = "schema", help_heading = ANSWER)]
    pub(crate) boxes: bool,

    /// Randomness: divides the logits; 0 always takes the most likely token
    #[arg(
        long = "temp", visible_alias = "temperature", value_name = "T", value_parser = values::temperature,
        allow_negative_numbers = true, help_heading = SAMPLING
    )]
    pub(crate) temperature: Option<f32>,

    /// Draw from this many of the most likely tokens; 0 keeps all
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = SAMPLING)]
    pub(crate) top_k: Option<u32>,

    /// Draw from the most likely tokens that together have this probability
    #[arg(
        long, value_name = "P", value_parser = values::share, allow_negative_numbers = true, help_heading = SAMPLING
    )]
    pub(crate) top_p: Option<f32>,

    /// Drop tokens less likely than this share of the most likely one's probability
    #[arg(
        long, value_name = "P", value_parser = values::share, allow_negative_numbers = true, help_heading = SAMPLING
    )]
    pub(crate) min_p: Option<f32>,

    /// Divide the logits of tokens that occurred before; 1 turns it off
    #[arg(
        long, visible_alias = "repetition-penalty", value_name = "X", value_parser = values::repeat_penalty,
        allow_negative_numbers = true, help_heading = SAMPLING
    )]
    pub(crate) repeat_penalty: Option<f32>,

    /// Subtract this from the logit of every token that the answer already has
    #[arg(
        long, value_name = "X", value_parser = values::penalty, allow_negative_numbers = true,
        help_heading = SAMPLING
    )]
    pub(crate) presence_penalty: Option<f32>,

    /// Subtract this from a token's logit once for each time the answer has it
    #[arg(
        long, value_name = "X", value_parser = values::penalty, allow_negative_numbers = true,
        help_heading = SAMPLING
    )]
    pub(crate) frequency_penalty: Option<f32>,

    /// Seed of the random draws: the same one repeats them; -1 takes another each time
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, help_heading = SAMPLING)]
    pub(crate) seed: Option<Seed>,
}

const ANSWER: &str = "Answer";
pub(super) const SAMPLING: &str = "Sampling";

impl AnswerArgs {
    /// The model's own sampling with what was given in its place.
    pub(crate) fn sampling(&self, model: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(model.temperature),
            top_k: self.top_k.unwrap_or(model.top_k),
            top_p: self.top_p.unwrap_or(model.top_p),
            min_p: self.min_p.unwrap_or(model.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(model.repeat_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(model.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(model.frequency_penalty),
            seed: match self.seed {
                None => model.seed,
                Some(Seed::Fixed(seed)) => seed,
                // The standard library's hasher keys are random; no further dependency is needed
                // for one number.
                Some(Seed::Random) => RandomState::new().hash_one("seed"),
            },
            ..model
        }
    }

    /// The texts that end the answer.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn stop_strings(&self) -> Result<Vec<String>, Failure> {
        if self.stop.len() > STOP_STRINGS {
            return Err(Failure::usage(format_args!(
                "--stop: found {} strings, need at most {STOP_STRINGS}",
                self.stop.len()
            )));
        }
        Ok(self.stop.clone())
    }

    /// Names of the given flags that a greedy run ignores.
    pub(crate) fn sampling_flags(&self) -> Vec<&'static str> {
        [
            ("--temp", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--repeat-penalty", self.repeat_penalty.is_some()),
            ("--presence-penalty", self.presence_penalty.is_some()),
            ("--frequency-penalty", self.frequency_penalty.is_some()),
            ("--seed", self.seed.is_some()),
            ("--stop", !self.stop.is_empty()),
            ("--schema", self.schema.is_some()),
            ("--boxes", self.boxes),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect()
    }
}
