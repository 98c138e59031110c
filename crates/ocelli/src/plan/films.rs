//! Videos of a plan: the first frames are looked at as a run looks at all of them.

use std::time::Duration;

use ocelli_image::{Budget, DecodeOptions, Grid, VideoBudget, VideoRecord};
use ocelli_models::{Join, TextModel, VideoRules, VisionModel};
use ocelli_text::{Piece, Tokenizer};

use super::Planner;
use crate::load::{context_tokens, video_budget};
use crate::video::{Clips, Extent, Films, Viewer};
use crate::{Error, Ffmpeg, Options, Video};

/// One video.
#[derive(Debug)]
pub struct PlannedVideo {
    /// Its file, or the first of its pictures.
    pub name: String,
    /// What the model would see, or why it would see nothing.
    pub seen: Result<SeenVideo, Error>,
}

/// What the model would see of a video, and its cost.
#[derive(Clone, Debug)]
pub struct SeenVideo {
    /// Frames, times, sizes, grid.
    pub record: VideoRecord,
    /// Tokens of the prompt that it takes, those that say the time included.
    pub tokens: usize,
    /// Bytes of their keys and values.
    pub kv_bytes: u64,
    /// Estimated time of decoding its frames, resizing them and cutting them into patches.
    pub prepare: Duration,
    /// Estimated time of the encoder.
    pub encode: Duration,
    /// Estimated time until its tokens are in the cache, with nothing else in the prompt.
    pub prefill: Duration,
}

/// What videos are looked at with.
pub(super) struct Screen {
    /// None for a family that was trained for pictures alone.
    rules: Option<(VideoRules, VideoBudget)>,
    ffmpeg: Ffmpeg,
    tokenizer: Tokenizer,
}

impl Screen {
    pub(super) fn new(
        tokenizer: Tokenizer,
        (text, vision): (&dyn TextModel, &dyn VisionModel),
        join: Option<&'static Join>,
        (pictures, options): (&Budget, &Options),
    ) -> Result<Self, Error> {
        let context = context_tokens(text, options)?;
        let budget = join.and_then(|join| video_budget(vision, join, pictures, options, context));
        Ok(Self {
            rules: join.and_then(|join| join.video).zip(budget),
            ffmpeg: options.ffmpeg.clone(),
            tokenizer,
        })
    }
}

impl Planner<'_> {
    pub(super) fn watch(&mut self, screen: Option<&Screen>, video: &Video) -> PlannedVideo {
        let no_video = || Error::NoVideo {
            model: self.name.to_owned(),
        };
        let screen = screen.and_then(|screen| Some((screen, screen.rules.as_ref()?)));
        let seen = match screen.ok_or_else(no_video) {
            Ok((screen, rules)) => self.look_at(video, screen, rules),
            Err(error) => Err(error),
        };
        PlannedVideo {
            name: video.name().unwrap_or_else(|| "video".to_owned()),
            seen,
        }
    }

    fn look_at(
        &mut self,
        video: &Video,
        screen: &Screen,
        (rules, budget): &(VideoRules, VideoBudget),
    ) -> Result<SeenVideo, Error> {
        let viewer = Viewer {
            vision: self.vision,
            rules: *rules,
            budget,
            ffmpeg: &screen.ffmpeg,
            decode: DecodeOptions::default(),
            films: Films::Read,
            extent: Extent::Beginning,
            salt: [0; 32],
        };
        let clips = Clips::new(&[video], &viewer)?;
        // Where the time is text, each temporal patch stands between marks of its own.
        const MARKS: usize = 2;
        let said: usize = clips
            .times()
            .iter()
            .flatten()
            .map(|time| screen.tokenizer.encode_prompt(&[Piece::user(time)]).len() + MARKS)
            .sum();
        let record = clips
            .records
            .first()
            .cloned()
            .ok_or_else(|| Error::NoVideo {
                model: self.name.to_owned(),
            })?;
        let tokens = record.tokens + said.saturating_sub(MARKS);
        let patch = Grid {
            t: 1,
            ..record.grid
        };
        Ok(SeenVideo {
            tokens,
            kv_bytes: self.kv.bytes_of(tokens),
            prepare: clips.time,
            encode: self.encode(patch) * record.grid.t,
            prefill: self.rates.text.time(&self.prefill.of(tokens)),
            record,
        })
    }
}
