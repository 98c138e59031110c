//! Ctrl-C and termination. The only owner of signal handlers in the process.
//!
//! Outside an answer of a chat, the first Ctrl-C ends the process with 130. During such an answer
//! the first one only asks the answer to stop, and the second ends the process. Termination ends it
//! with 143 at once. A server ends its work at the first of either, and at once at the second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether Ctrl-C was pressed, and what the next one does.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    exits: Arc<AtomicBool>,
    pressed: Arc<AtomicBool>,
    terminates: Arc<AtomicBool>,
    /// Any of the signals came.
    ends: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the signals.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn install() -> io::Result<Self> {
        let exits = Arc::new(AtomicBool::new(true));
        let pressed = Arc::new(AtomicBool::new(false));
        // Handlers run in this order: a press that does not exit arms the exit for the next one.
        flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&exits))?;
        flag::register(SIGINT, Arc::clone(&exits))?;
        flag::register(SIGINT, Arc::clone(&pressed))?;
        let terminates = Arc::new(AtomicBool::new(true));
        let ends = Arc::new(AtomicBool::new(false));
        flag::register_conditional_shutdown(SIGTERM, 143, Arc::clone(&terminates))?;
        flag::register(SIGTERM, Arc::clone(&terminates))?;
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&ends))?;
        }
        Ok(Self {
            exits,
            pressed,
            terminates,
            ends,
        })
    }

    /// From now on the first signal only sets the flag that comes back.
    pub(crate) fn serving(&self) -> &AtomicBool {
        self.exits.store(false, Ordering::SeqCst);
        self.terminates.store(false, Ordering::SeqCst);
        &self.ends
    }

    /// From now on one Ctrl-C only stops the answer, until the guard is dropped.
    pub(crate) fn answering(&self) -> Answering<'_> {
        self.pressed.store(false, Ordering::SeqCst);
        self.exits.store(false, Ordering::SeqCst);
        Answering { interrupt: self }
    }
}

/// See [`Interrupt::answering`].
#[derive(Debug)]
pub(crate) struct Answering<'a> {
    interrupt: &'a Interrupt,
}

impl Answering<'_> {
    /// Whether Ctrl-C was pressed since the answer began.
    pub(crate) fn is_stopped(&self) -> bool {
        self.interrupt.pressed.load(Ordering::SeqCst)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.interrupt.exits.store(true, Ordering::SeqCst);
    }
}
