//! Threads that prepare requests. Clients take turns, so that one with many large pictures does not
//! hold up the others, and a job begins only when the memory that it needs is free, so that many
//! large ones do not fill the machine. What takes long leaves a thread to what does not.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ocelli_engine::ClientId;

type Work = Box<dyn FnOnce() + Send>;

/// How often jobs may take memory before one that waits for more of it; then all that need some wait with it.
const MOST_PASSED: u32 = 64;
/// How long a thread waits before it looks again whether memory was freed elsewhere.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Memory for pictures that are decoded or wait for the encoder, shared by the pools of all models.
#[derive(Debug)]
pub(super) struct Meter {
    /// Most bytes of decoding.
    limit: u64,
    decoding: AtomicU64,
    /// Most bytes of pictures that wait for the encoder: with more, none is begun.
    prepared_limit: u64,
    prepared: AtomicU64,
}

impl Meter {
    pub(super) fn new(limit: u64, prepared_limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            decoding: AtomicU64::new(0),
            prepared_limit,
            prepared: AtomicU64::new(0),
        })
    }

    /// Takes memory for decoding, if there is as much.
    fn take(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        if bytes == 0 {
            return Some(Held(None));
        }
        if self.prepared.load(Relaxed) >= self.prepared_limit {
            return None;
        }
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let taken = self.decoding.fetch_update(Relaxed, Relaxed, more);
        taken
            .ok()
            .map(|_| Held(Some((self.clone(), bytes, Use::Decoding))))
    }

    /// Counts pictures that wait for the encoder.
    pub(super) fn keep(self: &Arc<Self>, bytes: u64) -> Held {
        self.prepared.fetch_add(bytes, Relaxed);
        Held(Some((self.clone(), bytes, Use::Waiting)))
    }

    /// Bytes of decoding and of pictures that wait for the encoder.
    #[cfg(test)]
    fn used(&self) -> (u64, u64) {
        (self.decoding.load(Relaxed), self.prepared.load(Relaxed))
    }
}

#[derive(Clone, Copy, Debug)]
enum Use {
    Decoding,
    Waiting,
}

/// Memory that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Held(Option<(Arc<Meter>, u64, Use)>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((meter, bytes, of)) = self.0.take() {
            let counter = match of {
                Use::Decoding => &meter.decoding,
                Use::Waiting => &meter.prepared,
            };
            counter.fetch_sub(bytes, Relaxed);
        }
    }
}

/// How long a job may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    /// Fractions of a second.
    #[default]
    Short,
    /// Seconds: it waits until a thread is left for others.
    Long,
}

/// What a job takes while it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Memory for decoding.
    pub(super) bytes: u64,
    pub(super) length: Length,
}

struct Job {
    needs: Needs,
    work: Work,
    /// How often others took memory before it because there was not enough for it.
    passed: u32,
}

impl Job {
    /// True when nobody may take memory before it any more.
    fn is_starved(&self) -> bool {
        self.passed >= MOST_PASSED
    }
}

#[derive(Default)]
struct Queue {
    /// Clients with waiting jobs, the next one first.
    turns: VecDeque<ClientId>,
    waiting: BTreeMap<ClientId, VecDeque<Job>>,
    /// Long jobs that run, and how many may.
    long: usize,
    most_long: usize,
    is_closed: bool,
}

impl Queue {
    /// The next job for which there is memory. Jobs that need none never wait for those that do, and
    /// short ones not for long ones, be they of the same client.
    fn next(&mut self, meter: &Arc<Meter>) -> Option<(Work, Held, Length)> {
        let mut is_starved = false;
        for turn in 0..self.turns.len() {
            let client = *self.turns.get(turn)?;
            let mut jobs = self.waiting.get(&client)?.iter().enumerate();
            let Some((place, job)) = jobs.find(|(_, job)| self.has_thread(job.needs)) else {
                continue;
            };
            let needs = job.needs;
            let free = match needs.bytes > 0 && is_starved {
                true => None,
                false => meter.take(needs.bytes),
            };
            let Some(held) = free else {
                is_starved |= job.is_starved();
                continue;
            };
            if needs.bytes > 0 {
                self.note_passed(turn);
            }
            let jobs = self.waiting.get_mut(&client)?;
            let job = jobs.remove(place)?;
            self.turns.remove(turn);
            match jobs.is_empty() {
                true => drop(self.waiting.remove(&client)),
                false => self.turns.push_back(client),
            }
            self.long += usize::from(needs.length == Length::Long);
            return Some((job.work, held, needs.length));
        }
        None
    }

    /// True if one of the threads that are free is for such a job.
    fn has_thread(&self, needs: Needs) -> bool {
        needs.length == Length::Short || self.long < self.most_long
    }

    /// Notes that somebody took memory before those that wait for some in front of place `turn`.
    fn note_passed(&mut self, turn: usize) {
        for client in self.turns.iter().take(turn) {
            let job = self.waiting.get_mut(client).and_then(VecDeque::front_mut);
            if let Some(job) = job.filter(|job| job.needs.bytes > 0) {
                job.passed += 1;
            }
        }
    }

    /// Memory for a job that begins at once, unless another was passed too often already.
    fn take_now(&mut self, meter: &Arc<Meter>, needs: Needs) -> Option<Held> {
        let first = self.waiting.values().filter_map(VecDeque::front);
        let is_passing = needs.bytes > 0 && first.clone().any(Job::is_starved);
        if is_passing || !self.has_thread(needs) {
            return None;
        }
        let held = meter.take(needs.bytes)?;
        if needs.bytes > 0 {
            self.note_passed(self.turns.len());
        }
        self.long += usize::from(needs.length == Length::Long);
        Some(held)
    }

    fn add(&mut self, client: ClientId, job: Job, is_first: bool) {
        let jobs = self.waiting.entry(client).or_default();
        if jobs.is_empty() {
            self.turns.push_back(client);
        }
        match is_first {
            true => jobs.push_front(job),
            false => jobs.push_back(job),
        }
    }
}

struct Shared {
    queue: Mutex<Queue>,
    came: Condvar,
    meter: Arc<Meter>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Jobs run without the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some((work, held, length)) = queue.next(&self.meter) {
                drop(queue);
                let thread = Thread(self, length);
                // A job that panics drops its outlet, which tells its caller.
                let _ = catch_unwind(AssertUnwindSafe(work));
                drop((held, thread));
                queue = self.queue();
            } else if queue.is_closed {
                return;
            } else if queue.turns.is_empty() {
                queue = self
                    .came
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.came.wait_timeout(queue, LOOK_AGAIN);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn submit(&self, client: ClientId, job: Job, is_first: bool) {
        let mut queue = self.queue();
        if queue.is_closed {
            // Dropped with its outlet, which says so.
            return;
        }
        queue.add(client, job, is_first);
        drop(queue);
        self.came.notify_one();
    }
}

/// A thread that a job has until this is dropped.
struct Thread<'a>(&'a Shared, Length);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        if self.1 == Length::Long {
            self.0.queue().long -= 1;
            self.0.came.notify_one();
        }
    }
}

/// Puts a second part of a job in, for which more must be known than at its beginning.
#[derive(Clone)]
pub(super) struct Again(Arc<Shared>);

impl Again {
    /// Puts a job behind the client's others.
    pub(super) fn put(&self, client: ClientId, work: Work) {
        let job = Job {
            needs: Needs::default(),
            work,
            passed: 0,
        };
        self.0.submit(client, job, false);
    }

    /// Runs `work` as soon as it has what it needs: now, or before the client's other jobs.
    pub(super) fn run(&self, client: ClientId, needs: Needs, work: impl FnOnce() + Send + 'static) {
        let held = self.0.queue().take_now(&self.0.meter, needs);
        match held {
            Some(held) => {
                let thread = Thread(&self.0, needs.length);
                work();
                drop((held, thread));
            }
            None => {
                let job = Job {
                    needs,
                    work: Box::new(work),
                    passed: 0,
                };
                self.0.submit(client, job, true);
            }
        }
    }
}

/// See the module. Dropping it ends the threads; jobs that did not begin are dropped.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(threads: usize, meter: Arc<Meter>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                most_long: threads.saturating_sub(1).max(1),
                ..Queue::default()
            }),
            came: Condvar::new(),
            meter,
        });
        let mut pool = Self {
            shared,
            threads: Vec::new(),
        };
        for _ in 0..threads.max(1) {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new().name("ocelli-prepare".to_owned());
            // Without one of them, those before end with the pool.
            pool.threads.push(thread.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    pub(super) fn submit(&self, client: ClientId, work: Work) {
        self.again().put(client, work);
    }

    pub(super) fn again(&self) -> Again {
        Again(self.shared.clone())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_closed = true;
        let unbegun = std::mem::take(&mut queue.waiting);
        queue.turns.clear();
        drop(queue);
        drop(unbegun);
        self.shared.came.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
