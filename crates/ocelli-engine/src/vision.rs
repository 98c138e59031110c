//! Pictures on their way to features.
//!
//! A picture is encoded on a thread of its own that works only while the engine lets it: between two
//! steps the engine grants it a slice of time and waits until the slice is used up. So a picture can
//! stop in the middle of a layer, models need not know of it, and only one of the two ever computes.
//!
//! A picture whose features are not finite is encoded once more by a backend that rounds nothing,
//! if there is one.

mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_image::Grid;
use ocelli_models::ImageFeatures;
use ocelli_tensor::{Backend, Stage};

use crate::isolate::guarded;
use crate::{Model, Picture, SequenceId, vision_memory};
use worker::{Shared, Slice, Turn};

/// How encoding is divided, so that a large picture hardly delays others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// How long a slice may take; a piece that was begun is finished. Default 20 ms; up to two and
    /// a half times as long where a step of those who generate takes that long.
    pub time: Duration,
    /// Multiplications of a piece, which is never divided. Default 2000 million: a few milliseconds.
    pub piece: u64,
    /// The same while nobody generates and no other picture is on its way: threads that are not
    /// equally fast share a long piece better. Default 40 000 million, a tenth of a second, which a
    /// request that comes meanwhile waits once: less than for a step of a prompt.
    pub long_piece: u64,
}

impl Default for Slices {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(20),
            piece: 2_000_000_000,
            long_piece: 40_000_000_000,
        }
    }
}

/// Whether anybody waits for the end of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody generates, and no other picture takes turns with this one.
    Alone,
    /// Somebody does.
    Others,
}

/// How far a picture is after a slice.
pub(crate) enum Encoded {
    Layers { done: usize, total: usize },
    Done { features: Arc<ImageFeatures> },
    NonFinite,
    Panicked,
}

/// Encodes one picture at a time, a slice a call.
pub(crate) struct Encoder {
    shared: Arc<Shared>,
    work: Option<Work>,
    /// Pictures that were encoded a second time, without rounding.
    repeats: u64,
    slices: Slices,
    most_patches: usize,
    thread: Option<JoinHandle<()>>,
}

/// A picture on its way.
struct Work {
    whose: (SequenceId, usize),
    picture: Arc<Picture>,
    rounding: Rounding,
}

/// Which backend a picture is encoded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// The engine's.
    Usual,
    /// The one that rounds nothing.
    Without,
}

impl Encoder {
    /// An encoder for pictures up to `largest`, if the model has vision.
    pub(crate) fn new(
        model: &Arc<Model>,
        backend: &Arc<dyn Backend>,
        largest: Grid,
    ) -> Option<Self> {
        let vision = model.vision.as_ref()?;
        let elements = vision_memory(vision.as_ref(), largest, vision.patch_elements());
        Some(Self {
            shared: Arc::new(Shared::new(model, backend, elements)),
            work: None,
            repeats: 0,
            slices: Slices::default(),
            most_patches: largest.patches(),
            thread: None,
        })
    }

    /// The largest picture that fits.
    pub(crate) fn most_patches(&self) -> usize {
        self.most_patches
    }

    pub(crate) fn set_slices(&mut self, slices: Slices) {
        self.slices = slices;
    }

    /// How encoding is divided.
    pub(crate) fn slices(&self) -> Slices {
        self.slices
    }

    /// Whose picture is on its way, and which.
    pub(crate) fn at_work(&self) -> Option<(SequenceId, usize)> {
        self.work.as_ref().map(|work| work.whose)
    }

    /// Pictures that were encoded a second time, without rounding.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Begins with picture number `image` of a sequence and works for one slice.
    pub(crate) fn begin(
        &mut self,
        whose: (SequenceId, usize),
        picture: Arc<Picture>,
        (time, company): (Duration, Company),
    ) -> Encoded {
        assert!(self.work.is_none(), "one picture at a time");
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("ocelli-encode".to_owned());
            self.thread = thread.spawn(move || shared.run()).ok();
        }
        if self.thread.is_none() {
            // The system has no thread left: as good as a failure of ours.
            return Encoded::Panicked;
        }
        let work = Work {
            whose,
            picture,
            rounding: Rounding::Usual,
        };
        self.start(work, self.slice(time, company))
    }

    fn start(&mut self, work: Work, slice: Slice) -> Encoded {
        self.shared.layers.store(0, Ordering::Relaxed);
        let picture = Arc::clone(&work.picture);
        let begin = Turn::Begin(picture, slice, work.rounding);
        self.work = Some(work);
        self.shared.pass(begin);
        self.hear()
    }

    /// Goes on for a slice of so long.
    pub(crate) fn advance(&mut self, time: Duration, company: Company) -> Encoded {
        assert!(self.work.is_some(), "a picture was begun");
        self.shared.pass(Turn::Work(self.slice(time, company)));
        self.hear()
    }

    fn slice(&self, time: Duration, company: Company) -> Slice {
        Slice {
            until: Instant::now() + time,
            piece: match company {
                Company::Alone => self.slices.long_piece,
                Company::Others => self.slices.piece,
            },
        }
    }

    /// Waits until the slice is used up.
    fn hear(&mut self) -> Encoded {
        let is_ours = |turn: &Turn| matches!(turn, Turn::Paused | Turn::Finished(_));
        let mut turn = self.shared.wait(is_ours);
        if matches!(*turn, Turn::Paused) {
            return Encoded::Layers {
                done: self.shared.layers.load(Ordering::Relaxed),
                total: self.shared.vision().map_or(0, |vision| vision.layers()),
            };
        }
        let finished = std::mem::replace(&mut *turn, Turn::Idle);
        drop(turn);
        let work = self.work.take();
        match finished {
            Turn::Finished(Some(features)) if features.is_finite() => Encoded::Done {
                features: Arc::new(features),
            },
            Turn::Finished(Some(_)) => self.repeat(work),
            _ => Encoded::Panicked,
        }
    }

    /// Encodes a picture once more without rounding, if that is not what was done.
    fn repeat(&mut self, work: Option<Work>) -> Encoded {
        match work {
            Some(work) if work.rounding == Rounding::Usual && self.shared.can_repeat() => {
                self.repeats += 1;
                let work = Work {
                    rounding: Rounding::Without,
                    ..work
                };
                self.start(work, self.slice(self.slices.time, Company::Others))
            }
            _ => Encoded::NonFinite,
        }
    }

    /// Gives up what it was doing for a sequence.
    pub(crate) fn abandon(&mut self, id: SequenceId) {
        if self.at_work().is_some_and(|(own, _)| own == id) {
            self.stop();
        }
    }

    fn stop(&mut self) {
        if self.work.take().is_some() {
            self.shared.pass(Turn::Stop);
            drop(self.shared.wait(|turn| matches!(turn, Turn::Idle)));
        }
    }

    /// Encodes a whole picture, showing every stage.
    pub(crate) fn encode_probed(
        &mut self,
        picture: &Picture,
        see: &mut dyn FnMut(Stage<'_>),
    ) -> Option<ImageFeatures> {
        self.stop();
        let backend = self.shared.backend(Rounding::Usual);
        self.shared.encode(backend.as_ref(), picture, Some(see))
    }

    /// Name of the first stage with a value that is not finite.
    pub(crate) fn first_bad_stage(&mut self, picture: &Picture) -> String {
        let mut bad = None;
        let mut see = |stage: Stage<'_>| {
            if bad.is_none() && !stage.values.iter().all(|v| v.is_finite()) {
                bad = Some(stage.name);
            }
        };
        // What panics here says nothing more than what is known.
        let _ = guarded(|| self.encode_probed(picture, &mut see));
        bad.unwrap_or_else(|| "output".to_owned())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.shared.pass(Turn::Closed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
