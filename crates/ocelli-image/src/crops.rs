//! Crops that are shown beside a long picture, so that small things in it are not lost when the
//! whole is squeezed into a square.
//!
//! Source: HF `image_processing_gemma3.py` (`pan_and_scan`), with its default settings.

use crate::RgbImage;

/// Long side over short side from which a picture is cut.
const LEAST_RATIO: f64 = 1.2;
/// No side of a crop is shorter than this.
const LEAST_SIDE: u32 = 256;
/// Most crops of a picture.
const MOST_CROPS: u32 = 4;

/// A part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

/// The crops of a picture of this size along its longer side; none when it is nearly square or small.
pub fn pan_and_scan(width: u32, height: u32) -> Vec<Crop> {
    let is_wide = width >= height;
    let (long, short) = if is_wide {
        (width, height)
    } else {
        (height, width)
    };
    if short == 0 || f64::from(long) / f64::from(short) < LEAST_RATIO {
        return Vec::new();
    }
    let ratio = (f64::from(long) / f64::from(short) + 0.5).floor() as u32;
    let count = ratio.min(long / LEAST_SIDE).clamp(2, MOST_CROPS);
    let step = long.div_ceil(count);
    if step.min(short) < LEAST_SIDE {
        return Vec::new();
    }
    (0..count)
        .map(|i| (i * step, step.min(long - i * step)))
        .map(|(start, length)| match is_wide {
            true => Crop {
                left: start,
                top: 0,
                width: length,
                height,
            },
            false => Crop {
                left: 0,
                top: start,
                width,
                height: length,
            },
        })
        .collect()
}

impl Crop {
    /// This part of a picture, which must contain it.
    pub fn of(&self, picture: &RgbImage) -> RgbImage {
        let (start, end) = (
            self.left as usize * 3,
            (self.left + self.width) as usize * 3,
        );
        let rows = self.top..self.top + self.height;
        RgbImage {
            width: self.width,
            height: self.height,
            pixels: rows
                .flat_map(|y| picture.row(y)[start..end].to_vec())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(width: u32, height: u32) -> Vec<(u32, u32)> {
        let crops = pan_and_scan(width, height);
        crops.iter().map(|c| (c.width, c.height)).collect()
    }

    #[test]
    fn pictures_are_cut_as_the_reference_cuts_them() {
        assert_eq!(sizes(2000, 800), [(667, 800), (667, 800), (666, 800)]);
        assert_eq!(sizes(800, 2000), [(800, 667), (800, 667), (800, 666)]);
        assert_eq!(sizes(1200, 1000), [(600, 1000); 2]);
        assert_eq!(sizes(3000, 500), [(750, 500); 4]);
        assert!(sizes(1000, 900).is_empty() && sizes(500, 300).is_empty());
    }

    #[test]
    fn crops_cover_the_picture_side_by_side_whatever_its_size() {
        for (width, height) in [(1, 1), (513, 256), (1025, 300), (4097, 4096), (300, 60_000)] {
            let mut end = 0;
            for crop in pan_and_scan(width, height) {
                assert_eq!(crop.left.max(crop.top), end);
                end = match width >= height {
                    true => crop.left + crop.width,
                    false => crop.top + crop.height,
                };
            }
            assert!(end == 0 || end == width.max(height), "{width}x{height}");
        }
    }

    #[test]
    fn a_crop_has_its_own_pixels() {
        let pixels = (0..4 * 2 * 3).collect();
        let picture = RgbImage::new(4, 2, pixels).unwrap();
        let crop = Crop {
            left: 1,
            top: 1,
            width: 2,
            height: 1,
        };
        assert_eq!(crop.of(&picture).pixels, [15, 16, 17, 18, 19, 20]);
    }
}
