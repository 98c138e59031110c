//! Videos: which of their frames are looked at, and at which size.
//!
//! The families have two rules. Sources: HF `video_processing_qwen2_vl.py` with `cap_pixels_per_frame`
//! (which is what `qwen-vl-utils` does), HF `video_processing_qwen3_vl.py`.

use crate::size::{check_sides, smart_resize};
use crate::{Budget, Error, Grid};

/// Fewest frames that are chosen from a video that has as many.
const LEAST_FRAMES: u64 = 4;

/// Most tokens of one frame, or pair of frames, of Qwen2-VL and Qwen2.5-VL.
const MOST_FRAME_TOKENS: u64 = 768;

/// Least tokens of one frame, or pair of frames, of Qwen2-VL and Qwen2.5-VL.
const LEAST_FRAME_TOKENS: u64 = 128;

/// Least tokens of a whole video of Qwen3-VL: 4096 pixels of all frames, as the published settings
/// of its processor say (`shortest_edge`). Two frames that each would be one token are enlarged to
/// four.
const LEAST_VOLUME_TOKENS: u64 = 2;

/// How a family chooses frames and their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoRule {
    /// Every frame is sized for itself under an even share of the video's tokens: Qwen2-VL, Qwen2.5-VL.
    Frames,
    /// The pixels of all frames together are sized: Qwen3-VL.
    Volume,
}

impl VideoRule {
    /// Indices of the frames that are looked at when a video of `total` frames, `fps` of them a second, is
    /// seen at `wanted` frames a second; at most `most` of them. Never more than there are, and 4 at
    /// least where there are as many.
    pub fn sample(self, total: u64, fps: f64, wanted: f64, most: u64) -> Vec<u64> {
        let span = total as f64 / fps * wanted;
        match self {
            Self::Frames => {
                // Whole pairs, as many as fit. A video of fewer than two frames has none.
                let most = most.min(total) / 2 * 2;
                let count = span.max(LEAST_FRAMES as f64).min(most as f64);
                every(total, (count / 2.0).floor() as u64 * 2)
            }
            Self::Volume => {
                let count = (span as u64).max(LEAST_FRAMES).min(most).min(total);
                spread(total, count)
            }
        }
    }
}

/// `count` indices below `total`, from the first in equal steps, cut to whole ones. In single precision, as
/// the reference keeps them: it computes eight at a time, on the rounded first of the eight.
fn every(total: u64, count: u64) -> Vec<u64> {
    if count == 0 {
        return Vec::new();
    }
    let step = total as f64 / count as f64;
    let index = |i: u64| {
        let first = f64::from(((i / 8 * 8) as f64 * step) as f32);
        ((first + (i % 8) as f64 * step) as f32) as u64
    };
    (0..count)
        .map(|i| index(i).min(total.saturating_sub(1)))
        .collect()
}

/// `count` indices from the first to the last, evenly spread, halves to the even one.
fn spread(total: u64, count: u64) -> Vec<u64> {
    let last = total.saturating_sub(1) as f64;
    let step = last / (count.max(2) - 1) as f64;
    let index = |i: u64| match i + 1 == count && count > 1 {
        true => last as u64,
        false => (i as f64 * step).round_ties_even() as u64,
    };
    (0..count).map(index).collect()
}

/// The sizes that a video may be shown at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VideoBudget {
    /// Both sides are multiples of this: patch size times merge size. One token is `factor` x `factor`
    /// pixels of `moments` frames.
    pub factor: u32,
    /// Frames of a token.
    pub moments: u32,
    /// The family's rule.
    pub rule: VideoRule,
    /// Smaller videos are scaled up to this many tokens; none for the family's own.
    pub min_tokens: Option<u64>,
    /// Larger videos are scaled down to this many tokens, unless their frames would become too small.
    pub max_tokens: u64,
    /// Whether `max_tokens` counts for more than the family's least size of a frame.
    pub keeps_to_max: bool,
    /// Most tokens of one frame, or pair of frames: what a still picture may have.
    pub frame_tokens: u64,
}

impl VideoBudget {
    /// The grid of a video of this many frames.
    ///
    /// # Errors
    /// [`Error::NoPixels`] and [`Error::Aspect`] as for pictures, [`Error::Frames`] if there are fewer than
    /// two frames.
    pub fn grid(
        &self,
        frames: u64,
        (width, height): (u32, u32),
        patch: u32,
    ) -> Result<Grid, Error> {
        if frames < 2 {
            return Err(Error::Frames { found: frames });
        }
        let (resized_width, resized_height) = match self.rule {
            VideoRule::Frames => smart_resize(width, height, &self.frame_budget(frames))?,
            VideoRule::Volume => self.volume_size(frames, width, height)?,
        };
        Ok(Grid {
            t: u32::try_from(frames.div_ceil(u64::from(self.moments))).unwrap_or(u32::MAX),
            h: resized_height / patch,
            w: resized_width / patch,
            merge: self.factor / patch,
            tiles: None,
        })
    }

    /// A bound of the tokens of one temporal patch of any video, for reserving memory.
    pub fn most_frame_tokens(&self) -> u64 {
        let bound = Budget {
            min_pixels: match self.rule {
                VideoRule::Frames => self.frame_budget(2).min_pixels,
                VideoRule::Volume => self.least_volume() / 2,
            },
            max_pixels: self.frame_tokens * self.area(),
            factor: self.factor,
        };
        bound.most_tokens()
    }

    fn area(&self) -> u64 {
        u64::from(self.factor) * u64::from(self.factor)
    }

    /// Pixels of all frames of so many tokens.
    fn volume(&self, tokens: u64) -> u64 {
        tokens
            .saturating_mul(self.area())
            .saturating_mul(u64::from(self.moments))
    }

    /// Least pixels of all frames under [`VideoRule::Volume`].
    fn least_volume(&self) -> u64 {
        self.volume(self.min_tokens.unwrap_or(LEAST_VOLUME_TOKENS))
    }

    /// Pixels of a frame under [`VideoRule::Frames`].
    fn frame_budget(&self, frames: u64) -> Budget {
        let (area, cap) = (self.area(), self.frame_tokens * self.area());
        let share = self.volume(self.max_tokens) / frames;
        let pairs = frames.div_ceil(u64::from(self.moments));
        let least = match self.min_tokens {
            Some(tokens) => tokens * area / pairs,
            None if self.keeps_to_max => (LEAST_FRAME_TOKENS * area).min(share),
            None => LEAST_FRAME_TOKENS * area,
        };
        let least = least.min(cap);
        let most = (MOST_FRAME_TOKENS * area).min(share);
        // A little above the least, so that a size can be found between both.
        let most = most.max((least as f64 * 1.05) as u64).min(cap);
        Budget {
            factor: self.factor,
            min_pixels: least,
            max_pixels: most.max(area),
        }
    }

    /// The size (width, height) under [`VideoRule::Volume`].
    fn volume_size(&self, frames: u64, width: u32, height: u32) -> Result<(u32, u32), Error> {
        if width == 0 || height == 0 {
            return Err(Error::NoPixels { width, height });
        }
        let factor = f64::from(self.factor);
        let (mut w, mut h) = (f64::from(width), f64::from(height));
        if h < factor || w < factor {
            let grow = (factor / h).max(factor / w);
            (h, w) = ((h * grow).trunc(), (w * grow).trunc());
        }
        check_sides(w as u32, h as u32)?;
        let count = frames as f64;
        let rounded = |side: f64| (side / factor).round_ties_even() * factor;
        let whole = (count / 2.0).round_ties_even() * 2.0;
        let most = self.volume(self.max_tokens) as f64;
        let least = self.least_volume() as f64;
        // No frame larger than a picture may be.
        let most = most.min((self.frame_tokens * self.area()) as f64 * whole.min(count));
        let least = least.min(most);
        let (high, wide) = (rounded(h), rounded(w));
        let (high, wide) = if whole * high * wide > most {
            let shrink = (count * h * w / most).sqrt();
            let floored = |side: f64| ((side / shrink / factor).floor() * factor).max(factor);
            (floored(h), floored(w))
        } else if whole * high * wide < least {
            let grow = (least / (count * h * w)).sqrt();
            let ceiled = |side: f64| (side * grow / factor).ceil() * factor;
            (ceiled(h), ceiled(w))
        } else {
            (high, wide)
        };
        Ok((wide.max(factor) as u32, high.max(factor) as u32))
    }
}

/// What was done to a video, for reports.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoRecord {
    /// Width of its frames as they are displayed.
    pub width: u32,
    /// Height of its frames as they are displayed.
    pub height: u32,
    /// Frames that the file or list has.
    pub source_frames: u64,
    /// Frames of the file or list in a second, on average.
    pub source_fps: f64,
    /// Frames that were looked at. An odd number is shown as if the last one were there twice.
    pub frames: usize,
    /// Frames that were looked at in a second.
    pub fps: f64,
    /// Second of each temporal patch: the mean of its first and its last frame.
    pub times: Vec<f64>,
    /// Width at which the encoder saw them.
    pub resized_width: u32,
    /// Height at which the encoder saw them.
    pub resized_height: u32,
    /// Its size in patches; `t` temporal patches.
    pub grid: Grid,
    /// Tokens it takes in the prompt, without those of times written as text.
    pub tokens: usize,
}

impl std::fmt::Display for VideoRecord {
    /// As in `8 of 96 frames, 640x480 -> 644x476, 1564 tokens`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} frames, {}x{} -> {}x{}, {} tokens",
            self.frames,
            self.source_frames,
            self.width,
            self.height,
            self.resized_width,
            self.resized_height,
            self.tokens
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(rule: VideoRule) -> VideoBudget {
        VideoBudget {
            factor: 32,
            moments: 2,
            rule,
            min_tokens: None,
            max_tokens: 12_288,
            keeps_to_max: false,
            frame_tokens: 4096,
        }
    }

    #[test]
    fn no_temporal_patch_takes_more_tokens_than_the_budget_says_any_can() {
        let sides = [1, 9, 16, 33, 48, 100, 333, 1000, 1999, 4097, 16_384];
        for rule in [VideoRule::Frames, VideoRule::Volume] {
            for (least, most, frame) in [
                (None, 12_288, 4096),
                (Some(1), 1, 1),
                (Some(64), 64, 4),
                (Some(500), 1000, 4096),
                (None, 24, 24),
            ] {
                let budget = VideoBudget {
                    min_tokens: least,
                    max_tokens: most,
                    frame_tokens: frame,
                    ..budget(rule)
                };
                for frames in [2, 3, 5, 6, 7, 100, 768] {
                    for (w, h) in sides.iter().flat_map(|w| sides.map(|h| (*w, h))) {
                        let Ok(grid) = budget.grid(frames, (w, h), 16) else {
                            continue;
                        };
                        let tokens = grid.tokens() as u64 / u64::from(grid.t);
                        assert!(
                            tokens <= budget.most_frame_tokens(),
                            "{rule:?} {frames} frames of {w}x{h}: {tokens} > {} for {budget:?}",
                            budget.most_frame_tokens()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_budget_that_was_asked_for_is_kept_and_the_familys_own_gives_way_to_small_frames() {
        let own = budget(VideoRule::Frames);
        let asked = VideoBudget {
            max_tokens: 1000,
            keeps_to_max: true,
            ..own
        };
        assert!(own.grid(768, (1280, 720), 16).unwrap().tokens() > 12_288);
        assert!(asked.grid(100, (1280, 720), 16).unwrap().tokens() <= 1000);
    }

    #[test]
    fn one_frame_is_no_video() {
        for rule in [VideoRule::Frames, VideoRule::Volume] {
            for frames in [0, 1] {
                let error = budget(rule).grid(frames, (64, 64), 16).unwrap_err();
                assert!(error.to_string().contains("need at least 2"), "{error}");
            }
        }
    }
}
