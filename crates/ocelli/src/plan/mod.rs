//! What a model would see of pictures and videos and what that would cost, without loading a weight
//! or running the model.
//!
//! Sizes and tokens come from the model's metadata, the pictures' headers and the first frames of
//! videos. The first pictures are decoded, to know how long the others take (`pace.rs`). The
//! arithmetic of encoding and prefill is counted by running the model's own code on a backend that
//! computes nothing; a short run of the real backend on invented weights of the same types says how
//! long that much takes on this machine (`rates.rs`).
//!
//! ```no_run
//! use ocelli::plan::plan;
//! use ocelli::{Options, Source};
//!
//! let planned = plan(&Source::Demo, &Options::default(), &["photo.jpg".into()], &[])?;
//! for picture in &planned.pictures {
//!     match &picture.seen {
//!         Ok(seen) => println!("{}: {} tokens", picture.path.display(), seen.tokens),
//!         Err(error) => println!("{}: {error}", picture.path.display()),
//!     }
//! }
//! # Ok::<(), ocelli::Error>(())
//! ```

mod films;
mod pace;
mod prefill;
mod rates;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ocelli_cpu::{CpuBackend, CpuOptions};
use ocelli_engine::vision_work;
use ocelli_image::{Budget, DecodeOptions, Grid, ImageRecord, read_header};
use ocelli_models::{Join, TextModel, VisionModel};
use ocelli_tensor::{Backend, KvLayout, Measure, Work};

use crate::load::{
    Files, check_pair, context_tokens, kv_element, model_name, picture_budget, read_text,
    read_weights,
};
use crate::pictures::MOST_IMAGES;
use crate::video::MOST_VIDEOS;
use crate::{Error, Options, Source, Video};
use films::Screen;
pub use films::{PlannedVideo, SeenVideo};
use pace::Pace;
use prefill::Prefill;
use rates::Rates;

/// What a model would make of some pictures and videos.
#[derive(Debug)]
pub struct Plan {
    /// The model's name.
    pub model: String,
    /// Tokens that prompt and answer may have together.
    pub context: usize,
    /// The pictures, in order.
    pub pictures: Vec<PlannedPicture>,
    /// The videos, in order.
    pub videos: Vec<PlannedVideo>,
    /// Those that can be seen, together.
    pub total: Total,
}

/// One picture.
#[derive(Debug)]
pub struct PlannedPicture {
    /// Its file.
    pub path: PathBuf,
    /// What the model would see, or why it would see nothing.
    pub seen: Result<Seen, Error>,
}

/// What the model would see of a picture, and its cost.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Sizes, orientation, grid.
    pub record: ImageRecord,
    /// Tokens of the prompt that it takes.
    pub tokens: usize,
    /// Bytes of their keys and values.
    pub kv_bytes: u64,
    /// Estimated time of decoding its file, resizing it and cutting it into patches.
    pub prepare: Duration,
    /// Estimated time of the encoder.
    pub encode: Duration,
    /// Estimated time until its tokens are in the cache, as the only picture of a prompt.
    pub prefill: Duration,
}

/// Pictures and videos together.
#[derive(Clone, Debug)]
pub struct Total {
    /// Pictures that can be seen.
    pub pictures: usize,
    /// Videos that can be seen.
    pub videos: usize,
    /// Pictures and videos that cannot.
    pub failed: usize,
    /// Tokens of all.
    pub tokens: usize,
    /// Bytes of their keys and values.
    pub kv_bytes: u64,
    /// Estimated time of decoding, resizing and cutting all.
    pub prepare: Duration,
    /// Estimated time of the encoder for all.
    pub encode: Duration,
    /// Estimated prefill of all, each in a prompt of its own.
    pub prefill: Duration,
    /// Estimated prefill of one prompt with all of them, or why they do not fit one.
    pub one_prompt: Result<Duration, String>,
}

/// Plans pictures and videos. Nothing is run, and the first pictures and the first frames of videos
/// are all that is decoded: damage further in is not seen here.
///
/// # Errors
/// When the model's files are missing, bad or do not fit, or the model cannot see. A bad picture or
/// video is no error of the plan.
pub fn plan(
    source: &Source,
    options: &Options,
    pictures: &[PathBuf],
    videos: &[Video],
) -> Result<Plan, Error> {
    let files = Files::open(source, options)?;
    let (text, vision) = read_weights(&files, &Measure, &mut |_, _| {})?;
    let join = check_pair(&files, text.as_ref(), vision.as_deref())?;
    let name = model_name(&files.text);
    let (tokenizer, _) = read_text(&files.text, text.as_ref(), join)?;
    let Some(vision) = vision else {
        return Err(Error::NoVision {
            model: name,
            why: files.why_blind(),
        });
    };
    let context = context_tokens(text.as_ref(), options)?;
    let budget = picture_budget(vision.as_ref(), options)?;
    let screen = (!videos.is_empty())
        .then(|| {
            Screen::new(
                tokenizer,
                (text.as_ref(), vision.as_ref()),
                join,
                (&budget, options),
            )
        })
        .transpose()?;
    let mut planner = Planner {
        name: &name,
        budget,
        pace: Pace::default(),
        kv: KvLayout {
            layers: text.caches(),
            pages: 0,
            near_pages: 0,
            page_tokens: 1,
            element: kv_element(options),
        },
        rates: measure(&files, (text.as_ref(), vision.as_ref()), options)?,
        prefill: Prefill::new(text.as_ref()),
        vision: vision.as_ref(),
        join,
        encodings: HashMap::new(),
    };
    let look = |path: &PathBuf| PlannedPicture {
        path: path.clone(),
        seen: planner.look(path),
    };
    let pictures: Vec<PlannedPicture> = pictures.iter().map(look).collect();
    let watch = |video: &Video| planner.watch(screen.as_ref(), video);
    let videos: Vec<PlannedVideo> = videos.iter().map(watch).collect();
    Ok(Plan {
        context,
        total: planner.total(&pictures, &videos, context),
        pictures,
        videos,
        model: name,
    })
}

/// Times the machine with weights such as the model's.
fn measure(
    files: &Files,
    (text, vision): (&dyn TextModel, &dyn VisionModel),
    options: &Options,
) -> Result<Rates, Error> {
    let backend: Arc<dyn Backend> = Arc::new(
        CpuBackend::new(&CpuOptions {
            threads: options.threads,
            isa: options.isa,
            precision: options.precision,
        })
        .map_err(|error| Error::Backend(error.to_string()))?,
    );
    let vision_file = files.vision().unwrap_or(&files.text);
    Rates::measure(backend.as_ref(), (&files.text, text), (vision_file, vision))
}

struct Planner<'a> {
    name: &'a str,
    pace: Pace,
    vision: &'a dyn VisionModel,
    join: Option<&'static Join>,
    budget: Budget,
    kv: KvLayout,
    rates: Rates,
    prefill: Prefill<'a>,
    /// Folders are full of pictures of one size.
    encodings: HashMap<Grid, Work>,
}

impl Planner<'_> {
    fn look(&mut self, path: &Path) -> Result<Seen, Error> {
        let wrong = |source| Error::Image {
            number: 1,
            name: Some(path.display().to_string()),
            source,
        };
        let found = read_header(path, &DecodeOptions::default()).map_err(wrong)?;
        let grid = self
            .vision
            .grid(found.width, found.height, &self.budget)
            .map_err(|error| match error {
                ocelli_models::Error::Image(source) => wrong(source),
                other => other.into(),
            })?;
        let tokens = self.join.map_or(grid.tokens(), |join| join.tokens(&grid));
        let patch = self.vision.patch_size();
        let (resized_width, resized_height) = grid.pixels(patch);
        let prepare = self.pace.of(path, &found, (self.vision, &self.budget));
        Ok(Seen {
            record: ImageRecord {
                width: found.width,
                height: found.height,
                orientation: found.orientation,
                resized_width,
                resized_height,
                grid,
                tokens: grid.tokens(),
            },
            tokens,
            kv_bytes: self.kv.bytes_of(tokens),
            prepare: prepare.map_err(wrong)?,
            encode: self.encode(grid),
            prefill: self.rates.text.time(&self.prefill.of(tokens)),
        })
    }

    /// How long the encoder takes for a picture, or for one temporal patch.
    fn encode(&mut self, grid: Grid) -> Duration {
        let vision = self.vision;
        let count = || vision_work(vision, grid, vision.patch_elements());
        let work = self.encodings.entry(grid).or_insert_with(count);
        self.rates.vision.time(work)
    }

    fn total(
        &mut self,
        pictures: &[PlannedPicture],
        videos: &[PlannedVideo],
        context: usize,
    ) -> Total {
        let mut total = Total {
            pictures: 0,
            videos: 0,
            failed: 0,
            tokens: 0,
            kv_bytes: 0,
            prepare: Duration::ZERO,
            encode: Duration::ZERO,
            prefill: Duration::ZERO,
            one_prompt: Ok(Duration::ZERO),
        };
        for picture in pictures {
            let Ok(seen) = &picture.seen else {
                total.failed += 1;
                continue;
            };
            total.pictures += 1;
            total.tokens += seen.tokens;
            total.kv_bytes += seen.kv_bytes;
            total.prepare += seen.prepare;
            total.encode += seen.encode;
            total.prefill += seen.prefill;
        }
        for video in videos {
            let Ok(seen) = &video.seen else {
                total.failed += 1;
                continue;
            };
            total.videos += 1;
            total.tokens += seen.tokens;
            total.kv_bytes += seen.kv_bytes;
            total.prepare += seen.prepare;
            total.encode += seen.encode;
            total.prefill += seen.prefill;
        }
        total.one_prompt = self.one_prompt(&total, context);
        total
    }

    /// The prefill of one prompt with all pictures and videos, or why they do not fit one.
    fn one_prompt(&mut self, total: &Total, context: usize) -> Result<Duration, String> {
        let (tokens, pictures, videos) = (total.tokens, total.pictures, total.videos);
        // The question and the answer need tokens too.
        if tokens >= context {
            return Err(format!("{tokens} tokens, the context holds {context}"));
        }
        if pictures > MOST_IMAGES {
            return Err(format!("{pictures} images, limit {MOST_IMAGES}"));
        }
        if videos > MOST_VIDEOS {
            return Err(format!("{videos} videos, limit {MOST_VIDEOS}"));
        }
        Ok(self.rates.text.time(&self.prefill.of(tokens)))
    }
}
