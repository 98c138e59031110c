//! A fork-join pool: threads that look for the next piece of work for a while, then sleep.
//!
//! [`Pool::run`] calls a function for each index of a range, on the calling thread and the workers,
//! and returns when all calls have returned. Indices are claimed one by one, so a worker that the
//! system has put aside delays only the index it holds, and one that wakes late finds nothing to
//! do.
//!
//! A thread takes the index with its own number first, if there are enough of them: so it knows
//! which tile of the next product is its own, and reads ahead in that one while it waits
//! ([`Upcoming`]).
#![allow(
    unsafe_code,
    reason = "a borrowed function is lent to threads that live longer; `run` waits for them"
)]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_kernels::{Tile, Tiles, Workspace};

use crate::upcoming::{Cursor, FirstTiles, Upcoming};

/// How long a thread looks for work without a pause: longer than most gaps between the operations of a step.
const SPIN: Duration = Duration::from_micros(30);

/// How long it looks for work at all, letting others run between looks, before it sleeps: longer
/// than the gap between two steps. Falling asleep and waking up takes longer than many a product of
/// one row.
const PATIENCE: Duration = Duration::from_millis(1);

/// What a thread that looks for work does next.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Look,
    LetOthersRun,
    Sleep,
}

/// What to do after having looked for so long.
fn after(idle: Duration) -> Wait {
    match idle {
        idle if idle > PATIENCE => Wait::Sleep,
        idle if idle > SPIN => Wait::LetOthersRun,
        _ => Wait::Look,
    }
}

/// Where a thread's own index is announced, apart from those of others, which their threads write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Own(AtomicBool);

type Task<'a> = dyn Fn(usize, &mut Workspace) + Sync + 'a;

/// What all threads see.
struct Shared {
    /// Upper half: number of the job. Lower half: indices not yet claimed. Claiming is a decrement,
    /// so a claim can only succeed on the job that is running.
    ticket: AtomicU64,
    /// Whether the index with a thread's own number is not yet claimed: each thread takes its own
    /// first, for which it has read ahead. They are not in the ticket.
    own: Box<[Own]>,
    job: UnsafeCell<Job>,
    /// Indices of the running job that have returned.
    finished: AtomicUsize,
    panicked: AtomicBool,
    stopping: AtomicBool,
    sleepers: AtomicUsize,
    wake: (Mutex<()>, Condvar),
    caller_waits: AtomicBool,
    upcoming: Upcoming,
    done: (Mutex<()>, Condvar),
}

/// A claimed index: its number, or its number counted from the end.
#[derive(Clone, Copy)]
enum Claim {
    First(usize),
    Last(usize),
}

#[derive(Clone, Copy)]
struct Job {
    task: Option<&'static Task<'static>>,
    count: usize,
}

// SAFETY: `job` is written only while no claim can succeed (see `run`), and read only after a
// claim; all else is Sync.
unsafe impl Sync for Shared {}

/// See the module.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs; the calling thread's scratch memory.
    caller: Mutex<Caller>,
}

#[derive(Default)]
struct Caller {
    workspace: Workspace,
    cursor: Cursor,
    jobs: u32,
}

impl Pool {
    /// A pool of `threads` threads, the caller among them.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            own: (0..threads).map(|_| Own::default()).collect(),
            job: UnsafeCell::new(Job {
                task: None,
                count: 0,
            }),
            finished: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            wake: Default::default(),
            caller_waits: AtomicBool::new(false),
            upcoming: Upcoming::default(),
            done: Default::default(),
        });
        let mut pool = Self {
            shared,
            workers: Vec::new(),
            caller: Mutex::default(),
        };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new().name(format!("ocelli-cpu-{index}"));
            pool.workers.push(worker.spawn(move || shared.work(index))?);
        }
        Ok(pool)
    }

    /// Threads that compute.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Has threads that find no work read this, from now on.
    pub(crate) fn read_when_idle(&self, next: FirstTiles) {
        self.shared.upcoming.set(next);
    }

    /// Calls `task` once for each index below `count` and waits for all of them.
    ///
    /// # Panics
    /// When a call panicked.
    pub(crate) fn run(&self, count: usize, task: &Task<'_>) {
        let mut caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        if count <= 1 || self.workers.is_empty() {
            for index in 0..count {
                task(index, &mut caller.workspace);
            }
            return;
        }
        assert!(u32::try_from(count).is_ok(), "{count} indices");
        caller.jobs = caller.jobs.wrapping_add(1);
        let shared = &*self.shared;
        // SAFETY: the reference is used only by claimed indices, and this function returns after
        // all have finished.
        let task = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: the last job is finished and nothing is left to claim, so no thread reads the job.
        unsafe {
            *shared.job.get() = Job {
                task: Some(task),
                count,
            }
        };
        shared.finished.store(0, Ordering::Relaxed);
        let own = if count < shared.own.len() {
            0
        } else {
            shared.own.len()
        };
        for own in &shared.own[..own] {
            own.0.store(true, Ordering::SeqCst);
        }
        shared.ticket.store(
            u64::from(caller.jobs) << 32 | (count - own) as u64,
            Ordering::SeqCst,
        );
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = shared.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.1.notify_all();
        }
        while shared.claim_and_call(0, &mut caller.workspace) {}
        shared.wait_until_finished(count, &mut caller.cursor);
        if shared.panicked.swap(false, Ordering::Relaxed) {
            drop(caller);
            resume_unwind(Box::new(
                "a task of the CPU backend panicked; its message is above",
            ));
        }
    }

    /// Calls `task` once for each tile and waits for all of them.
    pub(crate) fn tiles<T: Send>(
        &self,
        tiles: Tiles<'_, T>,
        task: impl Fn(Tile<'_, T>, &mut Workspace) + Sync,
    ) {
        self.tiles_of(&[tiles], |_, tile, workspace| task(tile, workspace));
    }

    /// Calls `task` once for each tile of some matrices, with the index of its matrix, and waits
    /// for all of them.
    pub(crate) fn tiles_of<T: Send>(
        &self,
        all: &[Tiles<'_, T>],
        task: impl Fn(usize, Tile<'_, T>, &mut Workspace) + Sync,
    ) {
        let count = all.iter().map(Tiles::count).sum();
        self.run(count, &|index, workspace| {
            let mut inside = index;
            for (which, tiles) in all.iter().enumerate() {
                if inside < tiles.count() {
                    // SAFETY: `run` calls each index once, and each stands for another tile.
                    let tile = unsafe { tiles.tile(inside) };
                    return task(which, tile, workspace);
                }
                inside -= tiles.count();
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        {
            let _guard = self
                .shared
                .wake
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.1.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker that panicked has reported so already.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn has_work(&self) -> bool {
        let is_open = |own: &Own| own.0.load(Ordering::SeqCst);
        self.ticket.load(Ordering::SeqCst) as u32 > 0 || self.own.iter().any(is_open)
    }

    /// The loop of a worker.
    fn work(&self, thread: usize) {
        let mut workspace = Workspace::new();
        let mut cursor = Cursor::default();
        let mut idle_since = Instant::now();
        while !self.stopping.load(Ordering::Relaxed) {
            if self.claim_and_call(thread, &mut workspace) {
                while self.claim_and_call(thread, &mut workspace) {}
                let is_over = || self.has_work() || self.stopping.load(Ordering::Relaxed);
                self.upcoming.read(thread, &mut cursor, is_over);
                idle_since = Instant::now();
            }
            // The clock costs more than a look at the ticket.
            for _ in 0..64 {
                if self.has_work() {
                    break;
                }
                std::hint::spin_loop();
            }
            if self.has_work() {
                continue;
            }
            match after(idle_since.elapsed()) {
                Wait::Look => {}
                Wait::LetOthersRun => std::thread::yield_now(),
                Wait::Sleep => {
                    self.sleep();
                    idle_since = Instant::now();
                }
            }
        }
    }

    fn sleep(&self) {
        let mut guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // The caller stores the ticket, then reads `sleepers`; here it is the other way round, so
        // one sees the other.
        while !self.has_work() && !self.stopping.load(Ordering::SeqCst) {
            guard = self
                .wake
                .1
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// What is left of the running job: a thread's own index, else one from the ticket, counted
    /// from the end, else another's own.
    fn claim(&self, thread: usize) -> Option<Claim> {
        let take = |own: &Own| own.0.load(Ordering::Relaxed) && own.0.swap(false, Ordering::AcqRel);
        if take(&self.own[thread]) {
            return Some(Claim::First(thread));
        }
        let claim = |ticket: u64| (ticket as u32 > 0).then(|| ticket - 1);
        let ticket = &self.ticket;
        if let Ok(ticket) = ticket.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim) {
            return Some(Claim::Last(ticket as u32 as usize));
        }
        self.own.iter().position(take).map(Claim::First)
    }

    /// Does one index of the running job, if one is left.
    fn claim_and_call(&self, thread: usize, workspace: &mut Workspace) -> bool {
        let Some(claim) = self.claim(thread) else {
            return false;
        };
        // SAFETY: the claim holds the job open: `run` waits for this index and only then may write
        // another job.
        let Job { task, count } = unsafe { *self.job.get() };
        let index = match claim {
            Claim::First(index) => index,
            Claim::Last(left) => count - left,
        };
        if let Some(task) = task
            && catch_unwind(AssertUnwindSafe(|| task(index, workspace))).is_err()
        {
            self.panicked.store(true, Ordering::Relaxed);
        }
        if self.finished.fetch_add(1, Ordering::SeqCst) + 1 == count
            && self.caller_waits.load(Ordering::SeqCst)
        {
            let _guard = self.done.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.done.1.notify_all();
        }
        true
    }

    fn wait_until_finished(&self, count: usize, cursor: &mut Cursor) {
        let is_finished = || self.finished.load(Ordering::SeqCst) == count;
        self.upcoming.read(0, cursor, is_finished);
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if is_finished() {
                    return;
                }
                std::hint::spin_loop();
            }
            match after(start.elapsed()) {
                Wait::Look => {}
                Wait::LetOthersRun => std::thread::yield_now(),
                Wait::Sleep => break,
            }
        }
        let mut guard = self.done.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.caller_waits.store(true, Ordering::SeqCst);
        while !is_finished() {
            guard = self
                .done
                .1
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_waits.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
