//! Settings of the text model.

use serde_json::Value;

use super::super::settings::Settings;
use super::super::still;
use super::{Experts, Family, RopeScaling, TextConfig};
use crate::Error;

pub(super) fn read_text(root: Settings<'_>, family: Family) -> Result<TextConfig, Error> {
    // Older files have the text model's settings beside those of the vision encoder.
    let text = root.inside("text_config").unwrap_or(root);
    let count = |key: &str| match (text.u32(key)?, still::usual(family, key)) {
        (None, Some(usual)) => Ok(usual as usize),
        _ => text.count(key),
    };
    check_fixed(text)?;
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

/// Settings that no file can state.
fn check_fixed(text: Settings<'_>) -> Result<(), Error> {
    if let Some(function) = text.str("hidden_act")?
        && !matches!(function, "silu" | "swish")
    {
        return Err(text.error("hidden_act", function, "silu"));
    }
    if text.bool("use_sliding_window")? == Some(true) && text.get("sliding_window").is_some() {
        let slides = match text.get("layer_types").and_then(Value::as_array) {
            Some(kinds) => kinds.iter().any(|kind| *kind == "sliding_attention"),
            None => text.u32("max_window_layers")? < text.u32("num_hidden_layers")?,
        };
        if slides {
            return Err(text.error("use_sliding_window", true, "false, or no layer that slides"));
        }
    }
    Ok(())
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
        (None, Family::Llama | Family::Pixtral) => Ok(10_000.0),
        (None, family) if family.has_clip() => Ok(10_000.0),
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
        // What the modelling code takes for heads of 128.
        None if family.is_qwen3_vl() => Ok(Some(vec![24, 20, 20])),
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
            factor: yarn_factor(rope)?,
            original_context: rope.u32("original_max_position_embeddings")?,
            details: yarn_details(rope)?,
        }),
        "llama3" if family == Family::Llama => Ok(RopeScaling::Llama3 {
            factors: llama3_factors(rope, rope_base(text, Some(rope), family)?, head_dim)?,
        }),
        other => Err(rope.error("rope_type", other, "default, linear, yarn or llama3")),
    }
}

/// The factor, of which the magnitude follows: files state no other.
fn yarn_factor(rope: Settings<'_>) -> Result<f32, Error> {
    let factor = rope.needed_f32("factor")?;
    if rope.bool("truncate")? == Some(false) {
        return Err(rope.error("truncate", false, true));
    }
    let usual = 0.1 * factor.ln() + 1.0;
    match rope.f32("attention_factor")? {
        Some(found) if (found - usual).abs() > 1e-4 => {
            Err(rope.error("attention_factor", found, usual))
        }
        _ => Ok(factor),
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
