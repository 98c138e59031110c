//! How long decoding, resizing and cutting pictures takes: one picture of each format is timed, and stands for the others by
//! pixels.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ocelli_image::{Budget, DecodeOptions, Error, Format, ImageHeader, read};
use ocelli_models::VisionModel;

/// Times of the formats seen so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Time of the picture that was decoded, and its pixels.
    timed: HashMap<Format, (Duration, u64)>,
}

impl Pace {
    /// How long a picture takes. The first one of a format is decoded.
    ///
    /// # Errors
    /// When that one is damaged behind its header.
    pub(super) fn of(
        &mut self,
        path: &Path,
        header: &ImageHeader,
        (vision, budget): (&dyn VisionModel, &Budget),
    ) -> Result<Duration, Error> {
        let pixels = u64::from(header.width) * u64::from(header.height);
        let (time, timed) = match self.timed.get(&header.format) {
            Some(known) => *known,
            None => {
                let start = Instant::now();
                let picture = read(path, &DecodeOptions::default())?;
                // What can be wrong with a size was found with the header.
                let _ = vision.preprocess(std::slice::from_ref(&picture.image), budget);
                let timed = (start.elapsed(), pixels);
                self.timed.insert(header.format, timed);
                timed
            }
        };
        Ok(time.mul_f64(pixels as f64 / timed.max(1) as f64))
    }
}
