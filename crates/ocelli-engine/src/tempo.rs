//! How many prompt rows a step takes beside those who generate, from how long steps took.
//!
//! Answers do not depend on where a prompt is cut, so that only waiting does: fewer rows make the
//! others wait less for their next token, more rows use the kernels better.

use std::time::Duration;

/// How much longer than a step without prompt rows one with some may take, at least.
const PATIENCE: Duration = Duration::from_millis(50);

/// The same in steps without prompt rows, where these are slow themselves.
const STEPS: f64 = 2.0;

/// Fewest rows: half as many would cost about a fifth more each.
const LEAST_ROWS: usize = 64;

/// Share of the last measurement in the mean.
const NEW: f64 = 0.25;

/// Means of the times of steps, in seconds.
#[derive(Debug, Default)]
pub(crate) struct Tempo {
    /// A step without prompt rows.
    generating: Option<f64>,
    /// Of a prompt row, beside that.
    row: Option<f64>,
}

impl Tempo {
    /// Notes how long a step with so many prompt rows took.
    pub(crate) fn note(&mut self, prompt_rows: usize, time: Duration) {
        let time = time.as_secs_f64();
        let (mean, value) = match prompt_rows {
            0 => (&mut self.generating, time),
            rows => {
                let own = time - self.generating.unwrap_or(0.0);
                (&mut self.row, own.max(0.0) / rows as f64)
            }
        };
        *mean = Some(mean.map_or(value, |mean| mean + NEW * (value - mean)));
    }

    /// How long a slice of encoding takes beside those who generate: as it is, or as long as a step
    /// of theirs where that takes longer, up to two and a half times as long. Where every step is
    /// slow, pictures would wait for tokens otherwise, each of which reads all weights for few
    /// sequences.
    pub(crate) fn slice(&self, time: Duration) -> Duration {
        let step = Duration::try_from_secs_f64(self.generating.unwrap_or(0.0));
        step.unwrap_or(time).clamp(time, time.mul_f64(2.5))
    }

    /// Prompt rows of the next step beside others that generate, at most `most`.
    pub(crate) fn prompt_rows(&self, most: usize) -> usize {
        let Some(row) = self.row else { return most };
        let slow = STEPS * self.generating.unwrap_or(0.0);
        let rows = slow.max(PATIENCE.as_secs_f64()) / row.max(1e-9);
        (rows as usize).max(LEAST_ROWS).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn fast_steps_take_all_rows_and_slow_ones_few() {
        let mut tempo = Tempo::default();
        assert_eq!(tempo.prompt_rows(256), 256, "nothing is known yet");
        tempo.note(256, 10 * MS);
        assert_eq!(tempo.prompt_rows(256), 256);
        for _ in 0..40 {
            tempo.note(256, 1000 * MS);
        }
        assert_eq!(tempo.prompt_rows(256), 64);
        assert_eq!(tempo.prompt_rows(4), 4, "never more than there are");
        for _ in 0..40 {
            tempo.note(64, 40 * MS);
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
                tempo.note(0, step * MS);
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
            tempo.note(0, 100 * MS);
            tempo.note(100, 200 * MS);
        }
        assert_eq!(tempo.prompt_rows(256), 200);
    }
}
