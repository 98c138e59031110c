//! Progress bars on standard error: for loading, for encoding pictures and for long prompts.
//!
//! Nothing is drawn when standard error is no terminal; nothing stays on the screen when a bar is done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocelli::Event;

/// What takes less than this shows no bar: a flash helps nobody.
const SHOW_AFTER: Duration = Duration::from_millis(300);

const BYTES: &str = "{msg} [{bar:30}] {bytes}/{total_bytes}";
const PARTS: &str = "{msg} [{bar:30}] {percent}%";

/// At most one bar at a time.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    what: Option<What>,
    bar: Option<ProgressBar>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Load,
    Write,
    Download,
    Image(usize),
    Prompt,
}

impl What {
    fn message(self) -> String {
        match self {
            Self::Write => "writing".to_owned(),
            Self::Load => "loading".to_owned(),
            Self::Download => "downloading".to_owned(),
            Self::Image(index) => format!("picture {}", index + 1),
            Self::Prompt => "prompt".to_owned(),
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Load | Self::Download | Self::Write => BYTES,
            Self::Image(_) | Self::Prompt => PARTS,
        }
    }
}

impl Progress {
    /// No bar yet.
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            what: None,
            bar: None,
        }
    }

    /// Bytes of the model that were read.
    pub(crate) fn load(&mut self, done: u64, total: u64) {
        self.show(What::Load, done, total);
    }

    /// Bytes of tensors that were written.
    pub(crate) fn write(&mut self, done: u64, total: u64) {
        self.show(What::Write, done, total);
    }

    /// A step of an answer. Text ends the bar.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::Encoding { image, done, total } => {
                self.show(What::Image(image), done as u64, total as u64)
            }
            Event::Prefill { done, total } => self.show(What::Prompt, done as u64, total as u64),
            _ => self.clear(),
        }
    }

    /// A step of a download.
    pub(crate) fn download(&mut self, event: &ocelli::store::Progress<'_>) {
        if let ocelli::store::Progress::Bytes { file, done, total } = event {
            self.show(What::Download, *done, *total);
            if let Some(bar) = &self.bar {
                bar.set_message((*file).to_owned());
            }
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.what = None;
    }

    fn show(&mut self, what: What, done: u64, total: u64) {
        if self.what != Some(what) {
            self.clear();
            self.what = Some(what);
            self.begun = Instant::now();
        }
        if done >= total {
            return self.clear();
        }
        if self.bar.is_none() && self.begun.elapsed() >= SHOW_AFTER {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(what.template()) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.message());
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
