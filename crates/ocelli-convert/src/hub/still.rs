//! Settings of encoders of still pictures: Pixtral (Mistral 3, Pixtral-12B) and CLIP (LLaVA-1.5).

use super::config::{Family, VisionConfig};
use super::settings::Settings;
use crate::Error;

/// What only these families have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Still {
    /// Pixels of the longest side.
    pub(crate) image_size: usize,
    /// Patches on each side of a block that becomes one row.
    pub(crate) merge: usize,
    /// Whether the projector's two products have biases.
    pub(crate) has_projector_biases: bool,
    /// What CLIP would project to by itself; files of LLaVA-1.5 carry it, though nothing reads it.
    pub(crate) own_projection: Option<u32>,
}

/// Sizes that published files leave to the modelling code.
pub(super) fn usual(family: Family, key: &str) -> Option<u32> {
    match (family, key) {
        (Family::Llava | Family::Pixtral, "hidden_size") => Some(4096),
        (Family::Llava | Family::Pixtral, "num_attention_heads" | "num_hidden_layers") => Some(32),
        (Family::Llava, "intermediate_size") => Some(11_008),
        (Family::Pixtral, "intermediate_size") => Some(14_336),
        _ => None,
    }
}

/// Which of the two kinds of `llava` a checkpoint is.
pub(super) fn kind_of_llava(root: Settings<'_>) -> Result<Family, Error> {
    let Some(vision) = root.inside("vision_config") else {
        return Ok(Family::Llava);
    };
    match vision.str("model_type")?.unwrap_or("clip_vision_model") {
        "clip_vision_model" => Ok(Family::Llava),
        "pixtral" => Ok(Family::Pixtral),
        other => Err(vision.error("model_type", other, "clip_vision_model or pixtral")),
    }
}

/// Reads `vision_config` and what stands beside it.
pub(super) fn read(
    root: Settings<'_>,
    vision: Settings<'_>,
    family: Family,
    (mean, std): (Vec<f32>, Vec<f32>),
) -> Result<VisionConfig, Error> {
    let all = vision.count("num_hidden_layers")?;
    let usual_layer = if family == Family::Llava { -2 } else { -1 };
    let layer = match root.get("vision_feature_layer") {
        None => usual_layer,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| root.error("vision_feature_layer", value, "one layer"))?,
    };
    // Counted from the end; what stands behind the layer whose rows are taken is not kept.
    let layers = (-(all as i64)..0)
        .contains(&layer)
        .then(|| (all as i64 + 1 + layer) as usize);
    let layers =
        layers.ok_or_else(|| root.error("vision_feature_layer", layer, format!("-{all} to -1")))?;
    let merge = match family {
        Family::Mistral3 => root.u32("spatial_merge_size")?.unwrap_or(2),
        _ => 1,
    };
    if !(1..=16).contains(&merge) {
        return Err(root.error("spatial_merge_size", merge, "1 to 16"));
    }
    let usual_act = if family == Family::Llava {
        "quick_gelu"
    } else {
        "silu"
    };
    match vision.str("hidden_act")? {
        None => {}
        Some(act) if act == usual_act => {}
        Some(other) => return Err(vision.error("hidden_act", other, usual_act)),
    }
    Ok(VisionConfig {
        layers,
        width: vision.count("hidden_size")?,
        heads: vision.count("num_attention_heads")?,
        mlp_hidden: vision.count("intermediate_size")?,
        patch: vision.count("patch_size")?,
        positions: None,
        taps: Vec::new(),
        window_pattern: None,
        pool: None,
        mean,
        std,
        still: Some(Still {
            image_size: vision.count("image_size")?,
            merge: merge as usize,
            has_projector_biases: root
                .bool("multimodal_projector_bias")?
                .unwrap_or(family != Family::Mistral3),
            own_projection: match family {
                Family::Llava => vision.u32("projection_dim")?,
                _ => None,
            },
        }),
    })
}
