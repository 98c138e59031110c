//! A fork-join pool: [`Pool::run`] calls a function for each index of a range, on the calling
//! thread and the workers, and returns when all calls have returned.
//!
//! - Threads claim indices one by one. A thread that the system has put aside holds up one index; a
//!   thread that wakes late finds nothing to do.
//! - A thread claims the index with its own number first, if there are enough of them. So it knows
//!   which tile of the next product will be its own, and reads ahead in it while it waits
//!   ([`Upcoming`]).
//! - A thread without work looks for it for a while before it sleeps ([`LOOK`], [`STAY_AWAKE`]).
#![allow(
    unsafe_code,
    reason = "a borrowed function is lent to threads that live longer; `run` waits for them"
)]

mod bell;

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_kernels::{Tile, Tiles, Workspace};

use crate::upcoming::{Cursor, FirstTiles, Upcoming};
use bell::Bell;

/// How long a thread looks for work without a pause. Most gaps between the operations of a step are
/// shorter.
const LOOK: Duration = Duration::from_micros(30);

/// How long a thread stays awake without work; behind [`LOOK`] it lets others run between looks.
/// The gap between two steps is shorter: waking up takes longer than many products of one row.
const STAY_AWAKE: Duration = Duration::from_millis(1);

/// What a thread without work does next.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Look,
    LetOthersRun,
    Sleep,
}

/// What a thread does that has been without work for so long.
fn after(idle: Duration) -> Wait {
    match idle {
        idle if idle > STAY_AWAKE => Wait::Sleep,
        idle if idle > LOOK => Wait::LetOthersRun,
        _ => Wait::Look,
    }
}

/// Whether the index with a thread's own number can still be claimed. Each is in cache lines of its
/// own, as its thread writes it while others write theirs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Own(AtomicBool);

/// What is done for an index.
type Task<'a> = dyn Fn(usize, &mut Workspace) + Sync + 'a;

/// What all threads see.
struct Shared {
    /// Upper half: number of the job. Lower half: indices that can still be claimed, but for those
    /// in `own`. A claim swaps the whole, so it fails where another job has begun since it looked.
    ticket: AtomicU64,
    /// The first indices, one for each thread; none of a job that has fewer indices than threads.
    own: Box<[Own]>,
    /// Written by [`Pool::run`] only while nothing can be claimed; read only by who has claimed.
    job: UnsafeCell<Job>,
    /// Indices of the running job that have returned.
    finished: AtomicUsize,
    panicked: AtomicBool,
    /// What the panics of the running job carried.
    payloads: Mutex<Vec<Box<dyn Any + Send>>>,
    stopping: AtomicBool,
    /// Workers that sleep, or are about to.
    sleepers: AtomicUsize,
    /// Wakes workers.
    work_bell: Bell,
    /// Whether the caller sleeps, or is about to.
    caller_waits: AtomicBool,
    /// Wakes the caller.
    done_bell: Bell,
    upcoming: Upcoming,
}

/// A claimed index.
#[derive(Clone, Copy)]
enum Claim {
    /// One of the first, by its number.
    First(usize),
    /// One of the others, counted from the end: 1 is the last.
    FromEnd(usize),
}

#[derive(Clone, Copy)]
struct Job {
    /// Lives as long as the job runs, whatever its type says; see [`Pool::run`].
    task: Option<&'static Task<'static>>,
    count: usize,
}

// SAFETY: all fields but `job` are Sync. `run`, of which one runs at a time, writes `job` while the
// ticket and `own` have nothing to claim; others read it between a claim and the end of that index,
// which `run` waits for before it writes again. Claims acquire what `run` released with the ticket
// and `own`; `run` acquires what the ends of indices released with `finished`.
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
            payloads: Mutex::default(),
            stopping: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            work_bell: Bell::default(),
            caller_waits: AtomicBool::new(false),
            upcoming: Upcoming::default(),
            done_bell: Bell::default(),
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

    /// From now on, threads without work read this.
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
        // SAFETY: only claimed indices use the reference, and this function neither returns nor
        // unwinds before all have ended: what it calls until then catches panics of tasks and
        // panics nowhere itself.
        let task = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: the lock on `caller` keeps other calls away; the last one returned when all its
        // indices had ended, so nothing is left to claim and no thread reads the job.
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
            shared.work_bell.ring();
        }
        while shared.claim_and_call(0, &mut caller.workspace) {}
        shared.wait_until_finished(count, &mut caller.cursor);
        if shared.panicked.swap(false, Ordering::Relaxed) {
            let mut payloads = shared
                .payloads
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let payloads = std::mem::take(&mut *payloads);
            drop(caller);
            drop(payloads);
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
                    // SAFETY: `run` calls each index once, each stands for another tile of one of
                    // the matrices, and these are borrowed exclusively.
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
        self.shared.work_bell.ring();
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
            // The clock costs more than a look for work.
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

    /// Until there is work, or the pool ends.
    fn sleep(&self) {
        let guard = self.work_bell.lock();
        // The caller stores the ticket, then reads `sleepers`; here it is the other way round, so
        // that one of the two sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.work_bell.sleep_until(guard, || {
            self.has_work() || self.stopping.load(Ordering::SeqCst)
        });
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Claims what is left of the running job: a thread's own index, else one from the ticket, else
    /// another thread's own.
    fn claim(&self, thread: usize) -> Option<Claim> {
        let take = |own: &Own| own.0.load(Ordering::Relaxed) && own.0.swap(false, Ordering::AcqRel);
        if take(&self.own[thread]) {
            return Some(Claim::First(thread));
        }
        let claim = |ticket: u64| (ticket as u32 > 0).then(|| ticket - 1);
        let ticket = &self.ticket;
        if let Ok(ticket) = ticket.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim) {
            return Some(Claim::FromEnd(ticket as u32 as usize));
        }
        self.own.iter().position(take).map(Claim::First)
    }

    /// Does one index of the running job, if one is left.
    fn claim_and_call(&self, thread: usize, workspace: &mut Workspace) -> bool {
        let Some(claim) = self.claim(thread) else {
            return false;
        };
        // SAFETY: the claimed index has not ended, so `run` still waits for it and does not write.
        let Job { task, count } = unsafe { *self.job.get() };
        let index = match claim {
            Claim::First(index) => index,
            Claim::FromEnd(left) => count - left,
        };
        if let Some(task) = task
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(index, workspace)))
        {
            // Kept until all indices have ended: dropping it could panic once more, and unwind from
            // `run` while others still work.
            let mut payloads = self.payloads.lock().unwrap_or_else(PoisonError::into_inner);
            payloads.push(payload);
            self.panicked.store(true, Ordering::Relaxed);
        }
        if self.finished.fetch_add(1, Ordering::SeqCst) + 1 == count
            && self.caller_waits.load(Ordering::SeqCst)
        {
            self.done_bell.ring();
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
        let guard = self.done_bell.lock();
        self.caller_waits.store(true, Ordering::SeqCst);
        self.done_bell.sleep_until(guard, is_finished);
        self.caller_waits.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
