//! Boxes, points and labels painted onto a picture.

use crate::boxes::{Located, Region};
use crate::{RgbImage, font};

/// Colours that stay apart from each other and from most pictures, with the colour of text on them.
const COLOURS: [([u8; 3], [u8; 3]); 8] = [
    ([230, 25, 75], [255; 3]),
    ([0, 110, 220], [255; 3]),
    ([255, 225, 25], [0; 3]),
    ([30, 150, 60], [255; 3]),
    ([245, 130, 48], [0; 3]),
    ([145, 30, 180], [255; 3]),
    ([70, 240, 240], [0; 3]),
    ([240, 50, 230], [0; 3]),
];

/// Longer labels are cut: they would cover the picture.
const MAX_LABEL: usize = 40;

/// Paints what was located, each in another colour; coordinates are pixels of this picture.
///
/// Lines and letters grow with the picture. What lies outside is left out.
pub fn draw(image: &mut RgbImage, located: &[Located]) {
    let short_side = image.width.min(image.height);
    let line = i64::from((short_side / 250).clamp(1, 8));
    let text_scale = i64::from((short_side / 160).clamp(1, 8));
    for (number, item) in located.iter().enumerate() {
        let (colour, text_colour) = COLOURS[number % COLOURS.len()];
        let mut canvas = Canvas { image, colour };
        let anchor = canvas.region(&item.region, line);
        if let Some(label) = item.label.as_deref().filter(|label| !label.is_empty()) {
            canvas.label(label, anchor, text_scale, text_colour);
        }
    }
}

/// A picture and the colour in use.
struct Canvas<'a> {
    image: &'a mut RgbImage,
    colour: [u8; 3],
}

impl Canvas<'_> {
    /// Outlines a region; returns the point above which its label goes.
    fn region(&mut self, region: &Region, line: i64) -> (i64, i64) {
        match *region {
            Region::Box {
                left,
                top,
                right,
                bottom,
            } => {
                let (left, top) = (pixel(left), pixel(top));
                let (right, bottom) = (pixel(right).max(left + 1), pixel(bottom).max(top + 1));
                self.fill(left, top, right, top + line);
                self.fill(left, bottom - line, right, bottom);
                self.fill(left, top, left + line, bottom);
                self.fill(right - line, top, right, bottom);
                (left, top)
            }
            Region::Quad(corners) => {
                for i in 0..4 {
                    self.segment(corners[i], corners[(i + 1) % 4], line);
                }
                let higher = |a: (f64, f64), b: (f64, f64)| if b.1 < a.1 { b } else { a };
                let top = corners.into_iter().fold(corners[0], higher);
                (pixel(top.0), pixel(top.1))
            }
            Region::Point(x, y) => {
                let (x, y, radius) = (pixel(x), pixel(y), 3 * line + 1);
                for dy in -radius..=radius {
                    for dx in -radius..=radius {
                        if dx * dx + dy * dy <= radius * radius {
                            self.fill(x + dx, y + dy, x + dx + 1, y + dy + 1);
                        }
                    }
                }
                (x, y - radius)
            }
        }
    }

    /// A straight line, in steps of half a pixel.
    fn segment(&mut self, from: (f64, f64), to: (f64, f64), line: i64) {
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let steps = (across.abs().max(down.abs()) * 2.0).clamp(1.0, 65_536.0);
        for step in 0..=steps as i64 {
            let share = step as f64 / steps;
            let (x, y) = (pixel(from.0 + across * share), pixel(from.1 + down * share));
            self.fill(x, y, x + line, y + line);
        }
    }

    /// Text on a plate above `anchor`, or below it where there is no room.
    fn label(&mut self, label: &str, (x, y): (i64, i64), scale: i64, text_colour: [u8; 3]) {
        let characters: Vec<char> = label.chars().take(MAX_LABEL).collect();
        let advance = (i64::from(font::WIDTH) + 1) * scale;
        let width = advance * characters.len() as i64 + 3 * scale;
        let height = (i64::from(font::HEIGHT) + 3) * scale;
        let x = x.min(i64::from(self.image.width) - width).max(0);
        let y = if y >= height { y - height } else { y };
        self.fill(x, y, x + width, y + height);
        let mut ink = Canvas {
            image: self.image,
            colour: text_colour,
        };
        for (i, &character) in characters.iter().enumerate() {
            let (left, top) = (x + 2 * scale + advance * i as i64, y + 2 * scale);
            for row in 0..font::HEIGHT {
                for column in 0..font::WIDTH {
                    if font::is_inked(character, column, row) {
                        let x = left + i64::from(column) * scale;
                        let y = top + i64::from(row) * scale;
                        ink.fill(x, y, x + scale, y + scale);
                    }
                }
            }
        }
    }

    /// Fills the pixels from (left, top) up to but not including (right, bottom).
    fn fill(&mut self, left: i64, top: i64, right: i64, bottom: i64) {
        let (width, height) = (i64::from(self.image.width), i64::from(self.image.height));
        let (left, right) = (
            left.clamp(0, width) as usize,
            right.clamp(0, width) as usize,
        );
        let (top, bottom) = (
            top.clamp(0, height) as usize,
            bottom.clamp(0, height) as usize,
        );
        if left >= right {
            return;
        }
        let stride = self.image.width as usize * 3;
        for y in top..bottom {
            let row = &mut self.image.pixels[y * stride..][left * 3..right * 3];
            for pixel in row.chunks_exact_mut(3) {
                pixel.copy_from_slice(&self.colour);
            }
        }
    }
}

/// The nearest pixel edge, bounded so that sums of several cannot overflow.
fn pixel(coordinate: f64) -> i64 {
    coordinate.round().clamp(-1e6, 1e6) as i64
}
