//! Moving pictures of GIF, WebP and APNG files: how long each frame is shown, and the frames as
//! they are seen.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{DecodeOptions, Format, gif, png_frames, webp};
use crate::{Error, RgbImage, decode};

/// Most frames of an animation.
pub const MAX_ANIMATION_FRAMES: usize = 16_384;

/// Most pixels of an animation, all frames together: some ten seconds of decoding.
pub const MAX_ANIMATION_PIXELS: u64 = 1 << 32;

/// How long a frame is shown that asks for 10 ms or less: what every browser makes of it.
const HURRIED: Duration = Duration::from_millis(100);

/// Gets a frame's index and its picture; can end the showing.
pub(super) type See<'a> = &'a mut dyn FnMut(usize, &RgbImage) -> ControlFlow<()>;

/// What is known before a frame is unpacked.
pub(super) struct Survey {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) delays: Vec<Duration>,
}

/// An animation whose headers were read: nothing is decoded yet.
///
/// ```
/// use ocelli_image::{Animation, DecodeOptions, RgbImage};
/// # let file = RgbImage::filled(4, 3, [9, 9, 9]).unwrap().to_png().unwrap();
/// let animation = Animation::open(&file, &DecodeOptions::default())?;
/// assert_eq!((animation.width(), animation.height(), animation.delays().len()), (4, 3, 1));
/// # Ok::<(), ocelli_image::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Animation<'a> {
    bytes: &'a [u8],
    options: DecodeOptions,
    format: Format,
    width: u32,
    height: u32,
    delays: Vec<Duration>,
}

impl<'a> Animation<'a> {
    /// Reads the headers of a file. A still picture is an animation of one frame.
    ///
    /// # Errors
    /// As [`decode`], and [`Error::LongAnimation`] for more than [`MAX_ANIMATION_FRAMES`] or
    /// [`MAX_ANIMATION_PIXELS`].
    pub fn open(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self, Error> {
        let format = super::check_file(bytes, options)?;
        let survey = match format {
            Format::Gif => Some(gif::survey(bytes, options)?),
            Format::WebP => webp::survey(bytes, options)?,
            Format::Png => png_frames::survey(bytes, options)?,
            Format::Jpeg | Format::Bmp => None,
        };
        let survey = match survey {
            Some(survey) => survey,
            None => still(bytes, options)?,
        };
        Ok(Self {
            bytes,
            options: *options,
            format,
            width: survey.width,
            height: survey.height,
            delays: survey.delays,
        })
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Columns of every frame.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of every frame.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How long each frame is shown. Files that ask for 10 ms or less get a tenth of a second, as
    /// in browsers.
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// Shows every frame in order, composed with those before it and without transparency, until `see` has
    /// enough.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn frames(
        &self,
        see: &mut dyn FnMut(usize, &RgbImage) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut in_time = Ok(());
        let see: See<'_> = &mut |index, image| {
            in_time = self.options.check_time();
            match in_time {
                Ok(()) => see(index, image),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let shown = self.show(see);
        shown.and(in_time)
    }

    fn show(&self, see: See<'_>) -> Result<(), Error> {
        match self.format {
            Format::Gif => gif::frames(self.bytes, &self.options, see),
            Format::WebP if self.delays.len() > 1 => webp::frames(self.bytes, &self.options, see),
            Format::Png if self.delays.len() > 1 => {
                png_frames::frames(self.bytes, &self.options, see)
            }
            _ => {
                // The one frame was shown; nobody is left to be told to stop.
                let _ = see(0, &decode(self.bytes, &self.options)?.image);
                Ok(())
            }
        }
    }
}

/// A still picture, which is decoded to know its upright size.
fn still(bytes: &[u8], options: &DecodeOptions) -> Result<Survey, Error> {
    let image = decode(bytes, options)?.image;
    Ok(Survey {
        width: image.width,
        height: image.height,
        delays: vec![Duration::ZERO],
    })
}

/// How long a frame is shown that asks for `delay`.
pub(super) fn shown_for(delay: Duration) -> Duration {
    match delay <= Duration::from_millis(10) {
        true => HURRIED,
        false => delay,
    }
}

/// Refuses an animation that is too long for its size.
pub(super) fn check_frames(frames: usize, width: u32, height: u32) -> Result<(), Error> {
    let pixels = (frames as u64).saturating_mul(u64::from(width) * u64::from(height));
    if frames <= MAX_ANIMATION_FRAMES && (frames == 1 || pixels <= MAX_ANIMATION_PIXELS) {
        return Ok(());
    }
    Err(Error::LongAnimation {
        frames,
        width,
        height,
    })
}
