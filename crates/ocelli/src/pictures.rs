//! From picture files to what the encoder takes.

use std::time::{Duration, Instant};

use ocelli_engine::Picture;
use ocelli_image::boxes::Located;
use ocelli_image::{Budget, DecodeOptions, ImageRecord, decode, read};
use ocelli_models::VisionModel;
use sha2::{Digest as _, Sha256};

use crate::{Error, ImageSource};

/// Most pictures of one request.
pub(crate) const MOST_IMAGES: usize = 16;

/// Pictures of a request, ready for the encoder.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) pictures: Vec<Picture>,
    pub(crate) records: Vec<ImageRecord>,
    pub(crate) decode: Duration,
    pub(crate) preprocess: Duration,
}

impl Prepared {
    /// Decodes and preprocesses every picture.
    pub(crate) fn new(
        sources: &[&ImageSource],
        vision: &dyn VisionModel,
        budget: &Budget,
    ) -> Result<Self, Error> {
        if sources.len() > MOST_IMAGES {
            return Err(Error::TooManyImages {
                found: sources.len(),
                limit: MOST_IMAGES,
            });
        }
        let mut prepared = Self::default();
        for (index, source) in sources.iter().enumerate() {
            prepared.add(index, source, vision, budget)?;
        }
        Ok(prepared)
    }

    fn add(
        &mut self,
        index: usize,
        source: &ImageSource,
        vision: &dyn VisionModel,
        budget: &Budget,
    ) -> Result<(), Error> {
        let name = match source {
            ImageSource::File(path) => Some(path.display().to_string()),
            ImageSource::Bytes(_) => None,
        };
        let wrong = |source| Error::Image {
            number: index + 1,
            name: name.clone(),
            source,
        };
        let options = DecodeOptions::default();
        let start = Instant::now();
        let picture = match source {
            ImageSource::File(path) => read(path, &options),
            ImageSource::Bytes(bytes) => decode(bytes, &options),
        }
        .map_err(wrong)?;
        self.decode += start.elapsed();
        let start = Instant::now();
        let frames = std::slice::from_ref(&picture.image);
        let patches = vision
            .preprocess(frames, budget)
            .map_err(|error| match error {
                ocelli_models::Error::Image(source) => wrong(source),
                other => other.into(),
            })?;
        let patch = vision.patch_size();
        let record = ImageRecord::new(&picture, patches.grid, patch);
        self.pictures.push(Picture {
            key: key(&picture.image, &record),
            patches,
        });
        self.records.push(record);
        self.preprocess += start.elapsed();
        Ok(())
    }
}

/// A picture, upright and on white as the model saw it, with boxes and points drawn on it: a PNG file.
///
/// # Errors
/// When the picture cannot be read.
pub fn draw(picture: &ImageSource, located: &[Located]) -> Result<Vec<u8>, Error> {
    let wrong = |source| Error::Image {
        number: 1,
        name: match picture {
            ImageSource::File(path) => Some(path.display().to_string()),
            ImageSource::Bytes(_) => None,
        },
        source,
    };
    let options = DecodeOptions::default();
    let decoded = match picture {
        ImageSource::File(path) => read(path, &options),
        ImageSource::Bytes(bytes) => decode(bytes, &options),
    };
    let mut image = decoded.map_err(wrong)?.image;
    ocelli_image::draw::draw(&mut image, located);
    image.to_png().map_err(wrong)
}

/// What a picture's features depend on: its pixels and the size at which they are seen. Every part is
/// labelled and has its length, so that no two pictures share a key.
fn key(image: &ocelli_image::RgbImage, record: &ImageRecord) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"ocelli picture features 1");
    for (label, value) in [
        (b"wide", image.width),
        (b"high", image.height),
        (b"to_w", record.resized_width),
        (b"to_h", record.resized_height),
    ] {
        hasher.update(label);
        hasher.update(value.to_le_bytes());
    }
    hasher.update(b"rgb8");
    hasher.update((image.pixels.len() as u64).to_le_bytes());
    hasher.update(&image.pixels);
    hasher.finalize().into()
}
