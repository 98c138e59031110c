//! How the families see videos: where frames find their place in time.

use ocelli_image::VideoRule;

use crate::VisionModel;

/// How the frames of a video find their place in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeRule {
    /// One time position a temporal patch, however long it lasts.
    Patches,
    /// So many time positions a second.
    Seconds {
        /// Positions of one second.
        positions: f64,
    },
    /// The time stands as text before each temporal patch, which is a picture of its own.
    Timestamps,
}

impl TimeRule {
    /// Time positions from one temporal patch of `seconds` to the next; none where text says the time.
    pub fn step(self, seconds: f64) -> Option<f64> {
        match self {
            Self::Patches => Some(1.0),
            // In single precision, as the reference: whole positions are cut from it.
            Self::Seconds { positions } => Some(f64::from(positions as f32 * seconds as f32)),
            Self::Timestamps => None,
        }
    }
}

/// How a family sees videos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoRules {
    /// The control token that the template puts where a video goes.
    pub token: &'static str,
    /// How frames find their place in time.
    pub time: TimeRule,
    /// How frames are chosen and sized.
    pub size: VideoRule,
}

impl VideoRules {
    /// The rules with what the projector's file says about time.
    #[must_use]
    pub fn stated_by(mut self, vision: &dyn VisionModel) -> Self {
        if let (TimeRule::Seconds { positions }, Some(stated)) =
            (&mut self.time, vision.positions_per_second())
        {
            *positions = stated;
        }
        self
    }
}

/// The text before a temporal patch whose frames are `seconds` from the start, on average.
pub fn timestamp(seconds: f64) -> String {
    format!("<{seconds:.1} seconds>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_round_ties_to_even_as_the_reference_does() {
        assert_eq!(timestamp(0.25), "<0.2 seconds>");
        assert_eq!(timestamp(0.75), "<0.8 seconds>");
        assert_eq!(timestamp(1.625), "<1.6 seconds>");
        assert_eq!(timestamp(1.0 / 3.0), "<0.3 seconds>");
    }
}
