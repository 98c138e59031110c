//! Frames of an animation by the clock: which one is seen at each tick.

use std::ops::ControlFlow;
use std::time::Duration;

use ocelli_image::{Animation, RgbImage};

use super::Wrong;

/// The time of an animation, cut into ticks that every frame has a whole number of. Where all frames are
/// shown equally long a tick is a frame, so that frames are chosen as from any other video.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    /// The tick behind the last one of each frame.
    ends: Vec<u64>,
    micros: u64,
}

impl Ticks {
    pub(super) fn new(delays: &[Duration]) -> Self {
        // One frame of a still picture has no delay.
        let delays: Vec<u64> = delays
            .iter()
            .map(|d| (d.as_micros() as u64).max(1))
            .collect();
        let micros = delays.iter().copied().fold(0, common_divisor).max(1);
        let ends = delays.iter().scan(0u64, |end, delay| {
            *end = end.saturating_add(delay / micros);
            Some(*end)
        });
        Self {
            ends: ends.collect(),
            micros,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn per_second(&self) -> f64 {
        1e6 / self.micros as f64
    }

    /// Seconds of the whole.
    pub(super) fn seconds(&self) -> f64 {
        self.count() as f64 / self.per_second()
    }

    /// The frame that is seen at a tick.
    fn frame_at(&self, tick: u64) -> usize {
        self.ends.partition_point(|end| *end <= tick)
    }

    /// Shows the frames of `ticks`, which ascend.
    pub(super) fn each(
        &self,
        animation: &Animation<'_>,
        ticks: &[u64],
        see: &mut dyn FnMut(RgbImage) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let mut wanted = ticks.iter().map(|tick| self.frame_at(*tick)).peekable();
        let mut failed = Ok(());
        animation.frames(&mut |index, image| {
            while wanted.next_if(|frame| *frame == index).is_some() {
                failed = see(image.clone());
                if failed.is_err() {
                    return ControlFlow::Break(());
                }
            }
            match wanted.peek() {
                Some(_) => ControlFlow::Continue(()),
                None => ControlFlow::Break(()),
            }
        })?;
        failed
    }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(millis: &[u64]) -> Ticks {
        let delays: Vec<Duration> = millis.iter().map(|m| Duration::from_millis(*m)).collect();
        Ticks::new(&delays)
    }

    #[test]
    fn equal_frames_are_ticks() {
        let even = ticks(&[40; 5]);
        assert_eq!((even.count(), even.per_second()), (5, 25.0));
        assert_eq!(
            (0..5).map(|t| even.frame_at(t)).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn a_frame_that_is_shown_longer_is_seen_at_more_ticks() {
        let uneven = ticks(&[40, 200, 60]);
        assert_eq!((uneven.count(), uneven.per_second()), (15, 50.0));
        let frames: Vec<usize> = (0..15).map(|t| uneven.frame_at(t)).collect();
        assert_eq!(frames[..3], [0, 0, 1]);
        assert_eq!(frames[11..13], [1, 2]);
        assert_eq!(frames.iter().filter(|f| **f == 1).count(), 10);
        assert!((uneven.seconds() - 0.3).abs() < 1e-9);
    }
}
