//! A picture of any size, made up: smooth colours, edges and some noise, so that its file is as
//! large as a photo's.

use ocelli_image::RgbImage;

use crate::Error;

/// A PNG file of a picture.
///
/// # Errors
/// When a side is zero or the picture cannot be encoded.
pub(super) fn png(width: u32, height: u32) -> Result<Vec<u8>, Error> {
    let wrong = |source| Error::Image {
        number: 1,
        name: Some(format!("{width}x{height}")),
        source,
    };
    let mut pixels = Vec::with_capacity(3 * width as usize * height as usize);
    for y in 0..height {
        for x in 0..width {
            let noise = x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b);
            let noise = (noise ^ noise >> 15).wrapping_mul(0x2c1b_3c6d) >> 29;
            let square = if (x / 64 + y / 48) % 3 == 0 { 40 } else { 0 };
            let slope = |part: u32, whole: u32| part * 180 / whole;
            pixels.push((slope(x, width) + noise + square) as u8);
            pixels.push((slope(y, height) + noise + 20) as u8);
            pixels.push((200 - slope(x + y, width + height) + noise) as u8);
        }
    }
    let image = RgbImage::new(width, height, pixels).map_err(wrong)?;
    image.to_png().map_err(wrong)
}
