//! Places for connections. When all are taken, a connection that waits for its client is closed for
//! one that comes: whoever opens hundreds and sends nothing, or bodies byte by byte, keeps nobody out.
//!
//! A connection with a request that is being answered is never closed here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

/// What a client sends first is on its way when its connection is there; no shorter wait is judged.
const GRACE: Duration = Duration::from_millis(100);
/// Bytes a second of a client that brings something; with fewer, bodies come to nothing anyway.
const BUSY: f64 = super::body::BYTES_PER_SECOND as f64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<BTreeMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    /// One was given back.
    free: Notify,
    closed: AtomicU64,
}

impl Places {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            free: Notify::new(),
            closed: AtomicU64::new(0),
        })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Open connections.
    pub(crate) fn taken(&self) -> usize {
        self.all().len()
    }

    /// Connections that were closed for others.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// A place for a connection that came. Only one caller may wait at a time.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            {
                let mut taken = self.all();
                if taken.len() < self.most {
                    let number = self.next.fetch_add(1, Relaxed);
                    let seat = Arc::new(Seat::new());
                    taken.insert(number, seat.clone());
                    return Place {
                        places: self.clone(),
                        number,
                        seat,
                    };
                }
                self.close_idlest(&taken);
            }
            // Answers may end meanwhile, and their connections then wait for their clients.
            let _ = timeout(GRACE / 4, self.free.notified()).await;
        }
    }

    /// Closes a connection that waits for its client, if there is one, and waits a moment for one to
    /// be gone.
    pub(super) async fn make_room(&self) {
        self.close_idlest(&self.all());
        let _ = timeout(GRACE / 2, self.free.notified()).await;
    }

    fn close_idlest(&self, taken: &BTreeMap<u64, Arc<Seat>>) {
        if let Some(idlest) = idlest(taken) {
            idlest.leave();
            self.closed.fetch_add(1, Relaxed);
        }
    }

    /// Waits until every place was given back.
    pub(super) async fn empty(&self) {
        while self.taken() > 0 {
            let _ = timeout(GRACE, self.free.notified()).await;
        }
    }
}

/// Of the connections that wait for their clients, the one that has waited longest; those that
/// bring bytes as a network does come last, the slowest of them first.
fn idlest(taken: &BTreeMap<u64, Arc<Seat>>) -> Option<&Seat> {
    if taken.values().any(|seat| seat.is_leaving()) {
        // One place is enough for one that comes.
        return None;
    }
    let waiting = taken
        .values()
        .filter_map(|seat| Some((seat.wait()?, seat)))
        .filter(|(wait, _)| wait.since.elapsed() >= GRACE);
    // A client that just came has brought nothing yet: it must not go before one that dribbles.
    let rate = |wait: &Wait| match wait.bytes as f64 / wait.since.elapsed().as_secs_f64() {
        slow if slow < BUSY => 0.0,
        rate => rate,
    };
    let least = waiting.min_by(|(a, _), (b, _)| {
        let by_rate = rate(a).total_cmp(&rate(b));
        by_rate.then(a.since.cmp(&b.since))
    });
    least.map(|(_, seat)| seat.as_ref())
}

/// A connection's place, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(super) seat: Arc<Seat>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.all().remove(&self.number);
        self.places.free.notify_one();
    }
}

/// How long a client has been waited for, and what it brought since.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Waits for a request, or for the rest of one.
    Waiting(Wait),
    /// A request is there whole, and its answer is not.
    Answering,
    /// Is to be closed.
    Leaving,
}

/// What a connection does.
#[derive(Debug)]
pub(super) struct Seat {
    doing: Mutex<Doing>,
    /// The client has not taken all that was sent to it.
    is_stalled: AtomicBool,
    leaving: Notify,
}

impl Seat {
    fn new() -> Self {
        Self {
            doing: Mutex::new(Doing::Waiting(Wait::new())),
            is_stalled: AtomicBool::new(false),
            leaving: Notify::new(),
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it waits for its client, if it does and nothing for it is still to be sent.
    fn wait(&self) -> Option<Wait> {
        match *self.doing() {
            Doing::Waiting(wait) if !self.is_stalled.load(Relaxed) => Some(wait),
            _ => None,
        }
    }

    fn is_leaving(&self) -> bool {
        matches!(*self.doing(), Doing::Leaving)
    }

    fn leave(&self) {
        *self.doing() = Doing::Leaving;
        self.leaving.notify_one();
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn left(&self) {
        self.leaving.notified().await;
    }

    /// Bytes came.
    pub(super) fn received(&self, count: usize) {
        if let Doing::Waiting(wait) = &mut *self.doing() {
            wait.bytes += count as u64;
        }
    }

    /// Whether the client lets what was sent to it lie.
    pub(super) fn stall(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Relaxed);
    }

    /// A request has come to its end.
    pub(super) fn answer(&self) {
        let mut doing = self.doing();
        if matches!(*doing, Doing::Waiting(_)) {
            *doing = Doing::Answering;
        }
    }

    /// An answer has come to its end.
    pub(super) fn answered(&self) {
        let mut doing = self.doing();
        if !matches!(*doing, Doing::Leaving) {
            *doing = Doing::Waiting(Wait::new());
        }
    }
}

impl Wait {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seats that have waited for a second, each having brought so many bytes.
    fn seats(bytes: &[u64]) -> BTreeMap<u64, Arc<Seat>> {
        let seat = |(number, bytes): (usize, &u64)| {
            let seat = Seat::new();
            let ago = Duration::from_millis(1000 - number as u64);
            *seat.doing() = Doing::Waiting(Wait {
                since: Instant::now() - ago,
                bytes: *bytes,
            });
            (number as u64, Arc::new(seat))
        };
        bytes.iter().enumerate().map(seat).collect()
    }

    #[test]
    fn who_has_waited_longest_leaves_first_and_who_brings_much_last() {
        let taken = seats(&[900_000, 50, 0, 9000, 80_000]);
        for expected in [1, 2, 3, 4, 0] {
            let idlest = idlest(&taken).unwrap();
            assert!(std::ptr::eq(idlest, taken[&expected].as_ref()));
            idlest.answer();
        }
        assert!(idlest(&taken).is_none());
    }

    #[test]
    fn what_is_answered_or_new_or_not_yet_taken_stays() {
        let taken = seats(&[0, 0, 0]);
        taken[&0].answer();
        taken[&1].stall(true);
        taken[&2].answer();
        taken[&2].answered();
        assert!(idlest(&taken).is_none());
        taken[&1].stall(false);
        idlest(&taken).unwrap().leave();
        taken[&1].answered();
        assert!(taken[&1].is_leaving());
    }

    #[test]
    fn no_second_one_leaves_before_the_first_is_gone() {
        let mut taken = seats(&[0, 0]);
        idlest(&taken).unwrap().leave();
        assert!(idlest(&taken).is_none());
        taken.remove(&0);
        assert!(idlest(&taken).is_some());
    }
}
