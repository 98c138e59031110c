//! From videos of a request to what the encoder takes: frames chosen, sized, cut into temporal patches.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ocelli_engine::{ImageKey, Medium, Owner, Picture};
use ocelli_image::{
    Animation, DecodeOptions, Format, Grid, RgbImage, VideoBudget, VideoRecord, decode, read,
};
use ocelli_models::registry::timestamp;
use ocelli_models::{TimeRule, VideoRules, VisionModel};
use ocelli_text::Media;
use sha2::{Digest as _, Sha256};

use super::animation::Ticks;
use super::ffmpeg::Film;
use super::{Ffmpeg, MOST_FRAMES, Video, VideoSource, Wrong};
use crate::{Error, ImageSource};

/// Most videos of one request.
pub(crate) const MOST_VIDEOS: usize = 8;

/// Who looks at the videos of a request, and how.
pub(crate) struct Viewer<'a> {
    pub(crate) vision: &'a dyn VisionModel,
    pub(crate) rules: VideoRules,
    pub(crate) budget: &'a VideoBudget,
    pub(crate) ffmpeg: &'a Ffmpeg,
    pub(crate) extent: Extent,
    /// Features are shared only with requests of equal salt.
    pub(crate) salt: [u8; 32],
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
    /// Reading it and choosing frames, resizing and cutting included: they happen frame by frame. An estimate where only the
    /// beginning was looked at.
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

/// A video that was opened: how many frames it has is known, and none is decoded.
enum Opened<'a> {
    Frames(&'a [ImageSource]),
    Animation(Animation<'a>, Ticks),
    Film(Film<'a>),
}

impl Opened<'_> {
    /// Moments of which some are chosen, and how many of them there are in a second.
    fn moments(&self) -> (u64, f64) {
        match self {
            Self::Frames(frames) => (frames.len() as u64, 0.0),
            Self::Animation(_, ticks) => (ticks.count(), ticks.per_second()),
            Self::Film(film) => (film.frames, film.fps),
        }
    }

    /// Frames, and how many of them there are in a second on average.
    fn frames(&self) -> (u64, f64) {
        match self {
            Self::Animation(animation, ticks) => {
                let frames = animation.delays().len();
                (frames as u64, frames as f64 / ticks.seconds())
            }
            _ => self.moments(),
        }
    }

    /// Shows what is seen at some moments, which ascend.
    fn each(
        &self,
        moments: &[u64],
        see: &mut dyn FnMut(RgbImage) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        match self {
            Self::Frames(frames) => frames.iter().enumerate().try_for_each(|(index, source)| {
                let options = DecodeOptions::default();
                let picture = match source {
                    ImageSource::File(path) => read(path, &options),
                    ImageSource::Bytes(bytes) => decode(bytes, &options),
                };
                let picture = picture.map_err(|error| {
                    let wrong = Wrong::from(error);
                    let what = format!("frame {}: {}", index + 1, wrong.what);
                    Wrong { what, ..wrong }
                })?;
                see(picture.image)
            }),
            Self::Animation(animation, ticks) => ticks.each(animation, moments, see),
            Self::Film(film) => film.each(moments, see),
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
                None => self.watch_film(video, &Kept::write(bytes)?.path),
            },
        }
    }

    fn watch_animation(&self, video: &Video, bytes: &[u8]) -> Result<(Clip, VideoRecord), Wrong> {
        let animation = Animation::open(bytes, &DecodeOptions::default())?;
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

    /// Looks at the chosen moments of a video. Rates: moments, frames of the source and chosen ones in a second.
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
        opened.each(seen, &mut |frame| cutter.add(frame))?;
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

/// A video that was cut.
struct Cut {
    /// One for each temporal patch.
    pictures: Vec<Picture>,
    /// Width and height of its frames.
    size: (u32, u32),
    grid: Grid,
}

/// Cuts frames as they come into temporal patches of their final size.
struct Cutter<'a> {
    viewer: &'a Viewer<'a>,
    count: usize,
    seen: usize,
    /// Width and height of every frame, and the grid of the video: known with the first one.
    size: Option<((u32, u32), Grid)>,
    /// Frames of the temporal patch that is being filled.
    open: Vec<RgbImage>,
    pictures: Vec<Picture>,
}

impl<'a> Cutter<'a> {
    fn new(viewer: &'a Viewer<'a>, count: usize) -> Self {
        Self {
            viewer,
            count,
            seen: 0,
            size: None,
            open: Vec::new(),
            pictures: Vec::new(),
        }
    }

    fn add(&mut self, frame: RgbImage) -> Result<(), Wrong> {
        let size = (frame.width, frame.height);
        self.seen += 1;
        let (first, grid) = match self.size {
            Some(known) => known,
            None => {
                let patch = self.viewer.vision.patch_size();
                let grid = self.viewer.budget.grid(self.count as u64, size, patch)?;
                *self.size.insert((size, grid))
            }
        };
        if size != first {
            return Err(Wrong::bad(format_args!(
                "frame {}: found {}x{}, need {}x{} as the first frame has it",
                self.seen, size.0, size.1, first.0, first.1
            )));
        }
        self.open.push(self.viewer.vision.fit(&frame, &grid));
        if self.open.len() == self.viewer.budget.moments as usize {
            self.cut();
        }
        Ok(())
    }

    /// Ends a temporal patch; where frames are missing, the last one stands in for them.
    fn cut(&mut self) {
        let patches = self.viewer.vision.patches(&self.open);
        let key = key(&self.open, &self.viewer.salt);
        self.pictures.push(Picture { patches, key });
        self.open.clear();
    }

    /// What was cut of so many frames.
    fn finish(mut self, frames: usize) -> Result<Cut, Wrong> {
        if !self.open.is_empty() {
            self.cut();
        }
        match self.size {
            Some((size, grid)) if self.seen == frames => {
                let pictures = self.pictures;
                Ok(Cut {
                    pictures,
                    size,
                    grid,
                })
            }
            _ => Err(Wrong::bad(format_args!(
                "found {} frames, need {frames}",
                self.seen
            ))),
        }
    }
}

/// What a temporal patch's features depend on: its frames at the size at which they are seen. The label
/// keeps it apart from a still picture of the same pixels, which is another kind of place in a prompt.
fn key(frames: &[RgbImage], salt: &[u8; 32]) -> ImageKey {
    let mut hasher = Sha256::new();
    hasher.update(b"ocelli temporal patch features 1");
    hasher.update(b"salt");
    hasher.update(salt);
    hasher.update((frames.len() as u64).to_le_bytes());
    for frame in frames {
        hasher.update(frame.width.to_le_bytes());
        hasher.update(frame.height.to_le_bytes());
        hasher.update(&frame.pixels);
    }
    hasher.finalize().into()
}

/// The content of a file that this program reads itself; none for what ffmpeg reads.
fn read_animation(path: &Path) -> Result<Option<Vec<u8>>, Wrong> {
    let failed = |error| Wrong::path(format_args!("cannot read: {error}"));
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let head = Read::by_ref(&mut file).take(64).read_to_end(&mut bytes);
    head.map_err(failed)?;
    if bytes.is_empty() {
        return Err(Wrong::bad("the file is empty (0 bytes)"));
    }
    if Format::of(&bytes).is_none() {
        return Ok(None);
    }
    let limit = DecodeOptions::default().limits.encoded_bytes;
    let rest = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    rest.map_err(failed)?;
    Ok(Some(bytes))
}

/// A video in memory, in a file for as long as ffmpeg needs one.
struct Kept {
    path: PathBuf,
}

impl Kept {
    fn write(bytes: &[u8]) -> Result<Self, Wrong> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let failed =
            |error: std::io::Error| Wrong::path(format_args!("cannot keep it in a file: {error}"));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ocelli-video-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Never somebody else's file.
        let mut file = File::create_new(&path).map_err(failed)?;
        let kept = Self { path };
        file.write_all(bytes).map_err(failed)?;
        Ok(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Left over files are the system's to clean.
        let _ = std::fs::remove_file(&self.path);
    }
}
