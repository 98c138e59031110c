//! What frames with opacity are drawn on, one after the other.

use super::flatten;
use crate::{Error, RgbImage};

/// Where a frame is drawn.
pub(super) struct Place {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What becomes of the pixels under a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mix {
    /// They are gone.
    Replace,
    /// They are seen through the frame.
    Over,
}

/// `[height, width, 4]`: red, green, blue, opacity; nothing at first.
#[derive(Clone)]
pub(super) struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; width as usize * height as usize * 4],
        }
    }

    /// Some if the place is on the canvas and not empty.
    pub(super) fn check(&self, place: &Place) -> Option<()> {
        let fits = |start: u32, length: u32, side: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= side)
        };
        let inside =
            fits(place.x, place.width, self.width) && fits(place.y, place.height, self.height);
        inside.then_some(())
    }

    /// The canvas under each row of a place that was checked.
    fn rows(&mut self, place: &Place) -> impl Iterator<Item = &mut [u8]> {
        let (x, width) = (place.x as usize * 4, place.width as usize * 4);
        self.pixels
            .chunks_exact_mut(self.width as usize * 4)
            .skip(place.y as usize)
            .take(place.height as usize)
            .map(move |row| &mut row[x..x + width])
    }

    /// Draws `[height, width, 4]` pixels at a place that was checked.
    pub(super) fn draw(&mut self, place: &Place, pixels: &[u8], mix: Mix) {
        let lines = pixels.chunks_exact(place.width as usize * 4);
        for (target, line) in self.rows(place).zip(lines) {
            if mix == Mix::Replace {
                target.copy_from_slice(line);
                continue;
            }
            let (target, line) = (target.as_chunks_mut::<4>().0, line.as_chunks::<4>().0);
            for (under, over) in target.iter_mut().zip(line) {
                *under = blend(*over, *under);
            }
        }
    }

    /// Takes away what is at a place that was checked.
    pub(super) fn clear(&mut self, place: &Place) {
        self.rows(place).for_each(|row| row.fill(0));
    }

    /// The picture, on a background.
    pub(super) fn flattened(&self, background: [u8; 3]) -> Result<RgbImage, Error> {
        let pixels = self.pixels.as_chunks::<4>().0.iter();
        let pixels = pixels.flat_map(|&[r, g, b, a]| flatten([r, g, b], a, background));
        RgbImage::new(self.width, self.height, pixels.collect())
    }
}

/// `over` on `under`, both with opacity that is not multiplied in (the PNG specification's OVER).
fn blend(over: [u8; 4], under: [u8; 4]) -> [u8; 4] {
    match (over[3], under[3]) {
        (255, _) | (_, 0) => over,
        (0, _) => under,
        (top, bottom) => {
            let (top, bottom) = (u32::from(top), u32::from(bottom));
            let (u, v) = (top * 255, (255 - top) * bottom);
            let sum = u + v;
            let mix = |i: usize| {
                ((u32::from(over[i]) * u + u32::from(under[i]) * v + sum / 2) / sum) as u8
            };
            [mix(0), mix(1), mix(2), ((sum + 127) / 255) as u8]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_seen_over_what_is_under_them() {
        let (red, veil) = ([200, 0, 0, 255], [0, 100, 0, 51]);
        assert_eq!(blend(veil, red), [160, 20, 0, 255]);
        assert_eq!(blend([1, 2, 3, 0], red), red);
        assert_eq!(blend(veil, [9, 9, 9, 0]), veil);
        // Two veils of a fifth each: 0.2 + 0.8 * 0.2.
        assert_eq!(blend(veil, veil), [0, 100, 0, 92]);
    }

    #[test]
    fn places_outside_are_known() {
        let canvas = Canvas::new(4, 3);
        let fits = |x, y, width, height| {
            let place = Place {
                x,
                y,
                width,
                height,
            };
            canvas.check(&place).is_some()
        };
        assert!(fits(0, 0, 4, 3) && fits(3, 2, 1, 1));
        assert!(!fits(1, 0, 4, 3) && !fits(0, 1, 1, 3) && !fits(0, 0, 0, 1));
        assert!(!fits(u32::MAX, 0, 2, 1));
    }
}
