//! The types of a model's tensors without the model: for benchmarks on shapes alone.

use ocelli_quant::TensorType;

use crate::FileType;
use crate::recipe::{Recipe, is_kept, kept_type};

/// Facts of a model that its mix of types depends on.
#[derive(Debug, Clone)]
pub struct Mix(Recipe);

impl Mix {
    /// The mix of a text model of `layers` layers in a file of type `file_type`.
    pub fn text(
        file_type: FileType,
        architecture: impl Into<String>,
        layers: usize,
        queries_per_kv: u32,
        has_output: bool,
    ) -> Self {
        Self(Recipe {
            file_type,
            architecture: architecture.into(),
            layers,
            queries_per_kv,
            experts: 0,
            has_output,
        })
    }

    /// The same with so many experts a layer.
    #[must_use]
    pub fn with_experts(mut self, experts: u32) -> Self {
        self.0.experts = experts;
        self
    }

    /// The mix of a projector.
    pub fn projector(file_type: FileType) -> Self {
        Self::text(file_type, "clip", 0, 1, true)
    }

    /// The type that a tensor has in such a file. `shape` is fastest-varying first.
    pub fn type_of(&self, name: &str, shape: &[u64]) -> TensorType {
        match is_kept(name, shape) {
            true => kept_type(name, self.0.file_type),
            false => self.0.choose(name, shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_a_converted_file() {
        let mix = Mix::text(FileType::Q4_K_M, "qwen3vl", 28, 2, false);
        for (name, shape, ty) in [
            ("token_embd.weight", &[2048, 99][..], TensorType::Q6_K),
            ("blk.3.attn_q.weight", &[2048, 2048], TensorType::Q4_K),
            ("blk.0.ffn_down.weight", &[6144, 2048], TensorType::Q6_K),
            ("blk.0.attn_norm.weight", &[2048], TensorType::F32),
        ] {
            assert_eq!(mix.type_of(name, shape), ty, "{name}");
        }
        let halves = Mix::projector(FileType::F16);
        let weight = |name: &str| halves.type_of(name, &[1024, 1024]);
        assert_eq!(weight("v.blk.0.ffn_up.weight"), TensorType::F16);
        assert_eq!(weight("v.position_embd.weight"), TensorType::F32);
        let patch = halves.type_of("v.patch_embd.weight.1", &[16, 16, 3, 8]);
        assert_eq!(patch, TensorType::F16);
    }
}
