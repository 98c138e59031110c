//! A model that answers.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use ocelli_engine::{Engine, Event, Generate, Outcome, Prompt};
use ocelli_image::boxes::{Convention, Located, View, locate};
use ocelli_image::{Budget, ImageRecord};
use ocelli_text::{ChatTemplate, ControlTokens};

use crate::chat::tokenize;
use crate::pictures::Prepared;
use crate::trace::{Recorder, Trace};
use crate::{
    Answer, Error, ImageSource, Options, Part, Request, Sampling, Source, Timings, Usage, load,
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
    /// Bytes of the longest token.
    pub(crate) longest_token: usize,
    /// Why there is no projector, for the error that a picture gets.
    pub(crate) why_blind: String,
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
    prepared: Prepared,
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
        let Asked { prompt, prepared } = self.prepare(&request)?;
        let outcome = self.parts.engine.generate(
            Generate {
                sampling: request
                    .sampling
                    .unwrap_or_else(|| self.parts.default_sampling.clone()),
                stop: request.stop,
                ..Generate::new(prompt, prepared.pictures, request.max_tokens)
            },
            observe,
        )?;
        Ok(Answer {
            boxes: self.boxes(&outcome, prepared.records.last()),
            text: outcome.text,
            finish_reason: outcome.finish_reason,
            usage: Usage {
                prompt_tokens: outcome.prompt_tokens,
                completion_tokens: outcome.tokens.len(),
                cached_tokens: outcome.cached_tokens,
            },
            images: prepared.records,
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
        let Asked { prompt, prepared } = self.prepare(request)?;
        let mut recorder = Recorder::default();
        for (i, picture) in prepared.pictures.iter().enumerate() {
            recorder.picture(i, &picture.patches);
        }
        let mut see = |image, stage: ocelli_tensor::Stage<'_>| recorder.stage(image, &stage);
        let traced = self
            .parts
            .engine
            .trace(prompt, prepared.pictures, decode, &mut see)?;
        Ok(recorder.finish(traced))
    }

    /// What the model will see of a request's pictures, without running it.
    ///
    /// # Errors
    /// When a picture is bad.
    pub fn look(&self, request: &Request) -> Result<Vec<ImageRecord>, Error> {
        Ok(self.prepare(request)?.prepared.records)
    }

    /// Places that an answer names. Some families write them between control tokens, which the text of
    /// an answer leaves out.
    fn boxes(&self, outcome: &Outcome, record: Option<&ImageRecord>) -> Vec<Located> {
        let model = self.parts.engine.model();
        let boxes = model.join.and_then(|join| join.boxes);
        let (Some(boxes), Some(record)) = (boxes, record) else {
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
        locate(text, boxes, &View::from(record))
    }

    fn prepare(&self, request: &Request) -> Result<Asked, Error> {
        let model = self.parts.engine.model();
        let sources: Vec<&ImageSource> = request
            .messages
            .iter()
            .flat_map(|message| &message.parts)
            .filter_map(|part| match part {
                Part::Image(source) => Some(source),
                Part::Text(_) => None,
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
        let (ids, slots) = tokenize(
            model,
            &self.parts.template,
            &request.messages,
            self.context().saturating_mul(self.parts.longest_token),
        )?;
        let images: Vec<_> = prepared.pictures.iter().map(|p| p.slot()).collect();
        let prompt = Prompt::new(&ids, &slots, &images, model.layout().as_ref())?;
        if let Some(join) = model.join {
            for record in &mut prepared.records {
                record.tokens = join.tokens(&record.grid);
            }
        }
        Ok(Asked { prompt, prepared })
    }
}
