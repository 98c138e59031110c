//! How large pictures, videos and conversations may be, and whether memory holds them.

use ocelli_cpu::Precision;
use ocelli_engine::{STEP_ROWS, Settings};
use ocelli_image::{Budget, VideoBudget};
use ocelli_models::{Join, TextModel, VisionModel};
use ocelli_tensor::KvElement;

use crate::memory::{available, mib};
use crate::{Error, Options};

/// Most tokens of context unless asked otherwise.
pub(crate) const DEFAULT_CONTEXT: usize = 32_768;
/// A context below this is of use only to whoever asks for it: a picture and a question hardly fit.
const LEAST_CONTEXT: usize = 1024;
/// Most tokens of a picture unless asked otherwise.
const DEFAULT_IMAGE_TOKENS: u64 = 4096;
/// Most tokens of a video unless asked otherwise: what Qwen3-VL's own settings come to.
const DEFAULT_VIDEO_TOKENS: u64 = 12_288;
/// What helps where weights do not fit.
pub(crate) const WEIGHTS_HINT: &str = "Use a smaller quantisation, or raise the limit where one is set (ulimit -v, the container's, --memory)";
/// Kept features of pictures.
const FEATURE_BYTES: usize = 512 << 20;

pub(crate) fn picture_budget(vision: &dyn VisionModel, options: &Options) -> Result<Budget, Error> {
    let own = vision.budget();
    if vision.has_one_size() {
        return fixed_budget(own, options);
    }
    let area = u64::from(own.factor) * u64::from(own.factor);
    let default = own.max_pixels.min(DEFAULT_IMAGE_TOKENS * area);
    let most = options
        .image_max_tokens
        .map_or(default, |tokens| u64::from(tokens) * area);
    let least = match options.image_min_tokens {
        Some(tokens) => u64::from(tokens) * area,
        None => own.min_pixels.min(most),
    };
    // Asking for larger pictures than the default allows them.
    let most = match options.image_max_tokens {
        Some(_) => most,
        None => most.max(least),
    };
    let wrong = |error: ocelli_image::Error| Error::Settings(error.to_string());
    let budget = Budget::new(own.factor, least, most).map_err(wrong)?;
    // What leaves no room for any picture is better said now than of each.
    vision
        .grid(own.factor, own.factor, &budget)
        .map_err(|error| match error {
            ocelli_models::Error::Image(source) => wrong(source),
            other => other.into(),
        })?;
    Ok(budget)
}

/// Of encoders that see every picture at one size.
fn fixed_budget(own: Budget, options: &Options) -> Result<Budget, Error> {
    let tokens = own.max_tokens();
    let asked = [options.image_min_tokens, options.image_max_tokens];
    match asked
        .into_iter()
        .flatten()
        .find(|t| u64::from(*t) != tokens)
    {
        None => Ok(own),
        Some(asked) => Err(Error::Settings(format!(
            "{asked} tokens for a picture, but every picture of this model has {tokens}"
        ))),
    }
}

/// The sizes of videos, if the family sees them.
pub(crate) fn video_budget(
    vision: &dyn VisionModel,
    join: &Join,
    pictures: &Budget,
    options: &Options,
    context: usize,
) -> Option<VideoBudget> {
    let own = DEFAULT_VIDEO_TOKENS.min(context as u64 * 3 / 4).max(1);
    Some(VideoBudget {
        factor: pictures.factor,
        moments: vision.shape().moments,
        rule: join.video?.size,
        min_tokens: options.video_min_tokens.map(u64::from),
        max_tokens: options.video_max_tokens.map_or(own, u64::from),
        keeps_to_max: options.video_max_tokens.is_some(),
        // A frame is a picture to the encoder: memory for one of this size is there.
        frame_tokens: pictures.max_tokens().max(1),
    })
}

/// Frames are encoded one temporal patch after the other, so that a video needs no more memory than its
/// largest one.
pub(super) fn reserve_for_videos(settings: &mut Settings, video: Option<&VideoBudget>) {
    if let (Some(grid), Some(video)) = (&mut settings.largest_picture, video) {
        let columns = u64::from(grid.merge) * video.most_frame_tokens();
        grid.w = grid.w.max(u32::try_from(columns).unwrap_or(u32::MAX));
    }
}

pub(super) fn engine_settings(
    text: &dyn TextModel,
    vision: Option<&dyn VisionModel>,
    budget: Option<Budget>,
    options: &Options,
) -> Result<Settings, Error> {
    let context = context_tokens(text, options)?;
    let largest_picture = vision
        .zip(budget)
        .map(|(vision, budget)| vision.largest_grid(&budget));
    let sequences = sequences(options)?;
    let bytes = |tokens| {
        let size = CacheSize {
            context,
            sequences,
            tokens,
        };
        cache_bytes(text, kv_element(options), size)
    };
    let cache_tokens = match options.cache_tokens {
        None => most_that_fit(context.saturating_mul(sequences), bytes).max(context),
        Some(stated) => {
            let tokens = stated.max(context);
            let what = format!("keys and values of {tokens} tokens for all requests together");
            check_memory(&what, bytes(tokens), available(), "Lower --cache-tokens")?;
            tokens
        }
    };
    Ok(Settings {
        context,
        sequences,
        cache_tokens,
        kv_element: kv_element(options),
        feature_bytes: FEATURE_BYTES,
        largest_picture,
    })
}

/// Requests that run at the same time: each has a row of every step.
fn sequences(options: &Options) -> Result<usize, Error> {
    match options.sequences.unwrap_or(1) {
        found @ 1..=STEP_ROWS => Ok(found),
        found => Err(Error::Settings(format!(
            "{found} requests at the same time, need 1..={STEP_ROWS}"
        ))),
    }
}

pub(crate) fn kv_element(options: &Options) -> KvElement {
    kept_in(options.kv, options.precision)
}

/// What keys and values are kept in where so much is said about it.
pub(crate) fn kept_in(wanted: Option<KvElement>, precision: Precision) -> KvElement {
    let own = match precision {
        Precision::F32 => KvElement::F32,
        Precision::Auto | Precision::Bf16 | Precision::Int8 => KvElement::F16,
    };
    wanted.unwrap_or(own)
}

/// How much a cache of keys and values holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheSize {
    /// Most tokens of one sequence.
    context: usize,
    sequences: usize,
    /// Tokens of all sequences together.
    tokens: usize,
}

impl CacheSize {
    /// One sequence of so many tokens.
    pub(crate) fn of_one(context: usize) -> Self {
        Self {
            context,
            sequences: 1,
            tokens: context,
        }
    }
}

/// Bytes of keys and values.
pub(crate) fn cache_bytes(text: &dyn TextModel, element: KvElement, size: CacheSize) -> u64 {
    let settings = Settings {
        context: size.context,
        sequences: size.sequences,
        cache_tokens: size.tokens,
        kv_element: element,
        feature_bytes: 0,
        largest_picture: None,
    };
    settings.kv_layout(text.caches()).bytes()
}

/// The most tokens up to `wanted` for which `bytes` are at most half of what is free.
fn most_that_fit(wanted: usize, bytes: impl Fn(usize) -> u64) -> usize {
    let half = available() / 2;
    let (mut fits, mut too_many) = (0, wanted.saturating_add(1));
    while too_many - fits > 1 {
        let middle = fits + (too_many - fits) / 2;
        match bytes(middle) <= half {
            true => fits = middle,
            false => too_many = middle,
        }
    }
    fits
}

/// Tokens that prompt and answer may have together.
pub(crate) fn context_tokens(text: &dyn TextModel, options: &Options) -> Result<usize, Error> {
    let bytes = |tokens| cache_bytes(text, kv_element(options), CacheSize::of_one(tokens));
    match options.context {
        Some(0) => Err(Error::Settings("context is 0, need at least 1".to_owned())),
        Some(context) => {
            let what = format!("keys and values of {context} tokens");
            check_memory(
                &what,
                bytes(context),
                available(),
                "Lower the context with -c",
            )?;
            Ok(context)
        }
        None => {
            let wanted = text.context_length().min(DEFAULT_CONTEXT);
            let least = LEAST_CONTEXT.min(wanted);
            let fits = most_that_fit(wanted, bytes);
            if fits < least {
                let what = format!("keys and values of {least} tokens");
                let hint = "Use a smaller quantisation, or ask for less context with -c";
                check_memory(&what, bytes(least), available() / 2, hint)?;
            }
            Ok(fits.max(least))
        }
    }
}

pub(crate) fn check_memory(
    what: &str,
    needed: u64,
    free: u64,
    hint: &'static str,
) -> Result<(), Error> {
    if needed <= free {
        return Ok(());
    }
    Err(Error::Memory {
        what: what.to_owned(),
        needed_mib: mib(needed),
        available_mib: free >> 20,
        hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_requests_run_than_a_step_has_rows() {
        let of = |count| {
            let options = Options {
                sequences: count,
                ..Options::default()
            };
            sequences(&options)
        };
        assert_eq!((of(None).unwrap(), of(Some(7)).unwrap()), (1, 7));
        for wrong in [0, STEP_ROWS + 1] {
            let error = of(Some(wrong)).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong} requests")), "{error}");
        }
    }
}
