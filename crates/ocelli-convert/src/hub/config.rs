//! The parts of config.json that a conversion needs, for all families and both ways the files are nested.

use std::path::Path;

use serde_json::Value;

use super::gemma3::{self, Sliding};
use super::settings::{Settings, read_json};
use super::still::{self, Still};
use crate::Error;

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
    Gemma3,
    Gemma3Text,
}

impl Family {
    /// `model_type`, family, `general.architecture`, `clip.projector_type`.
    const TABLE: [(&'static str, Self, &'static str, Option<&'static str>); 12] = [
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
        matches!(self, Self::Mistral3 | Self::Llava | Self::Pixtral)
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
    /// Every how many layers one sees the whole picture; Qwen2.5-VL only.
    pub(crate) window_pattern: Option<u32>,
    /// Patches on each side of a cell that becomes a token; Gemma 3 only.
    pub(crate) pool: Option<u32>,
    /// Epsilon of its norms where it is not a constant of the family.
    pub(crate) norm_eps: Option<f32>,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
    /// Of encoders of still pictures.
    pub(crate) still: Option<Still>,
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
    Ok((text, vision))
}

fn read_text(root: Settings<'_>, family: Family) -> Result<TextConfig, Error> {
    // Older files have the text model's settings beside those of the vision encoder.
    let text = root.inside("text_config").unwrap_or(root);
    let count = |key: &str| match (text.u32(key)?, still::usual(family, key)) {
        (None, Some(usual)) => Ok(usual as usize),
        _ => text.count(key),
    };
    let (width, heads) = (count("hidden_size")?, count("num_attention_heads")?);
    let stated = text.u32("head_dim")?.map(|dim| dim as usize);
    let head_dim = stated.unwrap_or(width / heads);
    if head_dim == 0 || head_dim > 1 << 16 || head_dim % 2 != 0 {
        return Err(text.error("head_dim", head_dim, "an even number of 2 or more"));
    }
    let kv_heads = text.u32("num_key_value_heads")?;
    let kv_heads = kv_heads.or(still::usual(family, "num_key_value_heads"));
    let kv_heads = kv_heads.map_or(heads, |n| n as usize);
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(text.error(
            "num_key_value_heads",
            kv_heads,
            format!("a divisor of {heads}"),
        ));
    }
    let rope = text
        .inside("rope_parameters")
        .or(text.inside("rope_scaling"));
    let id = |key: &str| -> Option<u32> {
        let read = |s: Settings<'_>| s.get(key)?.as_u64()?.try_into().ok();
        read(root).or_else(|| read(text))
    };
    let tied = match root.bool("tie_word_embeddings")? {
        Some(tied) => Some(tied),
        None => text.bool("tie_word_embeddings")?,
    };
    Ok(TextConfig {
        family,
        layers: count("num_hidden_layers")?,
        width,
        mlp_hidden: count("intermediate_size")?,
        heads,
        kv_heads,
        head_dim,
        states_head_dim: stated.is_some(),
        vocabulary: text.count("vocab_size")?,
        context: text.needed_u32("max_position_embeddings")?,
        norm_eps: text.needed_f32("rms_norm_eps")?,
        rope_base: rope_base(text, rope, family)?,
        rope_sections: rope_sections(text, rope, family)?,
        rope_scaling: rope_scaling(text, rope, head_dim, family)?,
        experts: experts(text, family)?,
        is_tied: tied,
        token_ids: ["bos_token_id", "eos_token_id", "pad_token_id"].map(id),
        sliding: None,
        window: window(text)?,
    })
}

/// The window of Mistral's first models; Qwen's settings state one that only `use_sliding_window` turns on.
fn window(text: Settings<'_>) -> Result<Option<u32>, Error> {
    let kind = text.str("model_type")?.unwrap_or_default();
    match kind.starts_with("mistral") || kind.starts_with("ministral") {
        true => text.u32("sliding_window"),
        false => Ok(None),
    }
}

fn rope_base(text: Settings<'_>, rope: Option<Settings<'_>>, family: Family) -> Result<f32, Error> {
    if let Some(rope) = rope
        && let Some(base) = rope.f32("rope_theta")?
    {
        return Ok(base);
    }
    match (text.f32("rope_theta")?, family) {
        (Some(base), _) => Ok(base),
        (None, Family::Llama | Family::Llava | Family::Pixtral) => Ok(10_000.0),
        (None, _) => Err(text.error("rope_theta", "nothing", "a number")),
    }
}

fn rope_sections(
    text: Settings<'_>,
    rope: Option<Settings<'_>>,
    family: Family,
) -> Result<Option<Vec<u32>>, Error> {
    if family.projector_type().is_none() || family.is_still() {
        return Ok(None);
    }
    let sections = match rope {
        Some(rope) => rope.u32s("mrope_section")?,
        None => None,
    };
    match sections {
        Some(sections) if sections.len() == 3 => Ok(Some(sections)),
        found => Err(text.error("mrope_section", format!("{found:?}"), "three numbers")),
    }
}

fn rope_scaling(
    text: Settings<'_>,
    rope: Option<Settings<'_>>,
    head_dim: usize,
    family: Family,
) -> Result<RopeScaling, Error> {
    let Some(rope) = rope else {
        return Ok(RopeScaling::None);
    };
    let kind = match rope.str("rope_type")? {
        Some(kind) => kind,
        None => rope.str("type")?.unwrap_or("default"),
    };
    match kind {
        "default" | "mrope" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear {
            factor: rope.needed_f32("factor")?,
        }),
        "yarn" => Ok(RopeScaling::Yarn {
            factor: rope.needed_f32("factor")?,
            original_context: rope.u32("original_max_position_embeddings")?,
            details: yarn_details(rope)?,
        }),
        "llama3" if family == Family::Llama => Ok(RopeScaling::Llama3 {
            factors: llama3_factors(rope, rope_base(text, Some(rope), family)?, head_dim)?,
        }),
        other => Err(rope.error("rope_type", other, "default, linear, yarn or llama3")),
    }
}

/// What most models leave as usual: bounds of the ramp, share of the magnitude, growth of queries.
fn yarn_details(rope: Settings<'_>) -> Result<Vec<(&'static str, f32)>, Error> {
    let mut details = Vec::new();
    for (key, name) in [
        ("beta_fast", "rope.scaling.yarn_beta_fast"),
        ("beta_slow", "rope.scaling.yarn_beta_slow"),
        ("mscale_all_dim", "rope.scaling.yarn_log_multiplier"),
        ("llama_4_scaling_beta", "attention.temperature_scale"),
    ] {
        details.extend(rope.f32(key)?.map(|value| (name, value)));
    }
    match (rope.f32("mscale")?, rope.f32("mscale_all_dim")?) {
        // One where both are stated; without the other the reference leaves either alone.
        (Some(own), Some(_)) if own != 1.0 => details.push(("rope.scaling.mscale", own)),
        (None, Some(_)) => details.retain(|(key, _)| *key != "rope.scaling.yarn_log_multiplier"),
        _ => {}
    }
    Ok(details)
}

/// Low frequencies are divided by the factor, high ones stay, and those between are interpolated.
fn llama3_factors(rope: Settings<'_>, base: f32, head_dim: usize) -> Result<Vec<f32>, Error> {
    let factor = rope.needed_f32("factor")?;
    let low = rope.needed_f32("low_freq_factor")?;
    let high = rope.needed_f32("high_freq_factor")?;
    let length = rope.needed_f32("original_max_position_embeddings")?;
    let of_pair = |pair: usize| {
        let frequency = 1.0 / base.powf((2 * pair) as f32 / head_dim as f32);
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        let smooth = ((length / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - smooth) / factor + smooth)
    };
    Ok((0..head_dim / 2).map(of_pair).collect())
}

fn experts(text: Settings<'_>, family: Family) -> Result<Option<Experts>, Error> {
    if family != Family::Qwen3VlMoe {
        return Ok(None);
    }
    let is_mixed = text.u32("decoder_sparse_step")?.unwrap_or(1) != 1
        || text
            .u32s("mlp_only_layers")?
            .is_some_and(|layers| !layers.is_empty());
    if is_mixed {
        return Err(text.error(
            "mlp_only_layers",
            "dense layers among the others",
            "experts in every layer",
        ));
    }
    let count = match text.u32("num_experts")? {
        Some(_) => text.count("num_experts")?,
        None => text.count("num_local_experts")?,
    };
    Ok(Some(Experts {
        count,
        used: text.count("num_experts_per_tok")?,
        hidden: text.count("moe_intermediate_size")?,
    }))
}

fn read_vision(
    folder: &Path,
    root: Settings<'_>,
    text: &TextConfig,
) -> Result<VisionConfig, Error> {
    let family = text.family;
    let Some(vision) = root.inside("vision_config") else {
        return Err(root.error("vision_config", "nothing", "the vision encoder's settings"));
    };
    if family.is_still() {
        let colours = normalization(folder)?;
        return still::read(root, vision, text, colours, longest_side(folder)?);
    }
    for (key, need) in [
        ("spatial_merge_size", 2),
        ("temporal_patch_size", 2),
        ("in_channels", 3),
    ] {
        if let Some(found) = vision.u32(key)?
            && found != need
        {
            return Err(vision.error(key, found, need));
        }
    }
    // Qwen2-VL alone calls the encoder's own width so, and its output `hidden_size`.
    let width = vision.count(match family {
        Family::Qwen2Vl => "embed_dim",
        _ => "hidden_size",
    })?;
    let mlp_hidden = match family {
        Family::Qwen2Vl => {
            let ratio = vision.f32("mlp_ratio")?.unwrap_or(4.0);
            (width as f32 * ratio) as usize
        }
        _ => vision.count("intermediate_size")?,
    };
    let layers = vision.count("depth")?;
    let (mean, std) = normalization(folder)?;
    Ok(VisionConfig {
        layers,
        width,
        heads: vision.count("num_heads")?,
        mlp_hidden,
        patch: vision.count("patch_size")?,
        positions: match family.is_qwen3_vl() {
            true => Some(vision.count("num_position_embeddings")?),
            false => None,
        },
        taps: match family.is_qwen3_vl() {
            true => read_taps(vision, layers)?,
            false => Vec::new(),
        },
        window_pattern: match family {
            Family::Qwen25Vl => Some(window_pattern(vision, layers)?),
            _ => None,
        },
        pool: None,
        norm_eps: None,
        mean,
        std,
        still: None,
    })
}

/// The layers whose rows go into the text model's layers.
fn read_taps(vision: Settings<'_>, layers: usize) -> Result<Vec<usize>, Error> {
    let key = "deepstack_visual_indexes";
    let taps = vision.u32s(key)?.unwrap_or_default();
    if let Some(tap) = taps.iter().find(|tap| **tap as usize >= layers) {
        return Err(vision.error(key, tap, format!("layers below {layers}")));
    }
    Ok(taps.into_iter().map(|tap| tap as usize).collect())
}

/// GGUF can only say "every n-th layer sees all", so the list must be that.
fn window_pattern(vision: Settings<'_>, layers: usize) -> Result<u32, Error> {
    const KEY: &str = "fullatt_block_indexes";
    if let Some(size) = vision.u32("window_size")?
        && size != 112
    {
        return Err(vision.error("window_size", size, 112));
    }
    let found = vision.u32s(KEY)?.unwrap_or_else(|| vec![7, 15, 23, 31]);
    let Some(pattern) = found.first().and_then(|first| first.checked_add(1)) else {
        return Err(vision.error(KEY, "an empty list", "at least one layer"));
    };
    let need: Vec<u32> = (pattern - 1..layers as u32)
        .step_by(pattern as usize)
        .collect();
    match found == need {
        true => Ok(pattern),
        false => Err(vision.error(
            KEY,
            format!("{found:?}"),
            format!("every {pattern}th layer: {need:?}"),
        )),
    }
}

/// Files with the settings of the processor of pictures.
const PROCESSOR_FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// The longest side of pictures in pixels, where the processor's settings have one.
fn longest_side(folder: &Path) -> Result<Option<usize>, Error> {
    for file in PROCESSOR_FILES {
        let Some(value) = read_json::<Value>(folder, file)? else {
            continue;
        };
        let root = Settings {
            file,
            value: &value,
        };
        let processor = root.inside("image_processor").unwrap_or(root);
        if let Some(size) = processor.inside("size")
            && size.get("longest_edge").is_some()
        {
            return size.count("longest_edge").map(Some);
        }
    }
    Ok(None)
}

/// Mean and standard deviation of pixels from the processor's settings.
pub(super) fn normalization(folder: &Path) -> Result<(Vec<f32>, Vec<f32>), Error> {
    const FILES: [&str; 2] = PROCESSOR_FILES;
    for file in FILES {
        let Some(value) = read_json::<Value>(folder, file)? else {
            continue;
        };
        let root = Settings {
            file,
            value: &value,
        };
        let processor = root.inside("image_processor").unwrap_or(root);
        let three = |key: &str| match processor.f32s(key)? {
            Some(values) if values.len() == 3 => Ok(values),
            found => Err(processor.error(key, format!("{found:?}"), "three numbers")),
        };
        if processor.get("image_mean").is_some() {
            return Ok((three("image_mean")?, three("image_std")?));
        }
    }
    Err(Error::MissingFile {
        folder: folder.to_path_buf(),
        what: format!("image_mean in {} or {}", FILES[0], FILES[1]),
    })
}
