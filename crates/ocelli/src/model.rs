//! A model that answers.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use ocelli_engine::{Engine, Event, Generate, Outcome, Owner, Picture, Prompt};
use ocelli_image::boxes::{Convention, Located, View, locate};
use ocelli_image::{Budget, ImageRecord, VideoBudget, VideoRecord};
use ocelli_text::{ChatTemplate, ControlTokens};

use crate::chat::tokenize;
use crate::pictures::Prepared;
use crate::trace::{Recorder, Trace};
use crate::video::{Clips, Viewer, arrange};
use crate::{
    Answer, Error, Ffmpeg, ImageSource, Options, Part, Request, Sampling, Source, Timings, Usage,
    Video, load,
};

/// A text model with its projector, ready to answer. One request runs at a time; what consecutive
/// requests begin with in common is not computed again.
pub struct Model {
    parts: Parts,
}

pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) template: ChatTemplate,
    pub(crate) default_sampling: Sampling,
    pub(crate) budget: Option<Budget>,
    /// Sizes of videos, if the family sees them.
    pub(crate) video: Option<VideoBudget>,
    pub(crate) ffmpeg: Ffmpeg,
    /// Bytes of the longest token.
    pub(crate) longest_token: usize,
    /// Why there is no projector, for the error that a picture gets.
    pub(crate) why_blind: String,
    /// What was assumed about files of old or foreign layouts.
    pub(crate) assumed: Vec<String>,
    pub(crate) load: Duration,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("engine", &self.parts.engine)
            .finish_non_exhaustive()
    }
}

/// A request on its way into the engine.
struct Asked {
    prompt: Prompt,
    /// Pictures and temporal patches in the order of the prompt.
    pictures: Vec<Picture>,
    prepared: Prepared,
    videos: Vec<VideoRecord>,
}

impl Model {
    pub(crate) fn from_parts(parts: Parts) -> Self {
        Self { parts }
    }

    /// The built-in model with default settings.
    ///
    /// # Errors
    /// When this build has none, or memory is short.
    pub fn demo() -> Result<Self, Error> {
        Self::load(&Source::Demo, &Options::default(), &mut |_, _| {})
    }

    /// A model file with default settings; its projector is looked for beside it.
    ///
    /// # Errors
    /// When the file is missing or bad, the pair does not fit, or memory is short.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source::File(path.as_ref().to_owned());
        Self::load(&source, &Options::default(), &mut |_, _| {})
    }

    /// A model with settings. `progress` gets the bytes of weights read so far, and of all.
    ///
    /// # Errors
    /// When a file is missing or bad, the pair does not fit, or memory is short.
    pub fn load(
        source: &Source,
        options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        load::load(source, options, progress)
    }

    /// The model's name: its file's, without the ending.
    pub fn name(&self) -> &str {
        &self.parts.engine.model().name
    }

    /// What was assumed about files of old or foreign layouts, and what was left out of them.
    pub fn assumed(&self) -> &[String] {
        &self.parts.assumed
    }

    /// True when a projector is there.
    pub fn can_see(&self) -> bool {
        self.parts.engine.model().vision.is_some()
    }

    /// Tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.parts.engine.context()
    }

    /// What the model file recommends, else greedy.
    pub fn default_sampling(&self) -> Sampling {
        self.parts.default_sampling.clone()
    }

    /// Answers.
    ///
    /// # Errors
    /// When a picture is bad, or the request does not fit. The model stays usable.
    pub fn ask(&mut self, request: Request) -> Result<Answer, Error> {
        self.ask_with(request, &mut |_| ControlFlow::Continue(()))
    }

    /// Answers, telling `observe` of encoding, prefill and new text; it can stop the answer.
    ///
    /// # Errors
    /// As [`Model::ask`].
    pub fn ask_with(
        &mut self,
        request: Request,
        observe: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Answer, Error> {
        let Asked {
            prompt,
            pictures,
            prepared,
            videos,
        } = self.prepare(&request)?;
        let owners = prompt.owners.clone();
        let observe = &mut |event: Event<'_>| observe(by_medium(&owners, event));
        let outcome = self.parts.engine.generate(
            Generate {
                sampling: request
                    .sampling
                    .unwrap_or_else(|| self.parts.default_sampling.clone()),
                stop: request.stop,
                ..Generate::new(prompt, pictures, request.max_tokens)
            },
            observe,
        )?;
        Ok(Answer {
            boxes: self.boxes(&outcome, view(&prepared.records, &videos)),
            text: outcome.text,
            finish_reason: outcome.finish_reason,
            usage: Usage {
                prompt_tokens: outcome.prompt_tokens,
                completion_tokens: outcome.tokens.len(),
                cached_tokens: outcome.cached_tokens,
            },
            images: prepared.records,
            videos,
            timings: Timings {
                load: self.parts.load,
                image_decode: prepared.decode,
                preprocess: prepared.preprocess,
                encode: outcome.timings.encode,
                prefill: outcome.timings.prefill,
                decode: outcome.timings.decode,
            },
        })
    }

    /// Runs the prompt and `decode` greedy tokens, keeping every stage.
    ///
    /// # Errors
    /// As [`Model::ask`].
    pub fn trace(&mut self, request: &Request, decode: usize) -> Result<Trace, Error> {
        let Asked {
            prompt, pictures, ..
        } = self.prepare(request)?;
        let owners = prompt.owners.clone();
        let mut recorder = Recorder::default();
        for (picture, owner) in pictures.iter().zip(&owners) {
            recorder.picture(*owner, &picture.patches);
        }
        let mut see = |image: Option<usize>, stage: ocelli_tensor::Stage<'_>| {
            recorder.stage(image.map(|image| owners[image]), &stage);
        };
        let traced = self
            .parts
            .engine
            .trace(prompt, pictures, decode, &mut see)?;
        Ok(recorder.finish(traced))
    }

    /// What the model will see of a request's pictures, without running it.
    ///
    /// # Errors
    /// When a picture is bad.
    pub fn look(&self, request: &Request) -> Result<Vec<ImageRecord>, Error> {
        Ok(self.prepare(request)?.prepared.records)
    }

    /// What the model will see of a request's videos, without running it.
    ///
    /// # Errors
    /// When a picture or video is bad.
    pub fn look_at_videos(&self, request: &Request) -> Result<Vec<VideoRecord>, Error> {
        Ok(self.prepare(request)?.videos)
    }

    /// Places that an answer names. Some families write them between control tokens, which the text of
    /// an answer leaves out.
    fn boxes(&self, outcome: &Outcome, view: Option<View>) -> Vec<Located> {
        let model = self.parts.engine.model();
        let boxes = model.join.and_then(|join| join.boxes);
        let (Some(boxes), Some(view)) = (boxes, view) else {
            return Vec::new();
        };
        let shown;
        let text = match boxes {
            Convention::Tagged1000 => {
                shown = model
                    .tokenizer
                    .decode(&outcome.tokens, ControlTokens::Shown);
                &shown
            }
            Convention::Relative1000 | Convention::ResizedPixels => &outcome.text,
        };
        locate(text, boxes, &view)
    }

    fn prepare(&self, request: &Request) -> Result<Asked, Error> {
        let model = self.parts.engine.model();
        let sources: Vec<&ImageSource> = request
            .messages
            .iter()
            .flat_map(|message| &message.parts)
            .filter_map(|part| match part {
                Part::Image(source) => Some(source),
                Part::Text(_) | Part::Video(_) => None,
            })
            .collect();
        let mut prepared = match (&model.vision, &self.parts.budget) {
            _ if sources.is_empty() => Prepared::default(),
            (Some(vision), Some(budget)) => Prepared::new(&sources, vision.as_ref(), budget)?,
            _ => {
                return Err(Error::NoVision {
                    model: model.name.clone(),
                    why: self.parts.why_blind.clone(),
                });
            }
        };
        let clips = self.watch(request)?;
        prepared.decode += clips.time;
        let (ids, places) = tokenize(
            model,
            &self.parts.template,
            &request.messages,
            &clips.times(),
            self.context().saturating_mul(self.parts.longest_token),
        )?;
        let videos = clips.records.clone();
        let arranged = arrange(&places, std::mem::take(&mut prepared.pictures), clips)?;
        let prompt = Prompt::with_media(
            &ids,
            &arranged.slots,
            &arranged.media,
            model.layout().as_ref(),
        )?;
        if let Some(join) = model.join {
            for record in &mut prepared.records {
                record.tokens = join.tokens(&record.grid);
            }
        }
        Ok(Asked {
            prompt,
            pictures: arranged.pictures,
            prepared,
            videos,
        })
    }

    /// The videos of a request, ready for the encoder.
    fn watch(&self, request: &Request) -> Result<Clips, Error> {
        let model = self.parts.engine.model();
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let videos: Vec<&Video> = parts
            .filter_map(|part| match part {
                Part::Video(video) => Some(video),
                Part::Text(_) | Part::Image(_) => None,
            })
            .collect();
        if videos.is_empty() {
            return Ok(Clips::default());
        }
        let Some(vision) = &model.vision else {
            return Err(Error::NoVision {
                model: model.name.clone(),
                why: self.parts.why_blind.clone(),
            });
        };
        let rules = model.join.and_then(|join| join.video());
        let (Some(rules), Some(budget), Some(_)) = (rules, &self.parts.video, model.video_token())
        else {
            return Err(Error::NoVideo {
                model: model.name.clone(),
            });
        };
        let viewer = Viewer {
            vision: vision.as_ref(),
            rules,
            budget,
            ffmpeg: &self.parts.ffmpeg,
            salt: [0; 32],
        };
        Clips::new(&videos, &viewer)
    }
}

/// What the places in an answer refer to: the last picture, or the last video where there is none.
fn view(images: &[ImageRecord], videos: &[VideoRecord]) -> Option<View> {
    let of_video = |video: &VideoRecord| View {
        width: video.width,
        height: video.height,
        resized_width: video.resized_width,
        resized_height: video.resized_height,
    };
    match images.last() {
        Some(image) => Some(View::from(image)),
        None => videos.last().map(of_video),
    }
}

/// An event told of pictures and videos: the layers of all temporal patches of a video are one count.
fn by_medium<'a>(owners: &[Owner], event: Event<'a>) -> Event<'a> {
    let Event::Encoding { image, done, total } = event else {
        return event;
    };
    let Some(owner) = owners.get(image) else {
        return event;
    };
    let own = owners.iter().filter(|other| *other == owner).count();
    let before = owners[..image].iter().filter(|other| *other == owner);
    let mut media = owners[..image].to_vec();
    media.retain(|other| other != owner);
    media.dedup();
    Event::Encoding {
        image: media.len(),
        done: before.count() * total + done,
        total: own * total,
    }
}
