//! How long decoding, resizing and cutting pictures takes: pictures are timed while patience lasts,
//! and stand for the others of their format by pixels.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ocelli_image::{Budget, DecodeOptions, Error, Format, ImageHeader, read};
use ocelli_models::VisionModel;

/// How long pictures are timed one by one, all together. At least one of each format is.
const MOST_SPENT: Duration = Duration::from_millis(300);

/// Times of the formats seen so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Time of the pictures that were decoded, and their pixels.
    timed: HashMap<Format, (Duration, u64)>,
    spent: Duration,
}

impl Pace {
    /// How long a picture takes.
    ///
    /// # Errors
    /// When it is one of those that are decoded, and damaged behind its header.
    pub(super) fn of(
        &mut self,
        path: &Path,
        header: &ImageHeader,
        (vision, budget): (&dyn VisionModel, &Budget),
    ) -> Result<Duration, Error> {
        let pixels = u64::from(header.width) * u64::from(header.height);
        if let Some((time, timed)) = self.timed.get(&header.format)
            && self.spent >= MOST_SPENT
        {
            return Ok(time.mul_f64(pixels as f64 / (*timed).max(1) as f64));
        }
        let start = Instant::now();
        let picture = read(path, &DecodeOptions::default())?;
        // What can be wrong with a size was found with the header.
        let _ = vision.preprocess(std::slice::from_ref(&picture.image), budget);
        let time = start.elapsed();
        self.spent += time;
        let (sum, timed) = self.timed.entry(header.format).or_default();
        *sum += time;
        *timed += pixels;
        Ok(time)
    }
}
