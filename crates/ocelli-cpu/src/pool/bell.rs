//! How threads of the pool sleep and wake.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Wakes threads that sleep until something is true.
#[derive(Default)]
pub(super) struct Bell {
    lock: Mutex<()>,
    condition: Condvar,
}

impl Bell {
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has sleepers look again. Taking the lock makes sure that none is between looking and sleeping.
    pub(super) fn ring(&self) {
        let _guard = self.lock();
        self.condition.notify_all();
    }

    /// Sleeps until `is_true`, which is looked at whenever the bell rings.
    pub(super) fn sleep_until(&self, mut guard: MutexGuard<'_, ()>, is_true: impl Fn() -> bool) {
        while !is_true() {
            guard = self
                .condition
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
