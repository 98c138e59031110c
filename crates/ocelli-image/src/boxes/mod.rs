//! A model's coordinates, in the pixels of the user's own picture.
//!
//! Families write places in different ways ([`Convention`]) and all of them write them as text, which may be
//! cut off, unfenced or out of range. [`locate`] reads what can be read and answers in the pixels of the
//! picture as it is displayed.
//!
//! ```
//! use ocelli_image::boxes::{Convention, Region, View, locate};
//!
//! let answer = "```json\n[{\"bbox_2d\": [500, 0, 1000, 500], \"label\": \"cat\"}]\n```";
//! let view = View { width: 640, height: 480, resized_width: 640, resized_height: 480 };
//! let found = locate(answer, Convention::Relative1000, &view);
//! assert_eq!(found[0].label.as_deref(), Some("cat"));
//! assert_eq!(found[0].region, Region::Box { left: 320.0, top: 0.0, right: 640.0, bottom: 240.0 });
//! ```

mod json;
mod tagged;

use crate::ImageRecord;

/// How a model family writes places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Convention {
    /// JSON, 0 to 1000 along each side: Qwen3-VL.
    Relative1000,
    /// JSON, pixels of the resized picture that the encoder saw: Qwen2.5-VL.
    ResizedPixels,
    /// `<|box_start|>(x1,y1),(x2,y2)<|box_end|>`, 0 to 1000 along each side: Qwen2-VL.
    Tagged1000,
}

/// The sizes between which coordinates are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Displayed width, the user's.
    pub width: u32,
    /// Displayed height, the user's.
    pub height: u32,
    /// Width at which the encoder saw the picture.
    pub resized_width: u32,
    /// Height at which the encoder saw the picture.
    pub resized_height: u32,
}

impl From<&ImageRecord> for View {
    fn from(record: &ImageRecord) -> Self {
        Self {
            width: record.width,
            height: record.height,
            resized_width: record.resized_width,
            resized_height: record.resized_height,
        }
    }
}

/// Where something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Region {
    /// An upright rectangle; `left <= right` and `top <= bottom`.
    Box {
        /// Smallest x.
        left: f64,
        /// Smallest y.
        top: f64,
        /// Largest x.
        right: f64,
        /// Largest y.
        bottom: f64,
    },
    /// Four corners (x, y) in the model's order.
    Quad([(f64, f64); 4]),
    /// One place (x, y).
    Point(f64, f64),
}

/// Something that a model has located.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// What the model calls it, if it says so.
    pub label: Option<String>,
    /// Where it is.
    pub region: Region,
}

/// Reads all boxes, quadrilaterals and points of an answer, in pixels of the displayed picture.
///
/// Corners in the wrong order are sorted and places outside are moved to the border. An entry without all
/// of its numbers is left out; an answer that is cut off keeps what came before. Nothing found is an empty
/// list.
pub fn locate(answer: &str, convention: Convention, view: &View) -> Vec<Located> {
    let written = match convention {
        Convention::Relative1000 | Convention::ResizedPixels => json::parse(answer),
        Convention::Tagged1000 => tagged::parse(answer),
    };
    let (unit_x, unit_y) = match convention {
        Convention::ResizedPixels => (
            f64::from(view.resized_width),
            f64::from(view.resized_height),
        ),
        Convention::Relative1000 | Convention::Tagged1000 => (1000.0, 1000.0),
    };
    let (width, height) = (f64::from(view.width), f64::from(view.height));
    let place = |(x, y): (f64, f64)| {
        // Multiplied first, whole numbers stay exact and the quotient is the nearest number:
        // 303.84, not 303.84000000000003.
        let (x, y) = (x * width / unit_x.max(1.0), y * height / unit_y.max(1.0));
        (x.clamp(0.0, width), y.clamp(0.0, height))
    };
    let moved = |entry: Written| Located {
        label: entry.label,
        region: region(entry.corners.map(place)),
    };
    written.into_iter().map(moved).collect()
}

/// Something located, in the model's own numbers.
struct Written {
    label: Option<String>,
    corners: Corners,
}

#[derive(Clone, Copy)]
enum Corners {
    One((f64, f64)),
    Two([(f64, f64); 2]),
    Four([(f64, f64); 4]),
}

impl Corners {
    /// As many corners as there are pairs of numbers: 1, 2 or 4, all of them finite.
    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        if !numbers.iter().all(|number| number.is_finite()) {
            return None;
        }
        match *numbers {
            [x, y] => Some(Self::One((x, y))),
            [x1, y1, x2, y2] => Some(Self::Two([(x1, y1), (x2, y2)])),
            [a, b, c, d, e, f, g, h] => Some(Self::Four([(a, b), (c, d), (e, f), (g, h)])),
            _ => None,
        }
    }

    fn map(self, place: impl Fn((f64, f64)) -> (f64, f64)) -> Self {
        match self {
            Self::One(corner) => Self::One(place(corner)),
            Self::Two(corners) => Self::Two(corners.map(place)),
            Self::Four(corners) => Self::Four(corners.map(place)),
        }
    }
}

fn region(corners: Corners) -> Region {
    match corners {
        Corners::One((x, y)) => Region::Point(x, y),
        Corners::Two([(x1, y1), (x2, y2)]) => Region::Box {
            left: x1.min(x2),
            top: y1.min(y2),
            right: x1.max(x2),
            bottom: y1.max(y2),
        },
        Corners::Four(corners) => Region::Quad(corners),
    }
}
