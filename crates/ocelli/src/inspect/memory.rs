//! The memory a model needs, from its own forward pass on a backend that computes nothing.

use ocelli_engine::{text_memory, vision_memory};
use ocelli_gguf::Gguf;
use ocelli_image::Budget;
use ocelli_models::registry::{check_fit, join, load_text, load_vision};
use ocelli_models::{TextModel, VisionModel};
use ocelli_tensor::Measure;
use serde::Serialize;

use super::Cache;
use crate::load::{CacheSize, DEFAULT_CONTEXT, cache_bytes, picture_budget, read_text};
use crate::memory::available;
use crate::{Error, Options};

/// Bytes that a model needs.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryReport {
    /// Tokens of context that the figures are for.
    pub context: usize,
    /// Tokens of the largest picture; `None` without a projector.
    pub image_tokens: Option<u64>,
    /// Weights of both files.
    pub weights: u64,
    /// Keys and values of the whole context.
    pub cache: u64,
    /// Temporaries of a text step.
    pub text_step: u64,
    /// Temporaries of encoding the largest picture.
    pub image_encoding: u64,
    /// All of it.
    pub total: u64,
    /// What this process can still take on this machine.
    pub available: u64,
}

/// Checks that the files make a model that this engine can run, and adds up what it needs.
pub(super) fn report(
    text: &Gguf,
    vision: Option<&Gguf>,
    cache: Cache,
) -> Result<MemoryReport, Error> {
    let decoder = load_text(text, &Measure, &|_| {})?;
    let mut row = None;
    let encoder = match vision {
        None => None,
        Some(file) => {
            row = Some(join(text, file)?);
            let encoder = load_vision(file, &Measure, &|_| {})?;
            check_fit((text, decoder.as_ref()), (file, encoder.as_ref()))?;
            Some(encoder)
        }
    };
    // A model without words answers nothing.
    read_text(text, decoder.as_ref(), row)?;
    Ok(add_up(decoder.as_ref(), encoder.as_deref(), cache))
}

fn add_up(text: &dyn TextModel, vision: Option<&dyn VisionModel>, cache: Cache) -> MemoryReport {
    const FLOAT: u64 = size_of::<f32>() as u64;
    let own = || text.context_length().min(DEFAULT_CONTEXT);
    let context = cache.context.unwrap_or_else(own);
    let cache = cache_bytes(text, cache.kv, CacheSize::of_one(context));
    let deepstack = vision.map_or(0, |vision| vision.deepstack());
    let text_step = text_memory(text, deepstack, 1) as u64 * FLOAT;
    let largest = vision.and_then(|vision| {
        let budget = picture_budget(vision, &Options::default()).ok()?;
        Some((vision, budget))
    });
    let image_encoding =
        largest.map_or(0, |(vision, budget)| image_memory(vision, &budget) * FLOAT);
    let weights =
        text.weight_bytes() as u64 + vision.map_or(0, |vision| vision.weight_bytes() as u64);
    MemoryReport {
        context,
        image_tokens: largest.map(|(_, budget)| budget.max_tokens()),
        weights,
        cache,
        text_step,
        image_encoding,
        total: weights
            .saturating_add(cache)
            .saturating_add(text_step)
            .saturating_add(image_encoding),
        available: available(),
    }
}

/// Temporaries for the largest picture that a budget allows.
fn image_memory(vision: &dyn VisionModel, budget: &Budget) -> u64 {
    vision_memory(vision, vision.largest_grid(budget), vision.patch_elements()) as u64
}
