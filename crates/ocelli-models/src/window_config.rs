//! How far the layers of a text model look back, from metadata.

use ocelli_tensor::{KvLayer, LayerCache};

use crate::Error;
use crate::config::{Keys, TextConfig};

/// The cache of each layer: a window, if the file has one, in all layers but every `period`th,
/// unless the file says in which ones.
///
/// # Errors
/// When the file's list is not one value for each layer.
pub(crate) fn caches(
    keys: &Keys<'_>,
    config: &TextConfig,
    period: Option<usize>,
) -> Result<Vec<KvLayer>, Error> {
    let layers = config.layers;
    let window = keys.u32("attention.sliding_window")?.unwrap_or(0) as usize;
    let pattern = "attention.sliding_window_pattern";
    // Either the period, or true for every layer with a window.
    let list = match keys.metadata().get(&keys.key(pattern)) {
        Some(value) if value.as_integer().is_none() => {
            keys.metadata().bool_array(&keys.key(pattern))?
        }
        _ => None,
    };
    let period = match &list {
        None if keys.u32(pattern)?.is_some() => Some(keys.count(pattern, 1024)?),
        _ => period,
    };
    let is_near = |layer: usize| !period.is_some_and(|period| layer.is_multiple_of(period));
    let list = list.unwrap_or_else(|| (1..=layers).map(is_near).collect());
    if list.len() != layers {
        return Err(keys.invalid(format!(
            "{pattern} has {} values, need {layers}",
            list.len()
        )));
    }
    let cache = |is_near: bool| match is_near && window > 0 {
        true => LayerCache::Window(window),
        false => LayerCache::Full,
    };
    Ok(list
        .into_iter()
        .map(|is_near| KvLayer {
            cache: cache(is_near),
            heads: config.heads.key_value,
            dim: config.heads.dim,
        })
        .collect())
}
