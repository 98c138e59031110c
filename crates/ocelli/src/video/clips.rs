//! From videos of a request to what the encoder takes: frames chosen, sized, cut into temporal patches.

use std::path::Path;
use std::time::{Duration, Instant};

use ocelli_engine::{Medium, Owner, Picture};
use ocelli_image::{Animation, DecodeOptions, Format, Grid, VideoBudget, VideoRecord};
use ocelli_models::timestamp;
use ocelli_models::{TimeRule, VideoRules, VisionModel};
use ocelli_text::Media;

use super::animation::Ticks;
use super::cutter::{Cut, Cutter};
use super::ffmpeg::Film;
use super::opened::{Kept, Opened, read_animation};
use super::{Ffmpeg, MOST_FRAMES, Video, VideoSource, Wrong};
use crate::Error;

/// Most videos of one request.
pub(crate) const MOST_VIDEOS: usize = 8;

/// Who looks at the videos of a request, and how.
pub(crate) struct Viewer<'a> {
    pub(crate) vision: &'a dyn VisionModel,
    pub(crate) rules: VideoRules,
    pub(crate) budget: &'a VideoBudget,
    pub(crate) ffmpeg: &'a Ffmpeg,
    /// What its frames may ask for, and until when.
    pub(crate) decode: DecodeOptions,
    pub(crate) films: Films,
    pub(crate) extent: Extent,
    /// Features are shared only with requests of equal salt.
    pub(crate) salt: [u8; 32],
}

/// Whether other programs may be asked to read a video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Films {
    /// As the user wishes.
    #[default]
    Read,
    /// It comes from somebody else.
    Refused,
}

/// How much of a video is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All that was chosen.
    Whole,
    /// The beginning: its size and how long it takes tell of the rest.
    Beginning,
}

/// Frames of a beginning.
const BEGINNING: usize = 4;

/// A video, ready for the encoder.
struct Clip {
    /// One for each temporal patch.
    pictures: Vec<Picture>,
    /// Time positions from one temporal patch to the next; none where the time is written as text.
    step: Option<f64>,
    /// Reading it and choosing frames, resizing and cutting included: they happen frame by frame.
    /// An estimate where only the beginning was looked at.
    time: Duration,
}

/// Videos of a request, ready for the encoder.
#[derive(Default)]
pub(crate) struct Clips {
    clips: Vec<Clip>,
    pub(crate) records: Vec<VideoRecord>,
    /// The times of all videos.
    pub(crate) time: Duration,
}

impl Clips {
    /// Reads and preprocesses every video.
    pub(crate) fn new(videos: &[&Video], viewer: &Viewer<'_>) -> Result<Self, Error> {
        if videos.len() > MOST_VIDEOS {
            return Err(Error::TooManyVideos {
                found: videos.len(),
                limit: MOST_VIDEOS,
            });
        }
        let mut clips = Self::default();
        for (index, video) in videos.iter().enumerate() {
            let (clip, record) = viewer.watch(video).map_err(|wrong| Error::Video {
                number: index + 1,
                name: video.name(),
                what: wrong.what,
                kind: wrong.kind,
            })?;
            clips.time += clip.time;
            clips.clips.push(clip);
            clips.records.push(record);
        }
        Ok(clips)
    }

    /// The text before each temporal patch of each video, where the family writes one.
    pub(crate) fn times(&self) -> Vec<Vec<String>> {
        let texts = |(clip, record): (&Clip, &VideoRecord)| match clip.step {
            Some(_) => Vec::new(),
            None => record.times.iter().map(|time| timestamp(*time)).collect(),
        };
        self.clips.iter().zip(&self.records).map(texts).collect()
    }
}

/// What goes to the places of a prompt, and the pictures for it in the same order.
#[derive(Default)]
pub(crate) struct Arranged {
    pub(crate) slots: Vec<usize>,
    pub(crate) media: Vec<Medium>,
    pub(crate) pictures: Vec<Picture>,
}

/// Gives each place what stands there: pictures and videos each in their own order, as the template placed
/// them.
pub(crate) fn arrange(
    places: &[(usize, Media)],
    images: Vec<Picture>,
    clips: Clips,
) -> Result<Arranged, Error> {
    let given = images.len() + clips.clips.len();
    let mut images = images.into_iter().enumerate();
    let mut frames = clips.clips.into_iter().enumerate().flat_map(split);
    let mut arranged = Arranged::default();
    for (slot, media) in places {
        let next = match media {
            Media::Image => images
                .next()
                .map(|(index, picture)| (Owner::Image(index), None, vec![picture])),
            Media::Video => frames.next(),
        };
        // The template was checked to have a place for each, and no more.
        let Some((owner, step, pictures)) = next else {
            return Err(ocelli_engine::Error::ImageSlots {
                slots: places.len(),
                images: given,
            }
            .into());
        };
        let grid = pictures.first().map(|picture| picture.patches.grid);
        arranged.slots.push(*slot);
        arranged.media.push(Medium {
            grid: Grid {
                t: pictures.len() as u32,
                ..grid.unwrap_or(NOTHING)
            },
            keys: pictures.iter().map(|picture| picture.key).collect(),
            owner,
            step,
        });
        arranged.pictures.extend(pictures);
    }
    Ok(arranged)
}

/// A grid without rows. Nothing is shown without a picture.
const NOTHING: Grid = Grid {
    t: 0,
    h: 0,
    w: 0,
    merge: 1,
    tiles: None,
};

/// What goes to each place of a video: all of it to one, or a temporal patch to each.
fn split((index, clip): (usize, Clip)) -> Vec<(Owner, Option<f64>, Vec<Picture>)> {
    let owner = Owner::Video(index);
    match clip.step {
        Some(_) => vec![(owner, clip.step, clip.pictures)],
        None => {
            let alone = |picture| (owner, None, vec![picture]);
            clip.pictures.into_iter().map(alone).collect()
        }
    }
}

impl Viewer<'_> {
    fn watch(&self, video: &Video) -> Result<(Clip, VideoRecord), Wrong> {
        match &video.source {
            VideoSource::Frames(frames, fps) => {
                if frames.len() > MOST_FRAMES {
                    return Err(Wrong {
                        kind: crate::ErrorKind::Usage,
                        ..Wrong::bad(format_args!(
                            "found {} frames, need at most {MOST_FRAMES}. Leave some out, and give the rate of those that stay",
                            frames.len()
                        ))
                    });
                }
                let all: Vec<u64> = (0..frames.len() as u64).collect();
                let rates = (fps.get(), fps.get());
                self.look(&Opened::Frames(frames), &all, (rates, fps.get()))
            }
            VideoSource::File(path) => match read_animation(path)? {
                Some(bytes) => self.watch_animation(video, &bytes),
                None => self.watch_film(video, path),
            },
            VideoSource::Bytes(bytes) => match Format::of(bytes) {
                Some(_) => self.watch_animation(video, bytes),
                None if bytes.is_empty() => Err(Wrong::bad("the file is empty (0 bytes)")),
                None if self.films == Films::Refused => Err(Wrong::bad(
                    "not an animated GIF, WebP or PNG, and nothing else is read here. Send its frames as a list of pictures",
                )),
                None => {
                    let kept = Kept::write(bytes)?;
                    let watched = self.watch_film(video, &kept.path);
                    watched.map_err(|wrong| wrong.without(&kept.path))
                }
            },
        }
    }

    /// Ends a video that takes too long, whoever reads it.
    fn check_time(&self) -> Result<(), Wrong> {
        match self.decode.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Wrong::bad(
                "takes too long to read. Send fewer frames, or smaller ones",
            )),
            _ => Ok(()),
        }
    }

    fn watch_animation(&self, video: &Video, bytes: &[u8]) -> Result<(Clip, VideoRecord), Wrong> {
        let animation = Animation::open(bytes, &self.decode)?;
        let ticks = Ticks::new(animation.delays());
        match animation.delays().len() {
            1 => Err(ocelli_image::Error::Frames { found: 1 }.into()),
            _ => self.sample(video, &Opened::Animation(animation, ticks)),
        }
    }

    fn watch_film(&self, video: &Video, path: &Path) -> Result<(Clip, VideoRecord), Wrong> {
        let film = Film::open(self.ffmpeg, path)?;
        self.sample(video, &Opened::Film(film))
    }

    /// Chooses moments as the family does.
    fn sample(&self, video: &Video, opened: &Opened<'_>) -> Result<(Clip, VideoRecord), Wrong> {
        let (total, rate) = opened.moments();
        let most = video.most_frames.clamp(2, MOST_FRAMES) as u64;
        let wanted = video.sampled.get();
        let chosen = self.rules.size.sample(total, rate, wanted, most);
        let sampled = chosen.len() as f64 / total as f64 * rate;
        let (_, source_rate) = opened.frames();
        self.look(opened, &chosen, ((rate, source_rate), sampled))
    }

    /// Looks at the chosen moments of a video. Rates: moments, frames of the source and chosen ones
    /// in a second.
    fn look(
        &self,
        opened: &Opened<'_>,
        chosen: &[u64],
        ((rate, source_rate), sampled): ((f64, f64), f64),
    ) -> Result<(Clip, VideoRecord), Wrong> {
        if chosen.len() < 2 {
            let found = opened.frames().0.min(1);
            return Err(ocelli_image::Error::Frames { found }.into());
        }
        let seen = match self.extent {
            Extent::Whole => chosen,
            Extent::Beginning => &chosen[..chosen.len().min(BEGINNING)],
        };
        let mut cutter = Cutter::new(self, chosen.len());
        let start = Instant::now();
        opened.each(seen, &self.decode, &mut |frame| {
            self.check_time()?;
            cutter.add(frame)
        })?;
        let Cut {
            pictures,
            size,
            grid,
        } = cutter.finish(seen.len())?;
        // Frames between the chosen ones are decoded too.
        let upto = |moments: &[u64]| moments.last().map_or(1, |last| last + 1) as f64;
        let time = start.elapsed().mul_f64(upto(chosen) / upto(seen));
        let moments = self.budget.moments as usize;
        let second = |index: u64| index as f64 / rate;
        let times = chosen.chunks(moments).map(|patch| {
            let (first, last) = (patch[0], patch[patch.len() - 1]);
            (second(first) + second(last)) / 2.0
        });
        let patch = self.vision.patch_size();
        let record = VideoRecord {
            width: size.0,
            height: size.1,
            source_frames: opened.frames().0,
            source_fps: source_rate,
            frames: chosen.len(),
            fps: sampled,
            times: times.collect(),
            resized_width: grid.w * patch,
            resized_height: grid.h * patch,
            grid,
            tokens: grid.tokens(),
        };
        let step = match self.rules.time {
            TimeRule::Timestamps => None,
            rule => rule.step(moments as f64 / sampled),
        };
        let clip = Clip {
            pictures,
            step,
            time,
        };
        Ok((clip, record))
    }
}
