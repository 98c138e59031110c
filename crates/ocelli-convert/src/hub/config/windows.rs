//! What the layers of Qwen2.5-VL's encoder see, and how it counts the time of videos.

use super::super::settings::Settings;
use crate::Error;

/// Side of a window in pixels that readers take where a file states none.
pub(crate) const USUAL_SIDE: u32 = 112;
/// Time positions a second that readers take where a file states none: those of all released models.
pub(crate) const USUAL_POSITIONS: u32 = 2;
/// What the modelling code takes where `config.json` leaves it out.
const DEFAULT_POSITIONS: u32 = 4;
const DEFAULT_FULL: [u32; 4] = [7, 15, 23, 31];
/// Readers expect a pattern of at most so many layers, or of as many as there are.
const USUAL_PATTERN: u32 = 8;

/// Which layers see the whole picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FullLayers {
    /// Every so many layers one does: what llama.cpp's files can say.
    Every(u32),
    /// Those of a list, which makes no pattern.
    Listed(Vec<u32>),
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub(crate) full: FullLayers,
    /// Side of a window in pixels.
    pub(crate) side: u32,
    /// Time positions of one second of a video.
    pub(crate) positions_per_second: u32,
}

impl Windows {
    /// Reads them from `vision_config`.
    pub(super) fn read(vision: Settings<'_>, layers: usize) -> Result<Self, Error> {
        let stated = vision.u32s("fullatt_block_indexes")?;
        let side = vision.u32("window_size")?.unwrap_or(USUAL_SIDE);
        let factor = vision.count("patch_size")?.saturating_mul(2);
        if (side as usize) < factor {
            let need = format!("{factor} or more, the side of a token");
            return Err(vision.error("window_size", side, need));
        }
        Ok(Self {
            full: FullLayers::of(stated.as_deref().unwrap_or(&DEFAULT_FULL), layers as u32),
            side,
            positions_per_second: vision
                .u32("tokens_per_second")?
                .unwrap_or(DEFAULT_POSITIONS),
        })
    }
}

impl FullLayers {
    /// Layers that there are not are left out, as the modelling code leaves them.
    pub(crate) fn of(indexes: &[u32], layers: u32) -> Self {
        let mut full: Vec<u32> = indexes.iter().copied().filter(|i| *i < layers).collect();
        full.sort_unstable();
        full.dedup();
        let every = match full.first() {
            Some(first) => first + 1,
            None => USUAL_PATTERN,
        };
        let pattern = (every - 1..layers).step_by(every as usize);
        match pattern.eq(full.iter().copied()) {
            true => Self::Every(every),
            false => Self::Listed(full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_list_is_a_pattern_and_another_stays_a_list() {
        use FullLayers::{Every, Listed};
        assert_eq!(FullLayers::of(&[7, 15, 23, 31], 32), Every(8));
        assert_eq!(FullLayers::of(&[3, 1], 4), Every(2));
        assert_eq!(FullLayers::of(&[0, 1, 2], 3), Every(1));
        assert_eq!(FullLayers::of(&[1, 3], 6), Listed(vec![1, 3]));
        assert_eq!(FullLayers::of(&[0, 3, 3], 4), Listed(vec![0, 3]));
    }

    #[test]
    fn layers_that_there_are_not_see_nothing() {
        use FullLayers::{Every, Listed};
        assert_eq!(FullLayers::of(&[7, 15, 23, 31], 4), Every(8));
        assert_eq!(FullLayers::of(&[7, 15, 23, 31], 12), Every(8));
        assert_eq!(FullLayers::of(&[1, 9], 3), Every(2));
        assert_eq!(FullLayers::of(&[], 7), Every(8));
        assert_eq!(FullLayers::of(&[], 8), Listed(Vec::new()));
    }
}
