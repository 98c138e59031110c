//! The caller's eyes on a download, and the patience with which what failed is tried again.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::http::{Failed, without_query};
use super::hub::Patience;
use super::pull::Progress;
use crate::Error;

const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The caller's eyes on a download: hears of progress, and may stop it.
pub(super) struct Watch<'a> {
    pub(super) patience: Patience,
    pub(super) progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
}

impl Watch<'_> {
    pub(super) fn tell(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        match (self.progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }

    /// Tries until it works, it cannot work, or there is no patience left.
    pub(super) fn retry<T>(
        &mut self,
        url: &str,
        mut what: impl FnMut() -> Result<T, Failed>,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            match what() {
                Ok(done) => return Ok(done),
                Err(failed) => {
                    tries += 1;
                    self.wait(url, tries, failed)?;
                }
            }
        }
    }

    /// Waits before the next try, which is number `tries` from 0; an error when there is none.
    pub(super) fn wait(&mut self, url: &str, tries: u32, failed: Failed) -> Result<(), Error> {
        let (why, after) = match failed {
            Failed::ForGood(error) => return Err(error),
            Failed::ForNow { why, after } => (why, after),
        };
        if tries >= self.patience.tries {
            return Err(Error::Network {
                url: without_query(url).to_owned(),
                why,
                tries,
            });
        }
        let doubled = self.patience.first_wait * (1 << (tries - 1).min(16));
        // Up to half more by chance, so that many programs that failed together do not come back
        // together. The hasher's keys are random; no further dependency is needed for one number.
        let chance = RandomState::new().hash_one(tries) % 512;
        let wait = doubled + doubled * (chance as u32) / 1024;
        let wait = wait.max(after.unwrap_or_default()).min(LONGEST_WAIT);
        let start = Instant::now();
        while let Some(left) = wait.checked_sub(start.elapsed()) {
            self.tell(Progress::Retry { why: &why, left })?;
            std::thread::sleep(left.min(Duration::from_millis(200)));
        }
        Ok(())
    }
}
