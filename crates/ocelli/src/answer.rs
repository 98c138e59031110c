//! What comes back.

use std::time::Duration;

use ocelli_engine::FinishReason;
use ocelli_image::boxes::Located;
use ocelli_image::{ImageRecord, VideoRecord};

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, pictures included.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
    /// Prompt tokens that were still in the cache.
    pub cached_tokens: usize,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Opening the model, once.
    pub load: Duration,
    /// Decoding of picture files, and of videos with all that is done to their frames.
    pub image_decode: Duration,
    /// Resizing and cutting into patches.
    pub preprocess: Duration,
    /// The vision encoder.
    pub encode: Duration,
    /// Prompt tokens.
    pub prefill: Duration,
    /// Generated tokens after the first.
    pub decode: Duration,
}

/// An answer with everything that is known about how it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens.
    pub usage: Usage,
    /// What the model saw of each picture, in order.
    pub images: Vec<ImageRecord>,
    /// What the model saw of each video, in order.
    pub videos: Vec<VideoRecord>,
    /// Boxes and points that the answer names, in pixels of the last picture as it is displayed, or of the
    /// frames of the last video where there is no picture. Empty when there is neither, or no place in the
    /// answer.
    pub boxes: Vec<Located>,
    /// Where the time went.
    pub timings: Timings,
}
