//! The size rules of encoders that take any shape up to a longest side, and of those that crop to a square.

use crate::size::check_sides;
use crate::{Budget, Error, Filter, Grid, RgbImage, resize_with};

/// The size (width, height) at which a picture enters an encoder whose sides are at most `longest`: scaled
/// down to it if need be, then stretched up to multiples of the budget's factor. A budget that the picture
/// does not keep scales it further, with the aspect ratio nearly kept.
///
/// Source: HF `image_processing_pixtral.py`, `get_resize_output_image_size`; the budget is Ocelli's own.
///
/// # Errors
/// [`Error::NoPixels`] if a side is zero, [`Error::Aspect`] if the sides differ by more than
/// [`crate::MAX_ASPECT`].
pub fn edge_resize(
    width: u32,
    height: u32,
    longest: u32,
    budget: &Budget,
) -> Result<(u32, u32), Error> {
    check_sides(width, height)?;
    let (mut w, mut h) = (f64::from(width), f64::from(height));
    let ratio = (h / f64::from(longest)).max(w / f64::from(longest));
    if ratio > 1.0 {
        (w, h) = ((w / ratio).floor(), (h / ratio).floor());
    }
    let factor = f64::from(budget.factor);
    let up = |side: f64| (side / factor).ceil().max(1.0) * factor;
    let down = |side: f64| (side / factor).floor().max(1.0) * factor;
    let (least, most) = (budget.min_pixels as f64, budget.max_pixels as f64);
    let area = up(w) * up(h);
    let (w, h) = if area > most {
        let shrink = (w * h / most).sqrt().max(1.0);
        (down(w / shrink), down(h / shrink))
    } else if area < least {
        let grow = (least / (w.max(1.0) * h.max(1.0))).sqrt();
        (up(w.max(1.0) * grow), up(h.max(1.0) * grow))
    } else {
        (up(w), up(h))
    };
    Ok((w as u32, h as u32))
}

impl Grid {
    /// The grid of a still picture whose sides are at most `longest` pixels, see [`edge_resize`].
    ///
    /// # Errors
    /// Those of [`edge_resize`].
    pub fn within_edge(
        (width, height): (u32, u32),
        longest: u32,
        budget: &Budget,
        (patch_size, merge): (u32, u32),
    ) -> Result<Self, Error> {
        let factor = patch_size.checked_mul(merge).filter(|&factor| factor != 0);
        if factor != Some(budget.factor) {
            return Err(Error::Budget(format!(
                "factor {}, need patch size {patch_size} times merge {merge}",
                budget.factor
            )));
        }
        let (w, h) = edge_resize(width, height, longest, budget)?;
        Ok(Self {
            t: 1,
            h: h / patch_size,
            w: w / patch_size,
            merge,
            tiles: None,
        })
    }
}

/// The middle square of a picture, `side` pixels wide and high, after its short side was scaled to `side`.
/// What lies outside is lost.
///
/// Source: HF `image_processing_clip.py` (`shortest_edge`, `center_crop`).
///
/// # Errors
/// [`Error::NoPixels`] if a side is zero, [`Error::Aspect`] if the sides differ by more than
/// [`crate::MAX_ASPECT`].
pub fn middle_square(image: &RgbImage, side: u32, filter: Filter) -> Result<RgbImage, Error> {
    check_sides(image.width, image.height)?;
    let (long, short) = (image.width.max(image.height), image.width.min(image.height));
    let scaled = (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
    let (width, height) = match image.width <= image.height {
        true => (side, scaled),
        false => (scaled, side),
    };
    let whole = resize_with(image, width, height, filter);
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let row = |y: u32| &whole.row(top + y)[3 * left as usize..][..3 * side as usize];
    Ok(RgbImage {
        width: side,
        height: side,
        pixels: (0..side).flat_map(row).copied().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(factor: u32, least: u32, most: u32) -> Budget {
        Budget::from_tokens(factor, least, most).unwrap()
    }

    #[test]
    fn sides_are_those_of_the_reference() {
        let own = budget(28, 1, 3025);
        for (from, to) in [
            ((640, 480), (644, 504)),
            ((1024, 768), (1036, 784)),
            ((4000, 3000), (1540, 1176)),
            ((1541, 100), (1540, 112)),
            ((30, 2000), (28, 1540)),
            ((28, 28), (28, 28)),
            ((1540, 1540), (1540, 1540)),
        ] {
            assert_eq!(edge_resize(from.0, from.1, 1540, &own).unwrap(), to);
        }
    }

    #[test]
    fn a_budget_is_kept_by_every_shape_or_bounded_by_what_it_says() {
        for (least, most) in [(1, 1), (1, 64), (64, 64), (1, 3025), (400, 500)] {
            let budget = budget(28, least, most);
            for width in [1, 27, 29, 100, 800, 1539, 1541, 9000] {
                for height in [1, 28, 57, 300, 1540, 8999] {
                    let Ok((w, h)) = edge_resize(width, height, 1540, &budget) else {
                        continue;
                    };
                    assert!(w.is_multiple_of(28) && h.is_multiple_of(28) && w * h > 0);
                    let tokens = u64::from(w / 28) * u64::from(h / 28);
                    assert!(tokens <= budget.most_tokens(), "{width}x{height}: {tokens}");
                }
            }
        }
    }

    #[test]
    fn extreme_shapes_and_empty_pictures_are_refused() {
        assert!(edge_resize(201, 1, 1540, &budget(28, 1, 3025)).is_err());
        assert!(edge_resize(0, 9, 1540, &budget(28, 1, 3025)).is_err());
        let thin = RgbImage::filled(1, 500, [0; 3]).unwrap();
        assert!(middle_square(&thin, 336, Filter::Bicubic).is_err());
    }

    #[test]
    fn the_middle_is_kept_and_the_borders_are_lost() {
        let mut image = RgbImage::filled(8, 4, [0; 3]).unwrap();
        for y in 0..4 {
            for x in 2..6 {
                image.pixels[3 * (y * 8 + x)] = 200;
            }
        }
        let got = middle_square(&image, 4, Filter::Bicubic).unwrap();
        assert_eq!((got.width, got.height), (4, 4));
        assert!(got.pixels.chunks(3).all(|pixel| pixel == [200, 0, 0]));
    }
}
