//! The settings of Gemma 3, whose published files leave out what the modelling code has as defaults.

use std::path::Path;

use super::config::normalization;
use super::settings::Settings;
use super::{Family, RopeScaling, TextConfig, VisionConfig};
use crate::Error;

/// Layers from one that sees all tokens to the next.
const PERIOD: u32 = 6;

/// What Gemma 3 has beyond other text models.
#[derive(Debug, Clone)]
pub(crate) struct Sliding {
    /// Tokens that most layers look back over.
    pub(crate) window: u32,
    /// Base of rotary frequencies of those layers.
    pub(crate) rope_base: f32,
    /// Rows of the embedding that the checkpoint has; rows behind the vocabulary are left out.
    pub(crate) rows: usize,
    /// The factor on scores, where it is not what readers take from the sizes.
    pub(crate) scale: Option<f32>,
    /// True for each layer with a window, where not every sixth is without.
    pub(crate) pattern: Option<Vec<bool>>,
}

/// Numbers with the defaults of the modelling code.
struct Defaults<'a>(Settings<'a>);

impl Defaults<'_> {
    fn count(&self, key: &str, default: usize) -> Result<usize, Error> {
        match self.0.u32(key)? {
            Some(_) => self.0.count(key),
            None => Ok(default),
        }
    }

    fn number(&self, key: &str, default: f32) -> Result<f32, Error> {
        Ok(self.0.f32(key)?.unwrap_or(default))
    }
}

/// Reads the text model's part of config.json.
pub(super) fn read_text(root: Settings<'_>, family: Family) -> Result<TextConfig, Error> {
    let text = root.inside("text_config").unwrap_or(root);
    let with = Defaults(text);
    let (layers, width) = (text.count("num_hidden_layers")?, text.count("hidden_size")?);
    let (heads, kv_heads) = (
        with.count("num_attention_heads", 8)?,
        with.count("num_key_value_heads", 4)?,
    );
    let head_dim = with.count("head_dim", 256)?;
    if heads % kv_heads != 0 {
        let need = format!("a divisor of {heads}");
        return Err(text.error("num_key_value_heads", kv_heads, need));
    }
    check_functions(text)?;
    let tied = match root.bool("tie_word_embeddings")? {
        Some(tied) => Some(tied),
        None => text.bool("tie_word_embeddings")?,
    };
    let rows = with.count("vocab_size", 262_208)?;
    // Pictures' rows hold an id that no file keeps.
    let vocabulary = match family {
        Family::Gemma3 => rows.min(Defaults(root).count("image_token_index", 262_144)?),
        _ => rows,
    };
    let (base, near_base, scaling) = rope(text)?;
    let id = |key: &str| -> Option<u32> {
        let read = |s: Settings<'_>| {
            let value = s.get(key)?;
            // A list of end tokens begins with the main one.
            let first = value.as_array().and_then(|list| list.first());
            first.unwrap_or(value).as_u64()?.try_into().ok()
        };
        read(root).or_else(|| read(text))
    };
    Ok(TextConfig {
        family,
        layers,
        width,
        mlp_hidden: text.count("intermediate_size")?,
        heads,
        kv_heads,
        head_dim,
        states_head_dim: true,
        vocabulary,
        context: with.count("max_position_embeddings", 131_072)? as u32,
        norm_eps: with.number("rms_norm_eps", 1e-6)?,
        rope_base: base,
        rope_sections: None,
        rope_scaling: scaling,
        experts: None,
        is_tied: Some(tied.unwrap_or(true)),
        token_ids: ["bos_token_id", "eos_token_id", "pad_token_id"].map(id),
        sliding: Some(Sliding {
            window: with.count("sliding_window", 4096)? as u32,
            rope_base: near_base,
            rows,
            scale: scale(text, layers, width / heads, head_dim)?,
            pattern: pattern(text, layers)?,
        }),
        window: None,
    })
}

/// Bases of layers that see all tokens and of those with a window, and the scaling of the former:
/// in the form of current files, by kind of layer, or in that of older ones.
fn rope(text: Settings<'_>) -> Result<(f32, f32, RopeScaling), Error> {
    let parameters = text.inside("rope_parameters");
    let wide = parameters.and_then(|p| p.inside("full_attention"));
    let near = parameters.and_then(|p| p.inside("sliding_attention"));
    let base = match wide {
        Some(wide) => wide.f32("rope_theta")?,
        None => text.f32("rope_theta")?,
    };
    let near_base = match near {
        Some(near) => near.f32("rope_theta")?,
        None => text.f32("rope_local_base_freq")?,
    };
    let scaling = match wide.or(text.inside("rope_scaling")) {
        None => RopeScaling::None,
        Some(rope) => {
            let kind = match rope.str("rope_type")? {
                Some(kind) => kind,
                None => rope.str("type")?.unwrap_or("default"),
            };
            match kind {
                "default" => RopeScaling::None,
                "linear" => RopeScaling::Linear {
                    factor: rope.needed_f32("factor")?,
                },
                other => return Err(rope.error("rope_type", other, "default or linear")),
            }
        }
    };
    Ok((base.unwrap_or(1e6), near_base.unwrap_or(1e4), scaling))
}

/// What no file can say must be as in all released models.
fn check_functions(text: Settings<'_>) -> Result<(), Error> {
    let usual = "gelu_pytorch_tanh";
    if let Some(function) = text.str("hidden_activation")?
        && function != usual
    {
        return Err(text.error("hidden_activation", function, usual));
    }
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = text.f32(key)? {
            return Err(text.error(key, cap, "null"));
        }
    }
    let key = "use_bidirectional_attention";
    match text.bool(key)? {
        Some(true) => Err(text.error(key, true, "false: text attends to what came before it")),
        _ => Ok(()),
    }
}

/// The factor on scores, unless it follows from the size of a head, or in the model of 62 layers
/// from the width.
fn scale(
    text: Settings<'_>,
    layers: usize,
    share: usize,
    head_dim: usize,
) -> Result<Option<f32>, Error> {
    let usual = if layers == 62 { share } else { head_dim };
    let found = Defaults(text).count("query_pre_attn_scalar", 256)?;
    Ok((found != usual).then(|| 1.0 / (found as f32).sqrt()))
}

/// Which layers have a window, unless every sixth is without.
fn pattern(text: Settings<'_>, layers: usize) -> Result<Option<Vec<bool>>, Error> {
    let every = |period: u32| -> Vec<bool> {
        let is_near = |layer: u32| !layer.is_multiple_of(period);
        (1..=layers as u32).map(is_near).collect()
    };
    let mut found = None;
    for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
        match text.u32(key)? {
            Some(0) => return Err(text.error(key, 0, "1 or more")),
            Some(period) => found = Some(every(period)),
            None => {}
        }
    }
    if let Some(list) = text.get("layer_types").and_then(|v| v.as_array()) {
        let is_near = |kind: &serde_json::Value| match kind.as_str() {
            Some("sliding_attention") => Some(true),
            Some("full_attention") => Some(false),
            _ => None,
        };
        let kinds: Option<Vec<bool>> = list.iter().map(is_near).collect();
        let kinds = kinds.filter(|kinds| kinds.len() == layers);
        let need = format!("sliding_attention or full_attention for each of {layers} layers");
        found = Some(kinds.ok_or_else(|| text.error("layer_types", "another list", need))?);
    }
    Ok(found.filter(|found| *found != every(PERIOD)))
}

/// Reads the vision encoder's part of config.json.
pub(super) fn read_vision(folder: &Path, root: Settings<'_>) -> Result<VisionConfig, Error> {
    let Some(vision) = root.inside("vision_config") else {
        return Err(root.error("vision_config", "nothing", "the vision encoder's settings"));
    };
    let (image, patch) = (vision.count("image_size")?, vision.count("patch_size")?);
    let side = image / patch;
    let tokens = Defaults(root).count("mm_tokens_per_image", 256)?;
    let pool = side / tokens.isqrt().max(1);
    if !image.is_multiple_of(patch)
        || tokens.isqrt().pow(2) != tokens
        || pool * tokens.isqrt() != side
    {
        return Err(root.error(
            "mm_tokens_per_image",
            tokens,
            format!("a square of cells that divide {side} patches a side"),
        ));
    }
    if let Some(function) = vision.str("hidden_act")?
        && function != "gelu_pytorch_tanh"
    {
        return Err(vision.error("hidden_act", function, "gelu_pytorch_tanh"));
    }
    let (mean, std) = normalization(folder)?;
    Ok(VisionConfig {
        layers: vision.count("num_hidden_layers")?,
        width: vision.count("hidden_size")?,
        heads: vision.count("num_attention_heads")?,
        mlp_hidden: vision.count("intermediate_size")?,
        patch,
        positions: Some(side * side),
        taps: Vec::new(),
        windows: None,
        pixels: None,
        pool: Some(pool as u32),
        norm_eps: Some(Defaults(vision).number("layer_norm_eps", 1e-6)?),
        mean,
        std,
        still: None,
        tiles: Vec::new(),
    })
}
