//! How many prompt rows a step takes while others generate, and what guessed rows cost. Both follow
//! from how long earlier steps took.
//!
//! Where a prompt is cut changes no answer. It changes how long clients wait: with few rows the
//! others get their next token sooner, with many the kernels do more in the same time.

use std::time::Duration;

/// How long the prompt rows of a step may take: the next tokens of others come that much later.
const PROMPT_TIME: Duration = Duration::from_millis(50);

/// The same in steps without prompt rows. It counts where those are so slow that prompts would
/// hardly get on in [`PROMPT_TIME`].
const PROMPT_STEPS: f64 = 2.0;

/// Fewest prompt rows of a step, however slow: half as many would take a fifth longer each.
const LEAST_ROWS: usize = 64;

/// Weight of the last step in a mean.
const NEW: f64 = 0.25;

/// Part of a step's time that a guessed row adds, until it was measured: as much as rows of other
/// sequences on processors with four cores.
const DRAFT_ROW: f64 = 0.06;

/// Its bounds: a step is never faster for a row more, and above the upper one no guess is worth it.
const DRAFT_ROWS: std::ops::RangeInclusive<f64> = 0.01..=1.0;

/// Weight of the last measurement in it: memory's speed changes by more than what a row adds.
const NEW_DRAFT_ROW: f64 = 0.05;

/// Steps that are shorter say how threads wake up, not what a row costs.
const MEASURABLE: f64 = 1e-3;

/// Rows of a step beside those of tokens that are certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraRows {
    /// Of prompts.
    pub(crate) prompt: usize,
    /// Of guessed tokens.
    pub(crate) draft: usize,
}

/// Means of the times of steps, in seconds.
#[derive(Debug)]
pub(crate) struct Tempo {
    /// A step without prompt rows and guesses.
    generating: Option<f64>,
    /// What a prompt row adds to it.
    row: Option<f64>,
    /// Part of a step that a guessed row adds.
    draft_row: f64,
}

impl Default for Tempo {
    fn default() -> Self {
        Self {
            generating: None,
            row: None,
            draft_row: DRAFT_ROW,
        }
    }
}

impl Tempo {
    /// Notes how long a step with so many rows took.
    pub(crate) fn note(&mut self, rows: ExtraRows, time: Duration) {
        let guesses = 1.0 + self.draft_row * rows.draft as f64;
        let time = time.as_secs_f64();
        let (mean, value) = match rows.prompt {
            0 => {
                self.note_draft(rows.draft, time);
                (&mut self.generating, time / guesses)
            }
            rows => {
                let own = time - guesses * self.generating.unwrap_or(0.0);
                (&mut self.row, own.max(0.0) / rows as f64)
            }
        };
        *mean = Some(mean.map_or(value, |mean| mean + NEW * (value - mean)));
    }

    /// Notes what guessed rows added to a step. Where none were worth their time, the measurement
    /// is forgotten slowly: it may have been a bad one.
    fn note_draft(&mut self, rows: usize, time: f64) {
        let (value, weight) = match (rows, self.generating) {
            (0, _) => (DRAFT_ROW, NEW_DRAFT_ROW / 50.0),
            (_, None) => return,
            (_, Some(mean)) if mean < MEASURABLE => return,
            (rows, Some(mean)) => ((time / mean - 1.0) / rows as f64, NEW_DRAFT_ROW),
        };
        let mean = self.draft_row + weight * (value - self.draft_row);
        self.draft_row = mean.clamp(*DRAFT_ROWS.start(), *DRAFT_ROWS.end());
    }

    /// Part of a step's time that a guessed row adds.
    pub(crate) fn draft_row(&self) -> f32 {
        self.draft_row as f32
    }

    /// How long a step with so many prompt rows takes, in steps without.
    pub(crate) fn relative(&self, prompt_rows: usize) -> f32 {
        match (self.generating, self.row) {
            (Some(step), Some(row)) if step > 0.0 => (1.0 + row * prompt_rows as f64 / step) as f32,
            _ => 1.0,
        }
    }

    /// How long a slice of encoding may take while others generate: `time`, or as long as one of
    /// their steps, up to two and a half times as long. Slices far shorter than steps would make
    /// pictures wait for tokens.
    pub(crate) fn slice(&self, time: Duration) -> Duration {
        let step = Duration::try_from_secs_f64(self.generating.unwrap_or(0.0));
        step.unwrap_or(time).clamp(time, time.mul_f64(2.5))
    }

    /// Prompt rows of the next step while others generate, at most `most`. All of them until a step
    /// with some was timed.
    pub(crate) fn prompt_rows(&self, most: usize) -> usize {
        let Some(row) = self.row else { return most };
        let slow = PROMPT_STEPS * self.generating.unwrap_or(0.0);
        let rows = slow.max(PROMPT_TIME.as_secs_f64()) / row.max(1e-9);
        (rows as usize).max(LEAST_ROWS).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn prompt(prompt: usize) -> ExtraRows {
        ExtraRows { prompt, draft: 0 }
    }

    fn draft(draft: usize) -> ExtraRows {
        ExtraRows { prompt: 0, draft }
    }

    #[test]
    fn what_a_guessed_row_adds_is_measured_and_forgotten() {
        let mut tempo = Tempo::default();
        for _ in 0..400 {
            tempo.note(prompt(0), 20 * MS);
            // 5 ms a row.
            tempo.note(draft(4), 40 * MS);
        }
        assert!((tempo.draft_row() - 0.25).abs() < 0.02, "{tempo:?}");
        for _ in 0..400 {
            tempo.note(draft(2), 30 * MS);
        }
        assert!((tempo.draft_row() - 0.25).abs() < 0.03, "{tempo:?}");
        assert_eq!(tempo.slice(MS), 2500 * MS / 1000, "the step itself");
        for _ in 0..6000 {
            tempo.note(prompt(0), 20 * MS);
        }
        assert!((tempo.draft_row() - 0.06).abs() < 0.01, "{tempo:?}");
    }

    #[test]
    fn prompts_make_a_step_longer_than_one_without() {
        let mut tempo = Tempo::default();
        assert_eq!(tempo.relative(100), 1.0, "nothing is known yet");
        tempo.note(prompt(0), 20 * MS);
        tempo.note(prompt(100), 120 * MS);
        assert!((tempo.relative(200) - 11.0).abs() < 1e-3, "{tempo:?}");
    }

    #[test]
    fn fast_steps_take_all_rows_and_slow_ones_few() {
        let mut tempo = Tempo::default();
        assert_eq!(tempo.prompt_rows(256), 256, "nothing is known yet");
        tempo.note(prompt(256), 10 * MS);
        assert_eq!(tempo.prompt_rows(256), 256);
        for _ in 0..40 {
            tempo.note(prompt(256), 1000 * MS);
        }
        assert_eq!(tempo.prompt_rows(256), 64);
        assert_eq!(tempo.prompt_rows(4), 4, "never more than there are");
        for _ in 0..40 {
            tempo.note(prompt(64), 40 * MS);
        }
        let rows = tempo.prompt_rows(256);
        assert!((78..=81).contains(&rows), "{rows}");
    }

    #[test]
    fn slices_are_as_long_as_steps_within_bounds() {
        let mut tempo = Tempo::default();
        assert_eq!(tempo.slice(20 * MS), 20 * MS);
        for (step, slice) in [(1, 20), (40, 40), (900, 50)] {
            for _ in 0..80 {
                tempo.note(prompt(0), step * MS);
            }
            let got = tempo.slice(20 * MS).as_secs_f64() * 1e3;
            assert!((got - f64::from(slice)).abs() < 0.1, "{step} ms: {got}");
            assert_eq!(tempo.slice(Duration::ZERO), Duration::ZERO);
        }
    }

    #[test]
    fn where_every_step_is_slow_prompts_take_their_part() {
        let mut tempo = Tempo::default();
        for _ in 0..40 {
            tempo.note(prompt(0), 100 * MS);
            tempo.note(prompt(100), 200 * MS);
        }
        assert_eq!(tempo.prompt_rows(256), 200);
    }
}
