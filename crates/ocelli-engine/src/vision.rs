//! Pictures on their way to features.
//!
//! A picture is encoded on a thread of its own that works only while the engine lets it: between two
//! steps the engine grants it a slice of time and waits until the slice is used up. So a picture can
//! stop in the middle of a layer, models need not know of it, and only one of the two ever computes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_image::{Grid, Patches};
use ocelli_models::{ImageFeatures, Progress, VisionModel};
use ocelli_tensor::{Backend, Mark, Memory, Pass, Probe, Stage};

use crate::isolate::guarded;
use crate::paced::Paced;
use crate::step::See;
use crate::{ImageKey, ImageSlot, Model, SequenceId, vision_memory};

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

/// How encoding is divided, so that a large picture hardly delays others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// How long a slice may take; a piece that was begun is finished. Default 20 ms.
    pub time: Duration,
    /// Multiplications of a piece, which is never divided. Default 2000 million: a few milliseconds.
    pub piece: u64,
}

impl Default for Slices {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(20),
            piece: 2_000_000_000,
        }
    }
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
    work: Option<(SequenceId, usize)>,
    slices: Slices,
    most_patches: usize,
    thread: Option<JoinHandle<()>>,
}

/// What engine and thread share.
struct Shared {
    model: Arc<Model>,
    backend: Arc<dyn Backend>,
    turn: Mutex<Turn>,
    passed: Condvar,
    /// Held by whoever encodes.
    memory: Mutex<(Memory, Mark)>,
    /// Layers done of the present picture.
    layers: AtomicUsize,
}

/// Whose turn it is. The engine passes it by writing `Work` or `Give` and waits for the answer.
enum Turn {
    /// Nothing to do.
    Idle,
    /// A new picture, and how long to work.
    Begin(Arc<Picture>, Slices),
    /// Go on until then.
    Work(Instant),
    /// The thread has used its slice.
    Paused,
    /// The picture is to be given up.
    Stop,
    /// The picture is ready, or panicked.
    Finished(Option<ImageFeatures>),
    /// The engine goes away.
    Closed,
}

/// What unwinds the thread when a picture is given up.
struct GivenUp;

impl Shared {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, turn: Turn) {
        *self.turn() = turn;
        self.passed.notify_all();
    }

    /// Waits until `is_ours`.
    fn wait(&self, is_ours: impl Fn(&Turn) -> bool) -> MutexGuard<'_, Turn> {
        let turn = self.turn();
        let waited = self.passed.wait_while(turn, |turn| !is_ours(turn));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn vision(&self) -> Option<&dyn VisionModel> {
        self.model.vision.as_deref()
    }

    /// The thread between two pieces: goes on until its slice is used up, then waits for the next.
    fn pause(&self, until: &Mutex<Instant>) {
        let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < *until {
            return;
        }
        self.pass(Turn::Paused);
        let turn = self.wait(|turn| matches!(turn, Turn::Work(_) | Turn::Stop | Turn::Closed));
        match *turn {
            Turn::Work(next) => *until = next,
            _ => {
                drop(turn);
                // Not a panic: nothing is reported.
                resume_unwind(Box::new(GivenUp));
            }
        }
    }

    /// The thread.
    fn run(&self) {
        loop {
            let mut turn = self.wait(|turn| matches!(turn, Turn::Begin(..) | Turn::Closed));
            let Turn::Begin(picture, slices) = std::mem::replace(&mut *turn, Turn::Idle) else {
                return;
            };
            drop(turn);
            let until = Mutex::new(Instant::now() + slices.time);
            let pause = || self.pause(&until);
            let backend = Paced::new(Arc::clone(&self.backend), slices.piece, &pause);
            let encode = || self.encode(&backend, &picture, None);
            match catch_unwind(AssertUnwindSafe(encode)) {
                Ok(features) => self.pass(Turn::Finished(features)),
                Err(why) if why.is::<GivenUp>() => {
                    if matches!(*self.turn(), Turn::Closed) {
                        return;
                    }
                    self.pass(Turn::Idle);
                }
                Err(_) => self.pass(Turn::Finished(None)),
            }
        }
    }

    /// Encodes a whole picture.
    fn encode(
        &self,
        backend: &dyn Backend,
        picture: &Picture,
        see: Option<See<'_>>,
    ) -> Option<ImageFeatures> {
        let model = self.vision()?;
        let mut show;
        let probe = match see {
            None => Probe::Off,
            Some(see) => {
                show = move |stage: Stage<'_>| see(stage);
                Probe::On(&mut show)
            }
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (memory, empty) = &mut *memory;
        // The last picture may have been given up.
        memory.release(*empty);
        let mut pass = Pass::new(backend, memory, probe);
        let mut encoding = model.begin(&mut pass, &picture.patches);
        loop {
            match model.advance(&mut pass, &mut encoding, 1) {
                Progress::Layers(done, _) => self.layers.store(done, Ordering::Relaxed),
                Progress::Done(features) => return Some(features),
            }
        }
    }
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
        let memory = Memory::reserve(backend.as_ref(), elements);
        let empty = memory.mark();
        let (model, backend) = (Arc::clone(model), Arc::clone(backend));
        Some(Self {
            shared: Arc::new(Shared {
                model,
                backend,
                turn: Mutex::new(Turn::Idle),
                passed: Condvar::new(),
                memory: Mutex::new((memory, empty)),
                layers: AtomicUsize::new(0),
            }),
            work: None,
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

    /// Whose picture is on its way, and which.
    pub(crate) fn at_work(&self) -> Option<(SequenceId, usize)> {
        self.work
    }

    /// Begins with picture number `image` of a sequence and works for one slice.
    pub(crate) fn begin(
        &mut self,
        (id, image): (SequenceId, usize),
        picture: Arc<Picture>,
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
        self.work = Some((id, image));
        self.shared.layers.store(0, Ordering::Relaxed);
        self.shared.pass(Turn::Begin(picture, self.slices));
        self.hear()
    }

    /// Goes on for one slice.
    pub(crate) fn advance(&mut self) -> Encoded {
        assert!(self.work.is_some(), "a picture was begun");
        let until = Instant::now() + self.slices.time;
        self.shared.pass(Turn::Work(until));
        self.hear()
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
        self.work = None;
        match finished {
            Turn::Finished(Some(features)) if features.is_finite() => Encoded::Done {
                features: Arc::new(features),
            },
            Turn::Finished(Some(_)) => Encoded::NonFinite,
            _ => Encoded::Panicked,
        }
    }

    /// Gives up what it was doing for a sequence.
    pub(crate) fn abandon(&mut self, id: SequenceId) {
        if self.work.is_some_and(|(own, _)| own == id) {
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
        let backend = self.shared.backend.as_ref();
        self.shared.encode(backend, picture, Some(see))
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
