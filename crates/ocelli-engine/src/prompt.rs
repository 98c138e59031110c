//! A prompt as the model takes it: tokens with pictures laid out in their places.

use std::ops::Range;

use ocelli_image::Grid;
use ocelli_models::{Join, LaidOut, Segment};

use crate::Error;

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
    /// Runs of text and pictures in order.
    pub segments: Vec<Segment>,
    /// Content of each picture, in order.
    pub keys: Vec<ImageKey>,
}

impl Prompt {
    /// Puts pictures where the template left an image token: `slots` are the indices of those tokens.
    ///
    /// # Errors
    /// When there are more or fewer pictures than slots.
    pub fn new(
        ids: &[u32],
        slots: &[usize],
        pictures: &[ImageSlot],
        join: Option<&Join>,
    ) -> Result<Self, Error> {
        if slots.len() != pictures.len() {
            return Err(Error::ImageSlots {
                slots: slots.len(),
                images: pictures.len(),
            });
        }
        let mut prompt = Self::default();
        let mut done = 0;
        for (image, (&slot, picture)) in slots.iter().zip(pictures).enumerate() {
            prompt.push_text(&ids[done..slot]);
            if let Some(join) = join {
                prompt.push_image(image, ids[slot], &(join.lay_out)(&picture.grid));
                prompt.segments.push(Segment::Image(picture.grid));
            }
            prompt.keys.push(picture.key);
            done = slot + 1;
        }
        prompt.push_text(&ids[done..]);
        Ok(prompt)
    }

    fn push_text(&mut self, ids: &[u32]) {
        if !ids.is_empty() {
            self.tokens.extend_from_slice(ids);
            self.segments.push(Segment::Text(ids.len()));
        }
    }

    fn push_image(&mut self, image: usize, token: u32, pieces: &[LaidOut]) {
        let mut row = 0;
        for piece in pieces {
            match *piece {
                LaidOut::Rows(rows) => {
                    let start = self.tokens.len();
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

    /// How many tokens at the start are the same in `other`: same ids, and the same pictures in the
    /// same places.
    pub fn common_prefix(&self, other: &Self) -> usize {
        let mut same = self
            .tokens
            .iter()
            .zip(&other.tokens)
            .take_while(|(a, b)| a == b)
            .count();
        // Image rows have equal ids whatever they show: a picture that differs ends the prefix where
        // it starts, and one that is cut by the prefix is kept only as far as both have it.
        for (a, b) in self.images.iter().zip(&other.images) {
            let equal = self.keys[a.image] == other.keys[b.image]
                && a.tokens.start == b.tokens.start
                && a.from == b.from;
            if !equal {
                same = same.min(a.tokens.start.min(b.tokens.start));
                break;
            }
        }
        let extra = self.images.len().min(other.images.len());
        for span in self.images[extra..].iter().chain(&other.images[extra..]) {
            same = same.min(span.tokens.start);
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAD: u32 = 9;

    fn rows_only(grid: &Grid) -> Vec<LaidOut> {
        vec![LaidOut::Rows(grid.tokens())]
    }

    fn join() -> Join {
        Join {
            text: "t",
            projector: "p",
            image_token: "<pad>",
            lay_out: rows_only,
            boxes: ocelli_models::BoxConvention::Relative1000Json,
        }
    }

    fn picture(h: u32, w: u32, content: u8) -> ImageSlot {
        ImageSlot {
            grid: Grid {
                t: 1,
                h,
                w,
                merge: 2,
            },
            key: [content; 32],
        }
    }

    fn prompt(ids: &[u32], pictures: &[ImageSlot]) -> Prompt {
        let slots: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] == PAD).collect();
        Prompt::new(ids, &slots, pictures, Some(&join())).unwrap()
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
        let error = Prompt::new(&[1, 2], &[], &[picture(2, 2, 0)], Some(&join())).unwrap_err();
        assert!(error.to_string().contains('1') && error.to_string().contains('0'));
    }

    #[test]
    fn equal_tokens_with_another_picture_are_no_common_prefix() {
        let ids = [1, 2, PAD, 3];
        let a = prompt(&ids, &[picture(4, 4, 0)]);
        let b = prompt(&ids, &[picture(4, 4, 1)]);
        assert_eq!(a.common_prefix(&b), 2);
        assert_eq!(a.common_prefix(&a), 7);
    }

    #[test]
    fn a_picture_of_another_shape_ends_the_prefix_before_it() {
        let ids = [1, PAD, 3];
        let a = prompt(&ids, &[picture(8, 2, 0)]);
        let b = prompt(&ids, &[picture(4, 4, 1)]);
        assert_eq!(a.common_prefix(&b), 1);
    }

    #[test]
    fn a_longer_chat_keeps_everything_before_its_new_turn() {
        let a = prompt(&[1, PAD, 3], &[picture(4, 4, 0)]);
        let b = prompt(&[1, PAD, 3, 4, PAD], &[picture(4, 4, 0), picture(2, 2, 1)]);
        assert_eq!(a.common_prefix(&b), a.tokens.len());
    }
}
