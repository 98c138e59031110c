//! Pictures on their way to features.

use std::sync::Arc;

use ocelli_image::Patches;
use ocelli_models::{Encoding, ImageFeatures, Progress, VisionModel};
use ocelli_tensor::{Backend, Mark, Memory, Pass, Probe, Stage};

use crate::{ImageKey, ImageSlot, SequenceId};

/// A preprocessed picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its patches.
    pub patches: Patches,
    /// Its content: pixels, preprocessing and projector.
    pub key: ImageKey,
}

impl Picture {
    /// What the prompt needs to know.
    pub fn slot(&self) -> ImageSlot {
        ImageSlot {
            grid: self.patches.grid,
            key: self.key,
        }
    }
}

/// Encodes one picture at a time, a few layers a call.
pub(crate) struct Encoder {
    memory: Memory,
    /// The memory's state between two pictures.
    empty: Mark,
    work: Option<Work>,
}

struct Work {
    id: SequenceId,
    image: usize,
    encoding: Encoding,
}

/// How far a picture is.
pub(crate) enum Encoded {
    Layers { done: usize, total: usize },
    Done { features: Arc<ImageFeatures> },
    NonFinite,
}

impl Encoder {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            empty: memory.mark(),
            memory,
            work: None,
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.work.is_none()
    }

    /// Begins with picture number `image` of a sequence.
    pub(crate) fn begin(
        &mut self,
        model: &dyn VisionModel,
        backend: &dyn Backend,
        (id, image): (SequenceId, usize),
        picture: &Picture,
    ) {
        assert!(self.is_free(), "one picture at a time");
        let mut pass = Pass::new(backend, &mut self.memory, Probe::Off);
        let encoding = model.begin(&mut pass, &picture.patches);
        self.work = Some(Work {
            id,
            image,
            encoding,
        });
    }

    /// Whose picture is on its way, and which.
    pub(crate) fn at_work(&self) -> Option<(SequenceId, usize)> {
        self.work.as_ref().map(|work| (work.id, work.image))
    }

    /// Runs some layers.
    pub(crate) fn advance(
        &mut self,
        model: &dyn VisionModel,
        backend: &dyn Backend,
        layers: usize,
    ) -> Encoded {
        let work = self.work.as_mut().expect("a picture was begun");
        let mut pass = Pass::new(backend, &mut self.memory, Probe::Off);
        let features = match model.advance(&mut pass, &mut work.encoding, layers) {
            Progress::Layers(done, total) => return Encoded::Layers { done, total },
            Progress::Done(features) => features,
        };
        self.stop();
        match features.is_finite() {
            true => Encoded::Done {
                features: Arc::new(features),
            },
            false => Encoded::NonFinite,
        }
    }

    /// Gives up what it was doing for a sequence.
    pub(crate) fn abandon(&mut self, id: SequenceId) {
        if self.work.as_ref().is_some_and(|work| work.id == id) {
            self.stop();
        }
    }

    /// Gives up what it was doing.
    pub(crate) fn stop(&mut self) {
        self.work = None;
        self.memory.release(self.empty);
    }

    /// Encodes a whole picture, showing every stage.
    pub(crate) fn encode_probed(
        &mut self,
        model: &dyn VisionModel,
        backend: &dyn Backend,
        picture: &Picture,
        see: &mut dyn FnMut(Stage<'_>),
    ) -> ImageFeatures {
        self.stop();
        let mut pass = Pass::new(backend, &mut self.memory, Probe::On(see));
        let mut encoding = model.begin(&mut pass, &picture.patches);
        let features = loop {
            let progress = model.advance(&mut pass, &mut encoding, model.layers());
            if let Progress::Done(features) = progress {
                break features;
            }
        };
        self.memory.release(self.empty);
        features
    }

    /// Name of the first stage with a value that is not finite.
    pub(crate) fn first_bad_stage(
        &mut self,
        model: &dyn VisionModel,
        backend: &dyn Backend,
        picture: &Picture,
    ) -> String {
        let mut bad = None;
        let mut see = |stage: Stage<'_>| {
            if bad.is_none() && !stage.values.iter().all(|v| v.is_finite()) {
                bad = Some(stage.name);
            }
        };
        self.encode_probed(model, backend, picture, &mut see);
        bad.unwrap_or_else(|| "output".to_owned())
    }
}
