//! The parts of config.json that a conversion needs, for all families and both ways the files are nested.

use std::path::Path;

use serde_json::Value;

use super::gemma3::{self, Sliding};
use super::settings::{Settings, read_json};
use super::still::{self, Still};
use crate::Error;
use text::read_text;
use vision::read_vision;

pub(super) use vision::normalization;
pub(crate) use windows::{FullLayers, USUAL_POSITIONS, USUAL_SIDE, Windows};

mod processor;
mod text;
mod videos;
mod vision;
mod windows;

/// The families that can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Qwen2Vl,
    Qwen25Vl,
    Qwen3Vl,
    Qwen3VlMoe,
    Qwen2,
    Qwen3,
    Llama,
    Mistral3,
    Llava,
    Pixtral,
    LlavaNext,
    Gemma3,
    Gemma3Text,
}

impl Family {
    /// `model_type`, family, `general.architecture`, `clip.projector_type`.
    const TABLE: [(&'static str, Self, &'static str, Option<&'static str>); 13] = [
        ("qwen2_vl", Self::Qwen2Vl, "qwen2vl", Some("qwen2vl_merger")),
        (
            "qwen2_5_vl",
            Self::Qwen25Vl,
            "qwen2vl",
            Some("qwen2.5vl_merger"),
        ),
        ("qwen3_vl", Self::Qwen3Vl, "qwen3vl", Some("qwen3vl_merger")),
        (
            "qwen3_vl_moe",
            Self::Qwen3VlMoe,
            "qwen3vlmoe",
            Some("qwen3vl_merger"),
        ),
        ("qwen2", Self::Qwen2, "qwen2", None),
        ("qwen3", Self::Qwen3, "qwen3", None),
        ("llama", Self::Llama, "llama", None),
        ("mistral3", Self::Mistral3, "mistral3", Some("pixtral")),
        ("llava", Self::Llava, "llama", Some("mlp")),
        // Told from the one above by its encoder.
        ("llava", Self::Pixtral, "llama", Some("pixtral")),
        ("llava_next", Self::LlavaNext, "llama", Some("mlp")),
        ("gemma3", Self::Gemma3, "gemma3", Some("gemma3")),
        ("gemma3_text", Self::Gemma3Text, "gemma3", None),
    ];

    fn of(model_type: &str) -> Result<Self, Error> {
        let found = Self::TABLE.iter().find(|row| row.0 == model_type);
        found.map(|row| row.1).ok_or_else(|| Error::Architecture {
            found: format!("'{model_type}'"),
            need: {
                let mut names: Vec<&str> = Self::TABLE.iter().map(|row| row.0).collect();
                names.dedup();
                names.join(", ")
            },
        })
    }

    pub(crate) fn architecture(self) -> &'static str {
        Self::TABLE[self as usize].2
    }

    pub(crate) fn projector_type(self) -> Option<&'static str> {
        Self::TABLE[self as usize].3
    }

    /// Whether the encoder takes still pictures alone.
    pub(crate) fn is_still(self) -> bool {
        self.has_clip() || matches!(self, Self::Mistral3 | Self::Pixtral)
    }

    /// Whether the encoder is CLIP's, with LLaVA's projector.
    pub(crate) fn has_clip(self) -> bool {
        matches!(self, Self::Llava | Self::LlavaNext)
    }

    /// Whether the encoder takes videos too.
    pub(crate) fn has_videos(self) -> bool {
        matches!(
            self,
            Self::Qwen2Vl | Self::Qwen25Vl | Self::Qwen3Vl | Self::Qwen3VlMoe
        )
    }

    /// Whether rows of queries and keys are stored so that neighbours turn together.
    pub(crate) fn has_paired_rows(self) -> bool {
        self == Self::Llama || self.is_still()
    }

    /// Whether queries and keys are normalised for each head.
    pub(crate) fn has_head_norms(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Vl | Self::Qwen3VlMoe)
    }

    /// Whether query, key and value projections have biases.
    pub(crate) fn has_attention_biases(self) -> bool {
        matches!(self, Self::Qwen2 | Self::Qwen2Vl | Self::Qwen25Vl)
    }

    pub(crate) fn is_gemma3(self) -> bool {
        matches!(self, Self::Gemma3 | Self::Gemma3Text)
    }

    pub(crate) fn is_qwen3_vl(self) -> bool {
        matches!(self, Self::Qwen3Vl | Self::Qwen3VlMoe)
    }
}

/// How positions beyond the trained length are handled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeScaling {
    None,
    Linear {
        factor: f32,
    },
    Yarn {
        factor: f32,
        original_context: Option<u32>,
        /// Metadata below the architecture that not all models state.
        details: Vec<(&'static str, f32)>,
    },
    /// Each frequency is divided by its own factor: Llama 3.1.
    Llama3 {
        factors: Vec<f32>,
    },
}

/// Sizes of the mixture of experts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    pub(crate) used: usize,
    pub(crate) hidden: usize,
}

/// The language model.
#[derive(Debug, Clone)]
pub(crate) struct TextConfig {
    pub(crate) family: Family,
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) mlp_hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Whether the file states it, rather than leaving it to width / heads.
    pub(crate) states_head_dim: bool,
    pub(crate) vocabulary: usize,
    pub(crate) context: u32,
    pub(crate) norm_eps: f32,
    pub(crate) rope_base: f32,
    pub(crate) rope_sections: Option<Vec<u32>>,
    pub(crate) rope_scaling: RopeScaling,
    pub(crate) experts: Option<Experts>,
    /// `None` when nothing says so; then the tensors decide.
    pub(crate) is_tied: Option<bool>,
    /// `bos`, `eos` and `pad` ids.
    pub(crate) token_ids: [Option<u32>; 3],
    /// Gemma 3 only.
    pub(crate) sliding: Option<Sliding>,
    /// Tokens that every layer looks back over, where that is not all of them: old Mistral models.
    pub(crate) window: Option<u32>,
}

/// The vision encoder.
#[derive(Debug, Clone)]
pub(crate) struct VisionConfig {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) mlp_hidden: usize,
    pub(crate) patch: usize,
    /// Entries of the table of positions; Qwen3-VL only.
    pub(crate) positions: Option<usize>,
    /// Layers whose rows also go into the text model; Qwen3-VL only.
    pub(crate) taps: Vec<usize>,
    /// Qwen2.5-VL only.
    pub(crate) windows: Option<Windows>,
    /// Least and most pixels of a picture, where they are not the usual ones of Qwen's families.
    pub(crate) pixels: Option<[u32; 2]>,
    /// Patches on each side of a cell that becomes a token; Gemma 3 only.
    pub(crate) pool: Option<u32>,
    /// Epsilon of its norms where it is not a constant of the family.
    pub(crate) norm_eps: Option<f32>,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
    /// Of encoders of still pictures.
    pub(crate) still: Option<Still>,
    /// Height and width in pixels of all tiles together that pictures may have; LLaVA-1.6 only.
    pub(crate) tiles: Vec<[u32; 2]>,
}

const CONFIG: &str = "config.json";

/// Reads config.json and what belongs to it.
pub(crate) fn read(folder: &Path) -> Result<(TextConfig, Option<VisionConfig>), Error> {
    let not_found = |found: &str| Error::NotACheckpoint {
        path: folder.to_path_buf(),
        found: found.to_owned(),
        hint: "Name the folder that holds config.json",
    };
    if !folder.is_dir() {
        return Err(not_found(if folder.exists() {
            "a file"
        } else {
            "nothing"
        }));
    }
    let Some(root) = read_json::<Value>(folder, CONFIG)? else {
        return Err(not_found(
            match folder.join("adapter_config.json").is_file() {
                true => "an adapter (LoRA); merge it into its model first",
                false => "no config.json",
            },
        ));
    };
    let root = Settings {
        file: CONFIG,
        value: &root,
    };
    let model_type = root.str("model_type")?;
    let model_type = model_type.ok_or_else(|| root.error("model_type", "nothing", "a string"))?;
    let family = match Family::of(model_type)? {
        Family::Llava => still::kind_of_llava(root)?,
        Family::LlavaNext => still::check_next(root)?,
        family => family,
    };
    if root.get("quantization_config").is_some() {
        return Err(Error::Unsupported {
            what: "config.json: quantization_config".to_owned(),
            found: "a checkpoint that is quantised already".to_owned(),
            need: "the original in F32, F16 or BF16".to_owned(),
        });
    }
    let text = match family.is_gemma3() {
        true => gemma3::read_text(root, family)?,
        false => read_text(root, family)?,
    };
    let vision = match family.projector_type() {
        Some(_) if family.is_gemma3() => Some(gemma3::read_vision(folder, root)?),
        Some(_) => Some(read_vision(folder, root, &text)?),
        None => None,
    };
    if let Some(vision) = &vision {
        processor::check(folder, &text, vision)?;
        videos::check(folder, family, vision)?;
    }
    Ok((text, vision))
}
