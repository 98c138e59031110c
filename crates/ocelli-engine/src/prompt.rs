//! A prompt as the model takes it: tokens with pictures laid out in their places.

mod keys;

use std::ops::Range;

use ocelli_image::Grid;
use ocelli_models::{Join, LaidOut, Segment};

use crate::Error;
use keys::paced;

pub use keys::RowKey;

/// A picture's content, for reuse: equal keys mean equal rows.
pub type ImageKey = [u8; 32];

/// What the prompt needs to know of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSlot {
    /// Its size in patches.
    pub grid: Grid,
    /// Its content.
    pub key: ImageKey,
}

/// What of a request a picture belongs to; both are counted for themselves, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A still picture, which is its own.
    Image(usize),
    /// A video: each of its temporal patches is a picture to the encoder, since no patch sees another frame.
    Video(usize),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(index) => write!(f, "image {}", index + 1),
            Self::Video(index) => write!(f, "video {}", index + 1),
        }
    }
}

/// What goes to one place of the template.
#[derive(Clone, Debug, PartialEq)]
pub struct Medium {
    /// Its size in patches; several temporal patches in the place of a whole video.
    pub grid: Grid,
    /// Content of each temporal patch.
    pub keys: Vec<ImageKey>,
    /// What it belongs to.
    pub owner: Owner,
    /// Time positions from one temporal patch to the next; none where there is one.
    pub step: Option<f64>,
}

/// Rows of a prompt that a picture fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpan {
    /// Index of the picture.
    pub image: usize,
    /// Rows of the encoder's output.
    pub from: Range<usize>,
    /// Tokens of the prompt.
    pub tokens: Range<usize>,
}

/// Tokens, where pictures stand among them, and what positions make of both.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// Every token, image rows holding the image token's id.
    pub tokens: Vec<u32>,
    /// Rows that pictures fill.
    pub images: Vec<ImageSpan>,
    /// Runs of rows that see each other both ways: a step runs all rows of one or none.
    pub blocks: Vec<Range<usize>>,
    /// Runs of text and pictures in order.
    pub segments: Vec<Segment>,
    /// Content of each picture, in order.
    pub keys: Vec<ImageKey>,
    /// What each picture belongs to.
    pub owners: Vec<Owner>,
}

/// How pictures are laid out among the tokens.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The pair's row.
    pub join: &'static Join,
    /// Ids of [`Join::marks`], in their order.
    pub marks: Vec<u32>,
}

impl Prompt {
    /// Puts pictures where the template left an image token: `slots` are the indices of those tokens.
    ///
    /// # Errors
    /// When there are more or fewer pictures than slots, or pictures and no layout.
    pub fn new(
        ids: &[u32],
        slots: &[usize],
        pictures: &[ImageSlot],
        layout: Option<&Layout>,
    ) -> Result<Self, Error> {
        let media: Vec<Medium> = pictures
            .iter()
            .enumerate()
            .map(|(image, picture)| Medium {
                grid: picture.grid,
                keys: vec![picture.key],
                owner: Owner::Image(image),
                step: None,
            })
            .collect();
        Self::with_media(ids, slots, &media, layout)
    }

    /// Puts pictures and videos where the template left a place: `slots` are the indices of those tokens.
    ///
    /// # Errors
    /// When there are more or fewer media than slots, or media and no layout.
    pub fn with_media(
        ids: &[u32],
        slots: &[usize],
        media: &[Medium],
        layout: Option<&Layout>,
    ) -> Result<Self, Error> {
        if slots.len() != media.len() || (layout.is_none() && !media.is_empty()) {
            return Err(Error::ImageSlots {
                slots: slots.len(),
                images: media.len(),
            });
        }
        let mut prompt = Self::default();
        let mut done = 0;
        for (&slot, medium) in slots.iter().zip(media) {
            prompt.push_text(&ids[done..slot]);
            let image = prompt.keys.len();
            match (layout, medium.step) {
                (Some(_), Some(step)) => prompt.push_video(image, ids[slot], &medium.grid, step),
                (Some(layout), None) => {
                    prompt.push_image(image, ids[slot], &medium.grid, layout);
                }
                (None, _) => {}
            }
            // Rows of one picture have other places in a video of another pace.
            let paced = |key: &ImageKey| medium.step.map_or(*key, |step| paced(key, step));
            prompt.keys.extend(medium.keys.iter().map(paced));
            prompt.owners.resize(prompt.keys.len(), medium.owner);
            done = slot + 1;
        }
        prompt.push_text(&ids[done..]);
        Ok(prompt)
    }

    /// Rows of a video, temporal patch after temporal patch, each a picture from `first` on.
    fn push_video(&mut self, first: usize, token: u32, grid: &Grid, step: f64) {
        let rows = grid.merged_h() as usize * grid.merged_w() as usize;
        for patch in 0..grid.t as usize {
            let start = self.tokens.len();
            self.tokens.resize(start + rows, token);
            self.images.push(ImageSpan {
                image: first + patch,
                from: 0..rows,
                tokens: start..start + rows,
            });
        }
        let grid = *grid;
        self.segments.push(Segment::Video { grid, step });
    }

    fn push_text(&mut self, ids: &[u32]) {
        if !ids.is_empty() {
            self.tokens.extend_from_slice(ids);
            self.segments.push(Segment::Text(ids.len()));
        }
    }

    fn push_image(&mut self, image: usize, token: u32, grid: &Grid, layout: &Layout) {
        let mut row = 0;
        for piece in (layout.join.lay_out)(grid) {
            match piece {
                LaidOut::Mark(mark) => self.push_text(&layout.marks[mark..=mark]),
                LaidOut::Rows(rows) | LaidOut::Block(rows) => {
                    self.segments.push(Segment::Image(run_of(grid, rows)));
                    let start = self.tokens.len();
                    if matches!(piece, LaidOut::Block(_)) {
                        self.blocks.push(start..start + rows);
                    }
                    self.tokens.resize(start + rows, token);
                    self.images.push(ImageSpan {
                        image,
                        from: row..row + rows,
                        tokens: start..start + rows,
                    });
                    row += rows;
                }
            }
        }
    }
}

/// What positions see of a run of a picture's rows: the whole picture, or a strip as long as the run.
fn run_of(grid: &Grid, rows: usize) -> Grid {
    match rows == grid.tokens() {
        true => *grid,
        false => Grid {
            t: 1,
            h: grid.merge,
            w: grid.merge * rows as u32,
            merge: grid.merge,
            tiles: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const PAD: u32 = 9;

    fn rows_only(grid: &Grid) -> Vec<LaidOut> {
        vec![LaidOut::Rows(grid.tokens())]
    }

    fn rows_and_break(grid: &Grid) -> Vec<LaidOut> {
        let row = LaidOut::Rows(grid.merged_w() as usize);
        vec![row, LaidOut::Mark(1), row, LaidOut::Mark(0)]
    }

    pub(super) static JOIN: Join = Join {
        text: "t",
        projector: "p",
        image_token: "<pad>",
        marks: &[],
        foreign: &[],
        lay_out: rows_only,
        boxes: None,
        crops: None,
        video: None,
    };

    static WITH_MARKS: Join = Join {
        marks: &["<end>", "<break>"],
        lay_out: rows_and_break,
        ..JOIN
    };

    pub(super) fn layout(join: &'static Join) -> Layout {
        let marks = (0..join.marks.len()).map(|mark| 20 + mark as u32).collect();
        Layout { join, marks }
    }

    pub(super) fn picture(h: u32, w: u32, content: u8) -> ImageSlot {
        ImageSlot {
            grid: Grid {
                t: 1,
                h,
                w,
                merge: 2,
                tiles: None,
            },
            key: [content; 32],
        }
    }

    pub(super) fn prompt(ids: &[u32], pictures: &[ImageSlot]) -> Prompt {
        let slots: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == PAD).collect();
        Prompt::new(ids, &slots, pictures, Some(&layout(&JOIN))).unwrap()
    }

    #[test]
    fn each_slot_becomes_as_many_tokens_as_its_picture_has() {
        let got = prompt(&[1, PAD, 2, PAD], &[picture(4, 2, 0), picture(2, 2, 1)]);
        assert_eq!(got.tokens, [1, PAD, PAD, 2, PAD]);
        assert_eq!(got.images[1].tokens, 4..5);
        assert_eq!(got.segments.len(), 4);
    }

    #[test]
    fn pictures_without_a_slot_are_an_error_with_both_numbers() {
        let error =
            Prompt::new(&[1, 2], &[], &[picture(2, 2, 0)], Some(&layout(&JOIN))).unwrap_err();
        assert!(error.to_string().contains('1') && error.to_string().contains('0'));
    }

    #[test]
    fn pictures_without_a_layout_are_never_dropped() {
        assert!(Prompt::new(&[PAD], &[0], &[picture(2, 2, 0)], None).is_err());
    }

    #[test]
    fn marks_stand_among_the_rows_and_count_as_text() {
        let layout = layout(&WITH_MARKS);
        let got = Prompt::new(&[1, PAD, 2], &[1], &[picture(4, 6, 0)], Some(&layout)).unwrap();
        assert_eq!(got.tokens, [1, PAD, PAD, PAD, 21, PAD, PAD, PAD, 20, 2]);
        let spans: Vec<_> = got
            .images
            .iter()
            .map(|s| (s.from.clone(), s.tokens.clone()))
            .collect();
        assert_eq!(spans, [(0..3, 1..4), (3..6, 5..8)]);
        let positions = ocelli_models::one_axis_positions(&got.segments);
        assert_eq!(positions.tokens.len(), got.tokens.len());
    }

    #[test]
    fn temporal_patches_of_a_video_are_pictures_in_one_place() {
        let video = Medium {
            grid: Grid {
                t: 2,
                ..picture(2, 4, 0).grid
            },
            keys: vec![[1; 32], [2; 32]],
            owner: Owner::Video(0),
            step: Some(1.5),
        };
        let grid = video.grid;
        let got = Prompt::with_media(&[1, PAD, 2], &[1], &[video], Some(&layout(&JOIN))).unwrap();
        assert_eq!(got.tokens, [1, PAD, PAD, PAD, PAD, 2]);
        assert_eq!(
            (got.images[1].image, got.images[1].tokens.clone()),
            (1, 3..5)
        );
        assert_eq!(got.owners, [Owner::Video(0); 2]);
        assert_eq!(got.segments[1], Segment::Video { grid, step: 1.5 });
    }
}
