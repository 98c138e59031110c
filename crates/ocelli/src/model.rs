//! A model that answers.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use ocelli_engine::{Engine, Event, Generate, GrammarSource, Grammars, Owner};
use ocelli_image::boxes::View;
use ocelli_image::{ImageRecord, VideoRecord};
use ocelli_text::RenderOptions;

use crate::prepare::{Asked, Preparer, Seeing};
use crate::trace::{Recorder, Trace};
use crate::{Answer, Error, Options, Preview, Request, Sampling, Source, Timings, Usage, load};

/// A text model with its projector, ready to answer. It runs one request at a time. What a request
/// has in common with the beginning of an earlier one is not computed again.
pub struct Model {
    parts: Parts,
    grammars: Grammars,
}

pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) preparer: Preparer,
    /// What was assumed about files of old or foreign layouts.
    pub(crate) assumed: Vec<String>,
    pub(crate) load: Duration,
    /// Bytes of weights and caches.
    pub(crate) bytes: u64,
    /// Requests that can run at the same time.
    pub(crate) sequences: usize,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("engine", &self.parts.engine)
            .finish_non_exhaustive()
    }
}

impl Model {
    pub(crate) fn from_parts(parts: Parts) -> Self {
        let grammars = Grammars::new(parts.preparer.model.clone());
        Self { parts, grammars }
    }

    pub(crate) fn into_parts(self) -> Parts {
        self.parts
    }

    /// The built-in demo model with default settings.
    ///
    /// # Errors
    /// When this build has none (feature `demo`), or memory is short.
    pub fn demo() -> Result<Self, Error> {
        Self::load(&Source::Demo, &Options::default(), &mut |_, _| {})
    }

    /// A model file with default settings; its projector is found beside it.
    ///
    /// # Errors
    /// When the file is missing or bad, the pair does not fit, or memory is short.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source::File(path.as_ref().to_owned());
        Self::load(&source, &Options::default(), &mut |_, _| {})
    }

    /// A model with settings. `progress` is told the bytes of weights read so far, and of all weights.
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

    /// How tokens are chosen unless a request says otherwise: as the model file recommends, else greedily.
    pub fn default_sampling(&self) -> Sampling {
        self.parts.preparer.default_sampling.clone()
    }

    /// Checks that answers can be bound to this grammar, before anything is asked.
    ///
    /// # Errors
    /// When it is wrong, asks for what cannot be enforced, or is too expensive.
    pub fn check_grammar(&self, grammar: &GrammarSource) -> Result<(), Error> {
        self.grammars.compile(grammar)?;
        Ok(())
    }

    /// Answers a request.
    ///
    /// # Errors
    /// When a picture is bad, the request does not fit the context, or its grammar is wrong. The
    /// model stays usable.
    pub fn ask(&mut self, request: Request) -> Result<Answer, Error> {
        self.ask_with(request, &mut |_| ControlFlow::Continue(()))
    }

    /// Answers a request, reporting encoding, prefill and new text to `observe`, which can stop the answer.
    ///
    /// # Errors
    /// As [`Model::ask`].
    pub fn ask_with(
        &mut self,
        request: Request,
        observe: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Answer, Error> {
        let grammar = request
            .grammar
            .as_ref()
            .map(|source| self.grammars.compile(source))
            .transpose()?;
        let Asked {
            prompt,
            pictures,
            prepared,
            videos,
            ..
        } = self.prepare(&request)?;
        let owners = prompt.owners.clone();
        let observe = &mut |event: Event<'_>| {
            observe(match event {
                Event::Encoding { image, done, total } => {
                    let (image, done, total) = by_medium(&owners, image, done, total);
                    Event::Encoding { image, done, total }
                }
                other => other,
            })
        };
        let outcome = self.parts.engine.generate(
            Generate {
                sampling: request
                    .sampling
                    .unwrap_or_else(|| self.parts.preparer.default_sampling.clone()),
                stop: request.stop,
                grammar,
                ..Generate::new(prompt, pictures, request.max_tokens)
            },
            observe,
        )?;
        Ok(Answer {
            boxes: self
                .parts
                .preparer
                .boxes(&outcome, view(&prepared.records, &videos)),
            text: outcome.text,
            finish_reason: outcome.finish_reason,
            usage: Usage {
                prompt_tokens: outcome.prompt_tokens,
                completion_tokens: outcome.tokens.len(),
                cached_tokens: outcome.cached_tokens,
                drafts: outcome.drafts,
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

    /// What the model would see of a request, and how many tokens that takes, without running it.
    ///
    /// # Errors
    /// When a picture or video is bad, or the model cannot see.
    pub fn look(&self, request: &Request) -> Result<Preview, Error> {
        let asked = self.prepare(request)?;
        Ok(Preview {
            prompt_tokens: asked.prompt.tokens.len(),
            images: asked.prepared.records,
            videos: asked.videos,
        })
    }

    fn prepare(&self, request: &Request) -> Result<Asked, Error> {
        let options = RenderOptions::default();
        let preparer = &self.parts.preparer;
        let seeing = Seeing {
            pan_and_scan: request.pan_and_scan,
            ..Seeing::default()
        };
        preparer.chat(&request.messages, &options, &seeing)
    }
}

/// What the places in an answer refer to: the last picture, or the last video where there is none.
pub(crate) fn view(images: &[ImageRecord], videos: &[VideoRecord]) -> Option<View> {
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

/// The encoding of picture number `image`, as the engine counts them, told of pictures and videos:
/// which one it is, and its layers done and in all. Those of all temporal patches of a video are
/// one count.
pub(crate) fn by_medium(
    owners: &[Owner],
    image: usize,
    done: usize,
    total: usize,
) -> (usize, usize, usize) {
    let Some(owner) = owners.get(image) else {
        return (image, done, total);
    };
    let own = owners.iter().filter(|other| *other == owner).count();
    let before = owners[..image].iter().filter(|other| *other == owner);
    let mut media = owners[..image].to_vec();
    media.retain(|other| other != owner);
    media.dedup();
    (media.len(), before.count() * total + done, own * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_all_temporal_patches_of_a_video_are_one_count() {
        let (image, video) = (Owner::Image(0), Owner::Video(0));
        let owners = [image, video, video, video, Owner::Image(1)];
        let told: Vec<_> = (0..5).map(|at| by_medium(&owners, at, 2, 10)).collect();
        let expected = [(0, 2, 10), (1, 2, 30), (1, 12, 30), (1, 22, 30), (2, 2, 10)];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_model_can_be_sent_to_another_thread_and_a_service_shared_by_many() {
        fn sent<T: Send>() {}
        fn shared<T: Send + Sync>() {}
        sent::<Model>();
        shared::<crate::service::Service>();
        shared::<crate::service::Models>();
        shared::<crate::service::Answering>();
        shared::<Error>();
    }
}
