//! What comes back from a request.

use std::time::Duration;

use ocelli_engine::{Drafts, FinishReason};
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
    /// Prompt tokens that were taken from the cache.
    pub cached_tokens: usize,
    /// Tokens of the answer that were guessed.
    pub drafts: Drafts,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Opening the model, which is done once for all requests.
    pub load: Duration,
    /// Decoding picture files; for videos also everything that is done to their frames.
    pub image_decode: Duration,
    /// Resizing pictures and cutting them into patches.
    pub preprocess: Duration,
    /// Running the vision encoder.
    pub encode: Duration,
    /// Running the prompt's tokens, up to the first token of the answer.
    pub prefill: Duration,
    /// Generating the tokens after the first.
    pub decode: Duration,
}

/// What a model would see of a request ([`Model::look`](crate::Model::look)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Preview {
    /// Tokens of the prompt, pictures and videos included.
    pub prompt_tokens: usize,
    /// What the model would see of each picture, in order.
    pub images: Vec<ImageRecord>,
    /// What the model would see of each video, in order.
    pub videos: Vec<VideoRecord>,
}

/// An answer, with how it came about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The text of the answer.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// How many tokens it took.
    pub usage: Usage,
    /// What the model saw of each picture, in order.
    pub images: Vec<ImageRecord>,
    /// What the model saw of each video, in order.
    pub videos: Vec<VideoRecord>,
    /// Boxes and points that the answer gives, in pixels of the last picture as it is displayed, or
    /// of the frames of the last video if there is no picture. Empty if there is neither, or if the
    /// answer gives no places.
    pub boxes: Vec<Located>,
    /// Where the time went.
    pub timings: Timings,
}
