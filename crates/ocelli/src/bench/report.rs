//! What a benchmark found. Serialised, it is the JSON of `ocelli bench --json`: seconds are
//! medians, GB are 1e9 bytes, what does not apply or has no limit is null.

use serde::Serialize;

use super::OperationsReport;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this library.
    pub version: &'static str,
    /// The machine and its limits.
    pub machine: MachineReport,
    /// What was run.
    pub model: ModelReport,
    /// Stages of the first case.
    pub stages: Stages,
    /// From the start of the picture's decoding to the first token, in the first case.
    pub time_to_first_token_s: Option<f64>,
    /// Most memory that the process had, in units of 1e6 bytes, if the system says.
    pub peak_memory_mb: Option<f64>,
    /// How often each case was run.
    pub repeats: usize,
    /// Every case.
    pub runs: Vec<Run>,
}

/// The machine and its limits, measured in this run on the threads that compute.
#[derive(Clone, Debug, Serialize)]
pub struct MachineReport {
    /// The processor's name.
    pub cpu: String,
    /// Memory in units of 1e9 bytes.
    pub memory_gb: f64,
    /// Operating system and kernel.
    pub system: String,
    /// Mean number of processes that wanted to run in the last minute, before the start.
    pub load_average: f64,
    /// The instruction set in use.
    pub isa: String,
    /// Threads that compute.
    pub threads: usize,
    /// Reading of memory, the median of all times it was measured in this run.
    pub read_gbps: f64,
    /// Fastest products in BF16 or F32 of the instruction set in use, the median of all times.
    pub bf16_tflops: f64,
    /// Fastest products of bytes of the instruction set in use, at the start.
    pub int8_tops: Option<f64>,
    /// Every arithmetic unit of the processor, at the start.
    pub peaks: Vec<PeakReport>,
}

/// The peak of one arithmetic unit.
#[derive(Clone, Debug, Serialize)]
pub struct PeakReport {
    /// The instruction set.
    pub isa: &'static str,
    /// What is multiplied.
    pub operands: &'static str,
    /// Multiplications and additions in a second, in units of 1e12.
    pub tera_per_second: f64,
}

/// What was run.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// File name, or shape and type.
    pub name: String,
    /// Whether the weights are random.
    pub is_synthetic: bool,
    /// Arithmetic of products.
    pub precision: String,
    /// What keys and values were kept in.
    pub kv: String,
    /// Tensors of the text model as stored, in units of 1e6 bytes.
    pub text_mb: f64,
    /// Tensors of the projector as stored.
    pub projector_mb: Option<f64>,
    /// Both as they are held in memory.
    pub weights_mb: f64,
    /// The cache of keys and values that was reserved.
    pub cache_mb: f64,
    /// Temporaries of the largest picture's encoding that were reserved.
    pub image_arena_mb: Option<f64>,
    /// Temporaries of a text step that were reserved.
    pub text_arena_mb: f64,
    /// What a generated token reads of the text model: all but rows of an embedding that is not the
    /// output, and experts that are not used.
    pub read_per_token_mb: f64,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The picture as it was given: `1024x1024`.
    pub image: Option<String>,
    /// As the encoder saw it.
    pub resized: Option<String>,
    /// Patches of the picture.
    pub patches: usize,
    /// Tokens of the picture.
    pub image_tokens: usize,
    /// Tokens of the prompt, the picture's among them.
    pub prompt_tokens: usize,
    /// Tokens that each sequence generated.
    pub new_tokens: usize,
    /// Sequences that were generated in one step.
    pub batch: usize,
    /// Reading of memory beside this case's stages, their limit.
    pub read_gbps: f64,
    /// Products in BF16 or F32 beside this case's stages, their limit.
    pub bf16_tflops: f64,
    /// From the start of the picture's decoding to the first token.
    pub time_to_first_token_s: Option<f64>,
    /// The stages.
    pub stages: Stages,
    /// Where their time went, if that was asked for.
    pub operations: Option<OperationsReport>,
}

/// The stages of a case.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stages {
    /// Reading and packing of the weights, tokenizer and memory included.
    pub load: Stage,
    /// PNG file to pixels.
    pub image_decode: Stage,
    /// Pixels to patches.
    pub preprocess: Stage,
    /// Patches to features. The limit is the case's `bf16_tflops`.
    pub encode: Stage,
    /// Prompt tokens to the first token. The limit is the case's `bf16_tflops`.
    pub prefill: TokenStage,
    /// Tokens after the first. The limit is the case's `read_gbps`.
    pub decode: TokenStage,
}

/// One stage.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stage {
    /// Median.
    pub seconds: Option<f64>,
    /// Fastest.
    pub seconds_min: Option<f64>,
    /// Slowest.
    pub seconds_max: Option<f64>,
    /// Time at the machine's limit, by the median.
    pub share_of_limit: Option<f64>,
    /// Multiplications and additions of its products, in units of 1e12.
    pub tera_operations: Option<f64>,
}

/// A stage whose speed is told in tokens.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TokenStage {
    /// Its times and share.
    #[serde(flatten)]
    pub stage: Stage,
    /// Tokens of all sequences by the median time.
    pub tokens_per_second: Option<f64>,
    /// Bytes that a step has to read, weights and cache, in units of 1e9.
    pub read_gb_per_step: Option<f64>,
}

impl Stage {
    /// Median and range of some times; nothing when there are none.
    pub(super) fn of(seconds: &[f64]) -> Self {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => None,
            len if len % 2 == 0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
            _ => Some(sorted[middle]),
        };
        Self {
            seconds: median,
            seconds_min: sorted.first().copied(),
            seconds_max: sorted.last().copied(),
            share_of_limit: None,
            tera_operations: None,
        }
    }

    /// The same with a share of a rate of products, in units of 1e12 a second.
    pub(super) fn against(mut self, operations: u64, tera_limit: f64) -> Self {
        let tera = operations as f64 / 1e12;
        self.tera_operations = self.seconds.map(|_| tera);
        self.share_of_limit = self.seconds.map(|seconds| tera / seconds / tera_limit);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let stage = Stage::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(stage.seconds, Some(2.5));
        assert_eq!(
            (stage.seconds_min, stage.seconds_max),
            (Some(1.0), Some(4.0))
        );
        assert_eq!(Stage::of(&[7.0, 9.0, 8.0]).seconds, Some(8.0));
        assert_eq!(Stage::of(&[]).seconds, None);
    }

    #[test]
    fn a_share_is_the_time_at_the_limit_by_the_time_it_took() {
        let stage = Stage::of(&[2.0]).against(3_000_000_000_000, 6.0);
        assert_eq!(stage.share_of_limit, Some(0.25));
        assert_eq!(Stage::of(&[]).against(1, 1.0).share_of_limit, None);
    }
}
