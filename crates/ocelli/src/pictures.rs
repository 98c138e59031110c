//! From picture files to what the encoder takes.

use std::time::{Duration, Instant};

use ocelli_engine::Picture;
use ocelli_image::boxes::Located;
use ocelli_image::{Budget, Crop, DecodeOptions, Grid, ImageRecord, RgbImage, decode, read};
use ocelli_models::VisionModel;
use sha2::{Digest as _, Sha256};

use crate::prepare::Seeing;
use crate::{Error, ImageSource};

/// Most pictures of one request.
pub const MOST_IMAGES: usize = 16;

/// What crops of a picture of a width and height are shown behind it.
pub(crate) type Crops = fn(u32, u32) -> Vec<Crop>;

/// Pictures of a request, ready for the encoder.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Each picture that was given, with its crops behind it.
    pub(crate) pictures: Vec<Picture>,
    /// How many crops each given picture has.
    pub(crate) crops: Vec<usize>,
    pub(crate) records: Vec<ImageRecord>,
    pub(crate) decode: Duration,
    pub(crate) preprocess: Duration,
}

/// Who looks at the pictures of a request, and how.
pub(crate) struct Viewing<'a> {
    pub(crate) vision: &'a dyn VisionModel,
    /// The model's own.
    pub(crate) budget: &'a Budget,
    pub(crate) seeing: &'a Seeing<'a>,
    /// How pictures are cut, where crops are shown too.
    pub(crate) crops: Option<Crops>,
}

/// What is known of a picture before it is decoded.
#[derive(Default)]
struct Before {
    /// Under which name it is remembered, if it is to be.
    name: Option<[u8; 32]>,
    found: Option<(Picture, ImageRecord)>,
}

impl Viewing<'_> {
    /// Looks whether a picture was prepared before and its features are still there.
    fn recall(&self, source: &ImageSource, budget: &Budget) -> Before {
        match (self.seeing.recognised, source) {
            (Some(recognised), ImageSource::Bytes(bytes)) if self.crops.is_none() => {
                let name = recognised.name(bytes, budget);
                Before {
                    found: recognised.find(&name),
                    name: Some(name),
                }
            }
            _ => Before::default(),
        }
    }

    fn remember(&self, name: Option<[u8; 32]>, picture: &Picture, record: ImageRecord) {
        if let (Some(recognised), Some(name)) = (self.seeing.recognised, name) {
            recognised.keep(name, picture, record);
        }
    }
}

/// How many pixels or tokens a request wants a picture to have. It can only narrow what the model was
/// opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureBudget {
    /// Smaller pictures are scaled up to this many pixels.
    pub min_pixels: Option<u64>,
    /// Larger pictures are scaled down to this many pixels.
    pub max_pixels: Option<u64>,
    /// Larger pictures are scaled down to this many tokens.
    pub max_tokens: Option<u32>,
    /// A coarse look is enough: a quarter of the most pixels.
    pub coarse: bool,
}

impl PictureBudget {
    /// The budget of picture number `index`.
    fn within(&self, own: &Budget, index: usize) -> Result<Budget, Error> {
        let area = u64::from(own.factor) * u64::from(own.factor);
        let by_tokens = self.max_tokens.map(|tokens| u64::from(tokens) * area);
        let coarse = self
            .coarse
            .then(|| (own.max_pixels / 4).max(own.min_pixels));
        let most = [self.max_pixels, by_tokens, coarse];
        let most = most.into_iter().flatten().fold(own.max_pixels, u64::min);
        let least = self.min_pixels.unwrap_or(0).max(own.min_pixels);
        if least > most {
            return Err(Error::PictureBudget {
                number: index + 1,
                least,
                most,
            });
        }
        Budget::new(own.factor, least, most).map_err(|error| Error::Settings(error.to_string()))
    }
}

impl Prepared {
    /// Decodes and preprocesses every picture.
    pub(crate) fn new(sources: &[&ImageSource], viewing: &Viewing<'_>) -> Result<Self, Error> {
        if sources.len() > MOST_IMAGES {
            return Err(Error::TooManyImages {
                found: sources.len(),
                limit: MOST_IMAGES,
            });
        }
        let mut prepared = Self::default();
        for (index, source) in sources.iter().enumerate() {
            viewing.seeing.wanted.check()?;
            prepared.add(index, source, viewing)?;
        }
        Ok(prepared)
    }

    /// Those pictures alone.
    pub(crate) fn only(&self, kept: &[usize]) -> Self {
        let first = |i: usize| self.crops[..i].iter().map(|crops| crops + 1).sum::<usize>();
        let shown = |&i: &usize| self.pictures[first(i)..=first(i) + self.crops[i]].iter();
        Self {
            pictures: kept.iter().flat_map(shown).cloned().collect(),
            crops: kept.iter().map(|&i| self.crops[i]).collect(),
            records: kept.iter().map(|&i| self.records[i]).collect(),
            decode: self.decode,
            preprocess: self.preprocess,
        }
    }

    fn add(
        &mut self,
        index: usize,
        source: &ImageSource,
        viewing: &Viewing<'_>,
    ) -> Result<(), Error> {
        let Viewing { vision, seeing, .. } = *viewing;
        let name = match source {
            ImageSource::File(path) => Some(path.display().to_string()),
            ImageSource::Bytes(_) => None,
        };
        let wrong = |source| Error::Image {
            number: index + 1,
            name: name.clone(),
            source,
        };
        let budget = match seeing.budgets.get(index) {
            Some(asked) => asked.within(viewing.budget, index)?,
            None => *viewing.budget,
        };
        let start = Instant::now();
        let seen_before = viewing.recall(source, &budget);
        if let Some((picture, record)) = seen_before.found {
            self.pictures.push(picture);
            self.records.push(record);
            self.crops.push(0);
            self.decode += start.elapsed();
            return Ok(());
        }
        let options = DecodeOptions {
            deadline: seeing.decode_time.map(|time| start + time),
            ..seeing.decode
        };
        let picture = match source {
            ImageSource::File(path) => read(path, &options),
            ImageSource::Bytes(bytes) => decode(bytes, &options),
        }
        .map_err(wrong)?;
        self.decode += start.elapsed();
        let start = Instant::now();
        let patch = vision.patch_size();
        let prepare = |image: &RgbImage| -> Result<Picture, Error> {
            let patches = vision.preprocess(std::slice::from_ref(image), &budget);
            let patches = patches.map_err(|error| match error {
                ocelli_models::Error::Image(source) => wrong(source),
                other => other.into(),
            })?;
            let key = key(image, &patches.grid, patch);
            Ok(Picture::new(patches, key))
        };
        let whole = prepare(&picture.image)?;
        let record = ImageRecord::new(&picture, whole.patches.grid, patch);
        viewing.remember(seen_before.name, &whole, record);
        self.records.push(record);
        self.pictures.push(whole);
        let (width, height) = (picture.image.width, picture.image.height);
        let crops = viewing
            .crops
            .map_or_else(Vec::new, |crops| crops(width, height));
        for crop in &crops {
            self.pictures.push(prepare(&crop.of(&picture.image))?);
        }
        self.crops.push(crops.len());
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

/// What a picture's features depend on: its pixels, the size at which they are seen, and in how many
/// squares. Every part is labelled and has its length, so that no two pictures share a key.
fn key(image: &RgbImage, grid: &Grid, patch: u32) -> [u8; 32] {
    let (width, height) = grid.pixels(patch);
    let mut hasher = Sha256::new();
    hasher.update(b"ocelli picture features 2");
    for (label, value) in [
        (b"wide", image.width),
        (b"high", image.height),
        (b"to_w", width),
        (b"to_h", height),
        (b"seen", grid.t),
    ] {
        hasher.update(label);
        hasher.update(value.to_le_bytes());
    }
    hasher.update(b"rgb8");
    hasher.update((image.pixels.len() as u64).to_le_bytes());
    hasher.update(&image.pixels);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ocelli_text::RenderOptions;

    use crate::prepare::{Seeing, Wanted};
    use crate::{Error, ImageSource, Message, Model, Part, Role};

    #[test]
    fn pictures_that_nobody_waits_for_any_more_are_not_decoded() {
        let preparer = Model::demo().unwrap().into_parts().preparer;
        let scene = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scene.png");
        // The last ones could not be read.
        let names = [scene, scene, "nosuch.png", "nosuch.png"];
        let picture = |name: &str| Part::Image(ImageSource::File(name.into()));
        let messages = [Message::new(Role::User, names.map(picture).to_vec())];
        let asked = Cell::new(0);
        let leaves_after = |count: usize| {
            asked.set(0);
            let wanted = || {
                asked.set(asked.get() + 1);
                asked.get() <= count
            };
            let seeing = Seeing {
                wanted: Wanted(Some(&wanted)),
                ..Seeing::default()
            };
            let prepared = preparer.chat(&messages, &RenderOptions::default(), &seeing);
            prepared.map(drop).unwrap_err()
        };
        assert!(matches!(leaves_after(2), Error::Ending));
        assert_eq!(asked.get(), 3);
        let unreadable = leaves_after(4).to_string();
        assert!(unreadable.contains("nosuch.png"), "{unreadable}");
    }
}
