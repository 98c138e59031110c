//! Threads that prepare requests. Clients take turns, so that one with many large pictures does not hold up the others.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ocelli_engine::ClientId;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    /// Clients with waiting jobs, the next one first.
    turns: VecDeque<ClientId>,
    waiting: BTreeMap<ClientId, VecDeque<Job>>,
    is_closed: bool,
}

impl Queue {
    fn next(&mut self) -> Option<Job> {
        let client = self.turns.pop_front()?;
        let jobs = self.waiting.get_mut(&client)?;
        let job = jobs.pop_front();
        match jobs.is_empty() {
            true => drop(self.waiting.remove(&client)),
            false => self.turns.push_back(client),
        }
        job
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    came: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Jobs run without the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.next() {
                drop(queue);
                // A job that panics drops its outlet, which tells its caller.
                let _ = catch_unwind(AssertUnwindSafe(job));
                queue = self.queue();
            } else if queue.is_closed {
                return;
            } else {
                queue = self
                    .came
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
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
    pub(super) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.work())
        };
        Self {
            threads: (0..threads.max(1)).map(start).collect(),
            shared,
        }
    }

    pub(super) fn submit(&self, client: ClientId, job: Job) {
        let mut queue = self.shared.queue();
        let jobs = queue.waiting.entry(client).or_default();
        let is_new = jobs.is_empty();
        jobs.push_back(job);
        if is_new {
            queue.turns.push_back(client);
        }
        drop(queue);
        self.shared.came.notify_one();
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
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn clients_take_turns_and_a_panic_ends_only_its_job() {
        let pool = Pool::new(1);
        let (gate, open) = mpsc::channel::<()>();
        let (sender, order) = mpsc::channel();
        pool.submit(ClientId(0), Box::new(move || open.recv().unwrap()));
        for name in ["greedy 1", "greedy 2", "greedy 3"] {
            let sender = sender.clone();
            let job = move || {
                sender.send(name).unwrap();
                assert!(name != "greedy 1", "a job that fails");
            };
            pool.submit(ClientId(1), Box::new(job));
        }
        let last = sender.clone();
        pool.submit(ClientId(2), Box::new(move || last.send("modest").unwrap()));
        gate.send(()).unwrap();
        let order: Vec<_> = order.iter().take(4).collect();
        assert_eq!(order, ["greedy 1", "modest", "greedy 2", "greedy 3"]);
    }
}
