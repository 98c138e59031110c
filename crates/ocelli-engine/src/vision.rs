//! Pictures on their way to features.

use std::ops::ControlFlow;
use std::sync::Arc;

use ocelli_image::Patches;
use ocelli_models::{ImageFeatures, Progress, VisionModel};
use ocelli_tensor::{Backend, Memory, Pass, Probe, Stage};

use crate::{Error, Event, ImageKey, ImageSlot};

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

/// Runs the encoder on one picture. `Ok(None)` when the observer stopped it.
pub(crate) fn encode(
    model: &dyn VisionModel,
    backend: &dyn Backend,
    memory: &mut Memory,
    (image, picture): (usize, &Picture),
    observe: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Option<Arc<ImageFeatures>>, Error> {
    let mark = memory.mark();
    let mut pass = Pass::new(backend, memory, Probe::Off);
    let mut encoding = model.begin(&mut pass, &picture.patches);
    let features = loop {
        match model.advance(&mut pass, &mut encoding, 1) {
            Progress::Done(features) => break Some(features),
            Progress::Layers(done, total) => {
                if observe(Event::Encoding { image, done, total }).is_break() {
                    break None;
                }
            }
        }
    };
    memory.release(mark);
    let Some(features) = features else {
        return Ok(None);
    };
    if !features.is_finite() {
        let stage = first_bad_stage(model, backend, memory, picture);
        return Err(Error::NonFinite {
            what: format!("values of image {} at vision {stage}", image + 1),
        });
    }
    let total = model.layers();
    let done = observe(Event::Encoding {
        image,
        done: total,
        total,
    });
    Ok(done.is_continue().then(|| Arc::new(features)))
}

/// Runs the encoder with a probe on every stage, as traces do.
pub(crate) fn encode_probed(
    model: &dyn VisionModel,
    backend: &dyn Backend,
    memory: &mut Memory,
    picture: &Picture,
    see: &mut dyn FnMut(Stage<'_>),
) -> ImageFeatures {
    let mark = memory.mark();
    let mut pass = Pass::new(backend, memory, Probe::On(see));
    let mut encoding = model.begin(&mut pass, &picture.patches);
    let features = loop {
        if let Progress::Done(features) = model.advance(&mut pass, &mut encoding, model.layers()) {
            break features;
        }
    };
    memory.release(mark);
    features
}

/// Name of the first stage with a value that is not finite.
fn first_bad_stage(
    model: &dyn VisionModel,
    backend: &dyn Backend,
    memory: &mut Memory,
    picture: &Picture,
) -> String {
    let mut bad = None;
    let mut see = |stage: Stage<'_>| {
        if bad.is_none() && !stage.values.iter().all(|v| v.is_finite()) {
            bad = Some(stage.name);
        }
    };
    encode_probed(model, backend, memory, picture, &mut see);
    bad.unwrap_or_else(|| "output".to_owned())
}
