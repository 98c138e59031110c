//! Settings of encoders of still pictures: Pixtral (Mistral 3, Pixtral-12B) and CLIP (LLaVA-1.5 and LLaVA-1.6).

use serde_json::Value;

use super::config::{Family, TextConfig, VisionConfig};
use super::settings::Settings;
use crate::Error;

/// What only these families have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Still {
    /// Pixels of a side that the encoder was made for.
    pub(crate) image_size: usize,
    /// Pixels of a picture's longest side, where the processor has another.
    pub(crate) longest: Option<usize>,
    /// Patches on each side of a block that becomes one row.
    pub(crate) merge: usize,
    /// Whether the projector's two products have biases.
    pub(crate) has_projector_biases: bool,
    /// What CLIP would project to by itself; files of LLaVA carry it, though nothing reads it.
    pub(crate) own_projection: Option<u32>,
    /// Whether the encoder's MLPs use GELU in place of the family's usual function.
    pub(crate) is_gelu: bool,
    /// Epsilon of the encoder's norms.
    pub(crate) norm_eps: f32,
    /// Epsilon of the projector's norm, which is the text model's; Mistral 3 only.
    pub(crate) projector_eps: Option<f32>,
    /// Base of the encoder's rotary frequencies where it is not the usual one.
    pub(crate) rope_base: Option<f32>,
}

/// Epsilon of the norms of both encoders in all published models.
const NORM_EPS: f32 = 1e-5;
/// Tiles where files leave them out, in the order of the modelling code.
pub(super) const RELEASED_TILES: [[u32; 2]; 5] =
    [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];
/// Base of rotary frequencies that readers assume.
const ROPE_BASE: f32 = 10_000.0;

/// Sizes that published files leave to the modelling code.
pub(super) fn usual(family: Family, key: &str) -> Option<u32> {
    match (family, key) {
        (Family::Llava | Family::LlavaNext | Family::Pixtral, "hidden_size") => Some(4096),
        (
            Family::Llava | Family::LlavaNext | Family::Pixtral,
            "num_attention_heads" | "num_hidden_layers",
        ) => Some(32),
        (Family::Llava | Family::LlavaNext, "intermediate_size") => Some(11_008),
        (Family::Pixtral, "intermediate_size") => Some(14_336),
        (Family::Pixtral | Family::Mistral3, "num_key_value_heads") => Some(8),
        _ => None,
    }
}

/// A size of the encoder, or what the modelling code has where the file leaves it out.
fn size(vision: Settings<'_>, family: Family, key: &str) -> Result<usize, Error> {
    let [clip, pixtral] = match key {
        "hidden_size" => [768, 1024],
        "intermediate_size" => [3072, 4096],
        "num_hidden_layers" => [12, 24],
        "num_attention_heads" => [12, 16],
        "image_size" => [224, 1024],
        _ => [32, 16],
    };
    match (vision.get(key), family) {
        (Some(_), _) => vision.count(key),
        (None, family) if family.has_clip() => Ok(clip),
        (None, _) => Ok(pixtral),
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

/// Reads `vision_config` and what stands beside it; `normalization` and `longest` are the processor's.
pub(super) fn read(
    root: Settings<'_>,
    vision: Settings<'_>,
    text: &TextConfig,
    (mean, std): (Vec<f32>, Vec<f32>),
    longest: Option<usize>,
) -> Result<VisionConfig, Error> {
    let family = text.family;
    let size = |key| size(vision, family, key);
    let patch = size("patch_size")?;
    let image_size = match family {
        family if family.has_clip() => size("image_size")?,
        // Readers want whole patches.
        _ => size("image_size")?.next_multiple_of(patch),
    };
    // A picture's longest side is the processor's matter; the encoder takes any.
    let longest = longest.filter(|longest| *longest != image_size);
    Ok(VisionConfig {
        layers: layers(root, family, size("num_hidden_layers")?)?,
        width: size("hidden_size")?,
        heads: size("num_attention_heads")?,
        mlp_hidden: size("intermediate_size")?,
        patch,
        positions: None,
        taps: Vec::new(),
        windows: None,
        pixels: None,
        pool: None,
        norm_eps: None,
        mean,
        std,
        still: Some(Still {
            image_size,
            longest,
            merge: merge(root, family)?,
            has_projector_biases: root
                .bool("multimodal_projector_bias")?
                .unwrap_or(family != Family::Mistral3),
            own_projection: match family.has_clip() {
                true => vision.u32("projection_dim")?,
                false => None,
            },
            is_gelu: is_gelu(root, vision, family)?,
            norm_eps: match family.has_clip() {
                true => vision.f32("layer_norm_eps")?.unwrap_or(NORM_EPS),
                false => NORM_EPS,
            },
            projector_eps: (family == Family::Mistral3 && text.norm_eps != NORM_EPS)
                .then_some(text.norm_eps),
            rope_base: rope_base(vision, family)?,
        }),
        tiles: match family {
            Family::LlavaNext => tiles(root, image_size as u32)?,
            _ => Vec::new(),
        },
    })
}

/// Heights and widths of tiles; what the modelling code has where the file leaves them out.
fn tiles(root: Settings<'_>, tile: u32) -> Result<Vec<[u32; 2]>, Error> {
    let key = "image_grid_pinpoints";
    let listed = match root.get(key) {
        None => RELEASED_TILES.to_vec(),
        Some(value) => pairs(value).ok_or_else(|| root.error(key, value, "pairs of numbers"))?,
    };
    let is_whole = |side: &u32| *side > 0 && side.is_multiple_of(tile);
    match listed.iter().find(|pair| !pair.iter().all(is_whole)) {
        None => Ok(listed),
        Some(pair) => {
            let need = format!("multiples of image_size {tile}");
            Err(root.error(key, format!("{pair:?}"), need))
        }
    }
}

/// A list of pairs of numbers; `None` for anything else.
pub(super) fn pairs(value: &Value) -> Option<Vec<[u32; 2]>> {
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let pair = |value: &Value| match &value.as_array()?[..] {
        [height, width] => Some([number(height)?, number(width)?]),
        _ => None,
    };
    let listed = value.as_array()?.iter().map(pair);
    listed.collect::<Option<Vec<_>>>().filter(|l| !l.is_empty())
}

/// Refuses a LLaVA-1.6 whose encoder is not CLIP's.
pub(super) fn check_next(root: Settings<'_>) -> Result<Family, Error> {
    match root.inside("vision_config") {
        Some(vision) => match vision.str("model_type")?.unwrap_or("clip_vision_model") {
            "clip_vision_model" => Ok(Family::LlavaNext),
            other => Err(vision.error("model_type", other, "clip_vision_model")),
        },
        None => Ok(Family::LlavaNext),
    }
}

/// The layers up to the one whose rows are taken; what stands behind it is not kept.
fn layers(root: Settings<'_>, family: Family, all: usize) -> Result<usize, Error> {
    let usual = if family.has_clip() { -2 } else { -1 };
    let layer = match root.get("vision_feature_layer") {
        None => usual,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| root.error("vision_feature_layer", value, "one layer"))?,
    };
    let all = all as i64;
    // Counted from the end where below 0; 0 is what enters the first layer.
    let layers = if layer < 0 { all + 1 + layer } else { layer };
    match (1..=all).contains(&layers) {
        true => Ok(layers as usize),
        false => Err(root.error("vision_feature_layer", layer, format!("-{all} to -1"))),
    }
}

fn merge(root: Settings<'_>, family: Family) -> Result<usize, Error> {
    let merge = match family {
        Family::Mistral3 => root.u32("spatial_merge_size")?.unwrap_or(2),
        _ => 1,
    };
    match (1..=16).contains(&merge) {
        true => Ok(merge as usize),
        false => Err(root.error("spatial_merge_size", merge, "1 to 16")),
    }
}

/// Whether the encoder's MLPs use GELU; checks what files cannot say.
fn is_gelu(root: Settings<'_>, vision: Settings<'_>, family: Family) -> Result<bool, Error> {
    if let Some(act) = root.str("projector_hidden_act")?
        && act != "gelu"
    {
        return Err(root.error("projector_hidden_act", act, "gelu"));
    }
    let kept = match family.has_clip() {
        true => "default",
        false => "full",
    };
    if let Some(kind) = root.str("vision_feature_select_strategy")?
        && kind != kept
    {
        return Err(root.error("vision_feature_select_strategy", kind, kept));
    }
    let (own, usual) = match family.has_clip() {
        true => ("quick_gelu", "quick_gelu"),
        false => ("silu", "gelu"),
    };
    match vision.str("hidden_act")?.unwrap_or(usual) {
        "gelu" => Ok(true),
        act if act == own => Ok(false),
        act => Err(vision.error("hidden_act", act, format!("{own} or gelu"))),
    }
}

fn rope_base(vision: Settings<'_>, family: Family) -> Result<Option<f32>, Error> {
    if family.has_clip() {
        return Ok(None);
    }
    let stated = match vision.inside("rope_parameters") {
        Some(rope) => rope.f32("rope_theta")?,
        None => None,
    };
    let stated = match stated {
        Some(base) => Some(base),
        None => vision.f32("rope_theta")?,
    };
    Ok(stated.filter(|base| *base != ROPE_BASE))
}
