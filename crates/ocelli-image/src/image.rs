//! The one pixel type of this crate: 8-bit RGB, row by row.

use crate::Error;

/// A picture as it is shown: 8-bit RGB, row-major, upright, without transparency.
///
/// `pixels` holds `[height, width, 3]` bytes; [`RgbImage::new`] checks that.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 3]` bytes.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// Takes `[height, width, 3]` bytes as a picture.
    ///
    /// # Errors
    /// [`Error::NoPixels`] if a side is zero, [`Error::PixelCount`] if the number of bytes is another one.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, Error> {
        if width == 0 || height == 0 {
            return Err(Error::NoPixels { width, height });
        }
        let need = u64::from(width) * u64::from(height) * 3;
        if need != pixels.len() as u64 {
            return Err(Error::PixelCount {
                width,
                height,
                found: pixels.len(),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// A picture of one colour.
    ///
    /// # Errors
    /// [`Error::NoPixels`] if a side is zero.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Result<Self, Error> {
        let count = width as usize * height as usize;
        let pixels = colour.iter().copied().cycle().take(count * 3).collect();
        Self::new(width, height, pixels)
    }

    /// Row `y`: `[width, 3]` bytes. Panics if `y` is not below `height`.
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.width as usize * 3;
        &self.pixels[y as usize * stride..][..stride]
    }

    /// The colour at column `x`, row `y`; `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = x as usize * 3;
        let row = self.row(y);
        Some([row[at], row[at + 1], row[at + 2]])
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::Encode`] if the encoder refuses the size.
    pub fn to_png(&self) -> Result<Vec<u8>, Error> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let failed = |error: png::EncodingError| Error::Encode(error.to_string());
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(file)
    }
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}
