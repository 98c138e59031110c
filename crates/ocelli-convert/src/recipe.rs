//! Which tensor of a file gets which type: the standard mixes and what happens to rows that fit no block.

use ocelli_quant::TensorType;

use crate::FileType;

/// The facts of a model that the mixes depend on.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) file_type: FileType,
    /// `general.architecture`.
    pub(crate) architecture: String,
    pub(crate) layers: usize,
    /// Query heads that share one key and value head.
    pub(crate) queries_per_kv: u32,
    pub(crate) experts: u32,
    /// Whether `output.weight` is a tensor of its own.
    pub(crate) has_output: bool,
}

/// Whether the tensor is never quantised: vectors, norms, routers, tables of positions, the patch embedding.
pub(crate) fn is_kept(name: &str, shape: &[u64]) -> bool {
    let is_vector = shape.iter().skip(1).all(|&dimension| dimension == 1);
    is_vector
        || !name.ends_with("weight")
        || name.ends_with("_norm.weight")
        || [
            "ffn_gate_inp.",
            "position_embd",
            "patch_embd",
            "patch_merger",
            "token_types",
        ]
        .iter()
        .any(|part| name.contains(part))
}

/// The type of a kept tensor when it comes from a checkpoint.
pub(crate) fn kept_type(name: &str, file_type: FileType) -> TensorType {
    match file_type {
        FileType::F16 if name.starts_with("v.patch_embd.weight") => TensorType::F16,
        _ => TensorType::F32,
    }
}

impl Recipe {
    /// The type of a tensor that is not kept. `shape` is fastest-varying first.
    pub(crate) fn choose(&self, name: &str, shape: &[u64]) -> TensorType {
        let row = shape.first().copied().unwrap_or(1);
        if !self.file_type.is_quantized() {
            return self.file_type.base();
        }
        // Stored with rows and columns exchanged. llama.cpp turns it back when it runs, which it
        // can do to no blocks: it aborts.
        if name == "mm.input_projection.weight" {
            return TensorType::F16;
        }
        fitting(self.wanted(name, row), row)
    }

    fn wanted(&self, name: &str, row: u64) -> TensorType {
        let base = self.file_type.base();
        let is_head = name == "output.weight" || (!self.has_output && name == "token_embd.weight");
        if is_head {
            return match base {
                TensorType::Q8_0 => base,
                _ if !row.is_multiple_of(256) => TensorType::Q8_0,
                _ => TensorType::Q6_K,
            };
        }
        let Some(layer) = layer_of(name) else {
            return base;
        };
        if name.ends_with(".attn_v.weight") || name.ends_with(".attn_qkv.weight") {
            return self.attention_value(layer);
        }
        if name.ends_with(".attn_k.weight") && self.experts == 8 {
            return TensorType::Q8_0;
        }
        if name.contains(".ffn_down") {
            return self.mlp_down(layer);
        }
        if name.ends_with(".attn_output.weight") {
            return self.attention_output();
        }
        base
    }

    fn attention_value(&self, layer: usize) -> TensorType {
        use FileType::*;
        let base = self.file_type.base();
        let mixed = match self.file_type {
            Q2_K if self.queries_per_kv >= 4 => TensorType::Q4_K,
            Q2_K => TensorType::Q3_K,
            Q3_K_M if layer < 2 => TensorType::Q5_K,
            Q3_K_M => TensorType::Q4_K,
            Q3_K_L => TensorType::Q5_K,
            Q4_K_M | Q5_K_M if self.has_more_bits(layer) => TensorType::Q6_K,
            Q4_K_S if layer < 4 => TensorType::Q5_K,
            _ => base,
        };
        // Eight large key heads are shared by all queries there, so the bits are cheap.
        let is_70b = self.layers == 80 && matches!(self.architecture.as_str(), "llama" | "qwen2");
        match mixed {
            _ if self.experts == 8 => TensorType::Q8_0,
            TensorType::Q3_K | TensorType::Q4_K if is_70b => TensorType::Q5_K,
            other => other,
        }
    }

    fn mlp_down(&self, layer: usize) -> TensorType {
        use FileType::*;
        match self.file_type {
            Q2_K => TensorType::Q3_K,
            Q3_K_M if layer < self.layers / 16 => TensorType::Q5_K,
            Q3_K_M => TensorType::Q4_K,
            Q3_K_L => TensorType::Q5_K,
            Q4_K_M | Q5_K_M if self.has_more_bits(layer) => TensorType::Q6_K,
            Q4_K_S if layer < self.layers / 8 => TensorType::Q5_K,
            other => other.base(),
        }
    }

    fn attention_output(&self) -> TensorType {
        use FileType::*;
        match self.file_type {
            Q2_K | Q3_K_S | Q3_K_M | Q4_K_S | Q4_K_M if self.experts == 8 => TensorType::Q5_K,
            Q2_K => TensorType::Q3_K,
            Q3_K_M => TensorType::Q4_K,
            Q3_K_L => TensorType::Q5_K,
            other => other.base(),
        }
    }

    /// The first and last eighth of the layers, and every third between.
    fn has_more_bits(&self, layer: usize) -> bool {
        let eighth = self.layers / 8;
        layer < eighth || layer >= 7 * self.layers / 8 || (layer - eighth) % 3 == 2
    }
}

/// The number after `blk.`.
fn layer_of(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("v.").unwrap_or(name);
    rest.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// `wanted`, or what takes its place for rows that are no whole number of its blocks.
fn fitting(wanted: TensorType, row: u64) -> TensorType {
    let smaller = match wanted {
        ty if row.is_multiple_of(ty.block_elements() as u64) => return ty,
        TensorType::Q2_K | TensorType::Q3_K => TensorType::Q4_0,
        TensorType::Q4_K => TensorType::Q5_0,
        TensorType::Q5_K => TensorType::Q5_1,
        TensorType::Q6_K => TensorType::Q8_0,
        _ => TensorType::F16,
    };
    match row.is_multiple_of(smaller.block_elements() as u64) {
        true => smaller,
        false => TensorType::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(file_type: FileType, layers: usize) -> Recipe {
        Recipe {
            file_type,
            architecture: "qwen3vl".to_owned(),
            layers,
            queries_per_kv: 2,
            experts: 0,
            has_output: true,
        }
    }

    /// Layers of `0..n` whose tensor has type `ty`.
    fn layers_of(recipe: &Recipe, stem: &str, ty: TensorType) -> Vec<usize> {
        (0..recipe.layers)
            .filter(|i| recipe.choose(&format!("blk.{i}.{stem}.weight"), &[1024, 8]) == ty)
            .collect()
    }

    #[test]
    fn the_middle_mix_of_four_bits_gives_six_to_the_ends_and_every_third_layer() {
        let mix = recipe(FileType::Q4_K_M, 28);
        let six = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27];
        for stem in ["attn_v", "attn_qkv", "ffn_down", "ffn_down_exps"] {
            assert_eq!(layers_of(&mix, stem, TensorType::Q6_K), six, "{stem}");
        }
        for stem in ["attn_q", "attn_k", "attn_output", "ffn_up", "ffn_gate"] {
            assert_eq!(layers_of(&mix, stem, TensorType::Q4_K).len(), 28, "{stem}");
        }
    }

    #[test]
    fn the_small_mixes_give_more_bits_to_the_first_layers() {
        let mix = recipe(FileType::Q4_K_S, 32);
        assert_eq!(layers_of(&mix, "attn_v", TensorType::Q5_K), [0, 1, 2, 3]);
        assert_eq!(layers_of(&mix, "ffn_down", TensorType::Q5_K), [0, 1, 2, 3]);
        let mix = recipe(FileType::Q3_K_M, 32);
        assert_eq!(layers_of(&mix, "attn_v", TensorType::Q5_K), [0, 1]);
        assert_eq!(layers_of(&mix, "ffn_down", TensorType::Q4_K).len(), 30);
        assert_eq!(layers_of(&mix, "attn_output", TensorType::Q4_K).len(), 32);
        let mix = recipe(FileType::Q2_K, 32);
        assert_eq!(layers_of(&mix, "ffn_down", TensorType::Q3_K).len(), 32);
        assert_eq!(layers_of(&mix, "attn_v", TensorType::Q3_K).len(), 32);
    }

    #[test]
    fn a_tied_embedding_is_stored_as_the_output_it_is() {
        let mut mix = recipe(FileType::Q4_K_M, 28);
        assert_eq!(
            mix.choose("token_embd.weight", &[1024, 9]),
            TensorType::Q4_K
        );
        assert_eq!(mix.choose("output.weight", &[1024, 9]), TensorType::Q6_K);
        mix.has_output = false;
        assert_eq!(
            mix.choose("token_embd.weight", &[1024, 9]),
            TensorType::Q6_K
        );
        assert_eq!(mix.choose("token_embd.weight", &[32, 9]), TensorType::Q8_0);
    }

    #[test]
    fn rows_that_fit_no_block_take_the_next_type_and_at_last_halves() {
        for (file_type, at_32, at_16) in [
            (FileType::Q4_K_M, TensorType::Q5_0, TensorType::F16),
            (FileType::Q5_K_S, TensorType::Q5_1, TensorType::F16),
            (FileType::Q6_K, TensorType::Q8_0, TensorType::F16),
            (FileType::Q2_K, TensorType::Q4_0, TensorType::F16),
            (FileType::Q8_0, TensorType::Q8_0, TensorType::F16),
            (FileType::Q4_0, TensorType::Q4_0, TensorType::F16),
        ] {
            let mix = recipe(file_type, 28);
            assert_eq!(
                mix.choose("blk.4.ffn_up.weight", &[1184, 8]),
                at_32,
                "{file_type}"
            );
            assert_eq!(
                mix.choose("blk.4.ffn_up.weight", &[4304, 8]),
                at_16,
                "{file_type}"
            );
        }
    }

    #[test]
    fn the_projection_that_is_turned_when_it_runs_stays_in_halves() {
        for file_type in [FileType::Q8_0, FileType::Q4_K_M] {
            let mix = recipe(file_type, 28);
            let ty = mix.choose("mm.input_projection.weight", &[2560, 1152]);
            assert_eq!(ty, TensorType::F16, "{file_type}");
        }
        let whole = recipe(FileType::F32, 28);
        assert_eq!(
            whole.choose("mm.input_projection.weight", &[64, 32]),
            TensorType::F32
        );
    }

    #[test]
    fn vectors_norms_routers_and_patch_kernels_are_kept() {
        for (name, shape) in [
            ("blk.0.attn_q.bias", &[64][..]),
            ("blk.0.attn_norm.weight", &[64]),
            ("blk.0.ffn_gate_inp.weight", &[64, 8]),
            ("v.patch_embd.weight", &[16, 16, 3, 64]),
            ("v.patch_embd.weight.1", &[16, 16, 3, 64]),
            ("v.position_embd.weight", &[64, 36]),
        ] {
            assert!(is_kept(name, shape), "{name}");
        }
        assert!(!is_kept("v.blk.0.attn_qkv.weight", &[64, 192]));
        assert_eq!(
            kept_type("v.patch_embd.weight.1", FileType::F16),
            TensorType::F16
        );
        assert_eq!(
            kept_type("v.patch_embd.bias", FileType::F16),
            TensorType::F32
        );
        assert_eq!(
            kept_type("v.patch_embd.weight", FileType::BF16),
            TensorType::F32
        );
    }
}
