//! The thread that encodes, and whose turn it is: the engine's or the thread's.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ocelli_models::{ImageFeatures, Progress, VisionModel};
use ocelli_tensor::{Backend, Mark, Memory, Pass, Probe, Stage};

use super::Rounding;
use crate::paced::Paced;
use crate::step::See;
use crate::{Model, Picture};

/// What engine and thread share.
pub(super) struct Shared {
    model: Arc<Model>,
    backend: Arc<dyn Backend>,
    /// The same without rounding, if the backend rounds.
    exact: Option<Arc<dyn Backend>>,
    turn: Mutex<Turn>,
    passed: Condvar,
    /// Held by whoever encodes; the mark is where it is empty.
    memory: Mutex<(Memory, Mark)>,
    /// Layers done of the present picture.
    pub(super) layers: AtomicUsize,
}

/// Whose turn it is. The engine passes it with `Begin`, `Work`, `Stop` or `Closed`, the thread with
/// `Paused`, `Finished` or `Idle`.
pub(super) enum Turn {
    /// Nothing to do.
    Idle,
    /// A new picture, how long to work, and by which backend.
    Begin(Arc<Picture>, Slice, Rounding),
    /// Go on for so long.
    Work(Slice),
    /// The thread has used its slice.
    Paused,
    /// The picture is to be given up.
    Stop,
    /// The picture is ready, or panicked.
    Finished(Option<ImageFeatures>),
    /// The engine goes away.
    Closed,
}

/// How the thread works until it pauses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) until: Instant,
    /// Multiplications of a piece.
    pub(super) piece: u64,
}

/// What unwinds the thread when a picture is given up.
struct GivenUp;

impl Shared {
    /// What both need to encode pictures in a memory of so many elements.
    pub(super) fn new(model: &Arc<Model>, backend: &Arc<dyn Backend>, elements: usize) -> Self {
        let memory = Memory::reserve(backend.as_ref(), elements);
        let empty = memory.mark();
        Self {
            model: Arc::clone(model),
            backend: Arc::clone(backend),
            exact: backend.exact(),
            turn: Mutex::new(Turn::Idle),
            passed: Condvar::new(),
            memory: Mutex::new((memory, empty)),
            layers: AtomicUsize::new(0),
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it somebody's turn.
    pub(super) fn pass(&self, turn: Turn) {
        *self.turn() = turn;
        self.passed.notify_all();
    }

    /// Waits for a turn that `is_ours`.
    pub(super) fn wait(&self, is_ours: impl Fn(&Turn) -> bool) -> MutexGuard<'_, Turn> {
        let turn = self.turn();
        let waited = self.passed.wait_while(turn, |turn| !is_ours(turn));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// True when a backend without rounding can encode once more.
    pub(super) fn can_repeat(&self) -> bool {
        self.exact.is_some()
    }

    pub(super) fn backend(&self, rounding: Rounding) -> &Arc<dyn Backend> {
        match (rounding, &self.exact) {
            (Rounding::Without, Some(exact)) => exact,
            _ => &self.backend,
        }
    }

    pub(super) fn vision(&self) -> Option<&dyn VisionModel> {
        self.model.vision.as_deref()
    }

    /// The thread between two pieces: goes on until its slice is used up, then waits for the next.
    fn pause(&self, until: &Mutex<Instant>, piece: &AtomicU64) {
        let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < *until {
            return;
        }
        self.pass(Turn::Paused);
        let turn = self.wait(|turn| matches!(turn, Turn::Work(_) | Turn::Stop | Turn::Closed));
        match *turn {
            Turn::Work(next) => {
                *until = next.until;
                piece.store(next.piece, Ordering::Relaxed);
            }
            _ => {
                drop(turn);
                // Not a panic: nothing is reported.
                resume_unwind(Box::new(GivenUp));
            }
        }
    }

    /// The thread: encodes pictures until the engine goes away.
    pub(super) fn run(&self) {
        loop {
            let mut turn = self.wait(|turn| matches!(turn, Turn::Begin(..) | Turn::Closed));
            let Turn::Begin(picture, slice, rounding) = std::mem::replace(&mut *turn, Turn::Idle)
            else {
                return;
            };
            drop(turn);
            let (until, piece) = (Mutex::new(slice.until), AtomicU64::new(slice.piece));
            let pause = || self.pause(&until, &piece);
            let backend = Arc::clone(self.backend(rounding));
            let backend = Paced::new(backend, &piece, &pause);
            let encode = || self.encode(&backend, &picture, None);
            let encoded = catch_unwind(AssertUnwindSafe(encode));
            // Its pixels are no longer needed when the engine hears of it.
            drop(picture);
            match encoded {
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

    /// Encodes a whole picture, on the calling thread.
    pub(super) fn encode(
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
