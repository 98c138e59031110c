//! What metadata says about rotary positions: theta, axes, and how frequencies are stretched.

use crate::config::{Keys, TextConfig};
use crate::error::shown;
use crate::parts::{AxisOfFrequency, Rotary, Scaling, Temperature};
use crate::{Error, Scope};

impl Rotary {
    /// Reads the `rope.*` keys and, if the file has them, the factors of `rope_freqs.weight`. The
    /// base is only guessed where all models that leave it out have the `usual` one.
    pub(crate) fn load(
        keys: &Keys<'_>,
        root: &Scope<'_>,
        config: &TextConfig,
        (axes, usual): (AxisOfFrequency, Option<f32>),
    ) -> Result<Self, Error> {
        let head = config.heads.dim;
        let dim = keys.u32("rope.dimension_count")?.unwrap_or(head as u32) as usize;
        if dim == 0 || !dim.is_multiple_of(2) || dim > head {
            return Err(keys.invalid(format!(
                "rope.dimension_count is {dim}, need an even number up to {head} (a head)"
            )));
        }
        let theta = keys.positive("rope.freq_base", usual)?;
        let mut rotary = Self::new(dim, theta, axes).scaled(scaling(keys, config)?);
        if root.has("rope_freqs.weight") {
            let factors = root.values("rope_freqs.weight", &[dim / 2])?;
            for (i, factor) in factors.iter().enumerate() {
                keys.sensible(&format!("rope_freqs.weight[{i}]"), *factor)?;
            }
            rotary = rotary.slowed(&factors);
        }
        Ok(rotary)
    }
}

/// Keys that only YaRN has: current files', then Ollama's.
const YARN_ONLY: [&str; 6] = [
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.beta_fast",
    "rope.scaling.beta_slow",
    "rope.scaling.mscale_all_dim",
];

fn has(keys: &Keys<'_>, name: &str) -> bool {
    keys.metadata().get(&keys.key(name)).is_some()
}

/// How the `rope.scaling.*` keys stretch frequencies.
pub(crate) fn scaling(keys: &Keys<'_>, config: &TextConfig) -> Result<Scaling, Error> {
    let kind = keys.metadata().str(&keys.key("rope.scaling.type"))?;
    // Older files have the factor alone.
    let number = |name: &str| keys.metadata().f32(&keys.key(name));
    let factor = match number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => number("rope.scale_linear")?,
    };
    // Writers put 0 or 1 where nothing is scaled.
    let factor = factor.filter(|f| *f != 0.0).unwrap_or(1.0);
    let factor = keys.sensible("rope.scaling.factor", factor)?;
    if kind.is_none()
        && let Some(name) = YARN_ONLY.iter().find(|name| has(keys, name))
    {
        return Err(keys.invalid(format!(
            "rope.scaling.type is missing beside {name}, need 'yarn'"
        )));
    }
    match kind.unwrap_or("linear") {
        "none" => Ok(Scaling::None),
        _ if factor == 1.0 => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear(factor)),
        "yarn" => Ok(Scaling::Yarn {
            factor,
            original_context: original_context(keys, config)? as f32,
            beta_fast: yarn_number(keys, ["yarn_beta_fast", "beta_fast"], 32.0)?,
            beta_slow: yarn_number(keys, ["yarn_beta_slow", "beta_slow"], 1.0)?,
            attention: yarn_number(keys, ["yarn_attn_factor", "attn_factor"], 1.0)?
                * magnitude_share(keys, factor)?,
        }),
        other => Err(keys.invalid(format!(
            "rope.scaling.type is '{}', need none, linear or yarn",
            shown(other)
        ))),
    }
}

/// A number under the first of two names that the file has: current files', then Ollama's.
fn yarn_number(keys: &Keys<'_>, names: [&str; 2], default: f32) -> Result<f32, Error> {
    for name in names.map(|name| format!("rope.scaling.{name}")) {
        if has(keys, &name) {
            return keys.positive(&name, None);
        }
    }
    Ok(default)
}

/// What is left of YaRN's usual magnitude `m(1)`, with `m(a) = 0.1 a ln(factor) + 1`: files that state a
/// magnitude for all dimensions want `m(mscale) / m(mscale_all_dim)` in its place. Source: HF
/// `_compute_yarn_parameters`.
fn magnitude_share(keys: &Keys<'_>, factor: f32) -> Result<f32, Error> {
    let read = |name: &str| -> Result<Option<f32>, Error> {
        let name = format!("rope.scaling.{name}");
        match keys.metadata().f32(&keys.key(&name))? {
            None | Some(0.0) => Ok(None),
            Some(_) => keys.positive(&name, None).map(Some),
        }
    };
    let all = match read("yarn_log_multiplier")? {
        Some(all) => Some(all),
        None => read("mscale_all_dim")?,
    };
    let Some(all) = all else { return Ok(1.0) };
    let magnitude = |share: f32| 0.1 * share * factor.ln() + 1.0;
    Ok(magnitude(read("mscale")?.unwrap_or(1.0)) / magnitude(all) / magnitude(1.0))
}

/// How queries grow with their position, if the file says so.
pub(crate) fn temperature(
    keys: &Keys<'_>,
    config: &TextConfig,
) -> Result<Option<Temperature>, Error> {
    for name in ["attention.temperature_scale", "rope.scaling_beta"] {
        let Some(beta) = keys.metadata().f32(&keys.key(name))? else {
            continue;
        };
        if beta == 0.0 {
            return Ok(None);
        }
        let beta = keys.positive(name, None)?;
        let turned = keys.u32("rope.dimension_count")?;
        if turned.is_some_and(|turned| turned as usize != config.heads.dim) {
            return Err(keys.invalid(format!(
                "{name} needs rope.dimension_count {} (a whole head), found {turned:?}",
                config.heads.dim
            )));
        }
        let period = original_context(keys, config)? as u32;
        return Ok(Some(Temperature { beta, period }));
    }
    Ok(None)
}

fn original_context(keys: &Keys<'_>, config: &TextConfig) -> Result<usize, Error> {
    let key = "rope.scaling.original_context_length";
    match keys.u32(key)? {
        Some(_) => keys.count(key, u32::MAX),
        None => Ok(config.context_length),
    }
}

/// How rotary frequencies are shared among axes: three entries, or four with a zero at the end.
pub(crate) fn rope_sections(
    keys: &Keys<'_>,
    half_dim: usize,
    default: Option<[usize; 3]>,
) -> Result<[usize; 3], Error> {
    let mut found = keys
        .metadata()
        .i32_array(&keys.key("rope.dimension_sections"))?;
    if found.is_none() {
        found = keys.metadata().i32_array(&keys.key("rope.mrope_section"))?;
    }
    let sections = match (found.as_deref(), default) {
        (Some([t, h, w]) | Some([t, h, w, 0]), _) if [t, h, w].iter().all(|n| **n >= 0) => {
            [*t as usize, *h as usize, *w as usize]
        }
        (Some(other), _) => {
            return Err(keys.invalid(format!(
                "rope.dimension_sections is {other:?}, need time, height, width and at most a 0"
            )));
        }
        (None, Some(default)) => default,
        (None, None) => {
            return Err(keys.invalid(
                "rope.dimension_sections is missing; without it image positions are unknown",
            ));
        }
    };
    if sections.iter().sum::<usize>() != half_dim {
        return Err(keys.invalid(format!(
            "rope.dimension_sections {sections:?} add up to {}, need {half_dim} (half of a head)",
            sections.iter().sum::<usize>()
        )));
    }
    Ok(sections)
}
