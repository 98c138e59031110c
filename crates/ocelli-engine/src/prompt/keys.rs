//! What of a prompt is known again: rows and pages with equal keys hold the same in the cache.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::{ImageKey, ImageSpan, Prompt};
use crate::PageKey;

/// A row of a prompt: its token, and which row of which picture it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// Its token.
    pub token: u32,
    /// The picture's content and the row of its features.
    pub shows: Option<(ImageKey, u32)>,
}

impl Prompt {
    /// What the rows of these tokens are.
    pub(crate) fn rows(&self, tokens: Range<usize>) -> Vec<RowKey> {
        let row = |at: usize| {
            let span = self.images.iter().find(|span| span.tokens.contains(&at));
            let row = |span: &ImageSpan| (span.from.start + at - span.tokens.start) as u32;
            RowKey {
                token: self.tokens[at],
                shows: span.map(|span| (self.keys[span.image], row(span))),
            }
        };
        tokens.map(row).collect()
    }

    /// A key for each page that the prompt fills: its tokens and pictures and, through the key of the
    /// page before, everything that stands before them. `salt` keeps those apart who must not share.
    pub fn page_keys(&self, page_tokens: usize, salt: &[u8; 32]) -> Vec<PageKey> {
        let mut before = *salt;
        let mut keys = Vec::new();
        for (page, tokens) in self.tokens.chunks_exact(page_tokens).enumerate() {
            let mut hasher = Sha256::new();
            hasher.update(b"ocelli prompt page 1");
            hasher.update(before);
            for token in tokens {
                hasher.update(token.to_le_bytes());
            }
            let (start, end) = (page * page_tokens, (page + 1) * page_tokens);
            // Image rows have equal ids whatever they show: what they show goes in beside them.
            for span in &self.images {
                if span.tokens.start < end && span.tokens.end > start {
                    hasher.update(self.keys[span.image]);
                    for number in [span.tokens.start, span.tokens.end, span.from.start] {
                        hasher.update((number as u64).to_le_bytes());
                    }
                }
            }
            before = hasher.finalize().into();
            keys.push(before);
        }
        keys
    }
}

/// The content of a video's picture with the time from one to the next.
pub(super) fn paced(key: &ImageKey, step: f64) -> ImageKey {
    let mut hasher = Sha256::new();
    hasher.update(b"ocelli video picture 1");
    hasher.update(key);
    hasher.update(step.to_bits().to_le_bytes());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use ocelli_image::Grid;

    use crate::prompt::tests::{JOIN, PAD, layout, picture, prompt};
    use crate::prompt::{Medium, Owner};

    use super::*;

    const SALT: [u8; 32] = [0; 32];

    #[test]
    fn rows_are_told_by_token_picture_and_place() {
        let a = prompt(&[1, PAD, 3], &[picture(4, 4, 0)]);
        let b = prompt(&[1, PAD, 3], &[picture(4, 4, 1)]);
        let (a, b) = (a.rows(0..6), b.rows(0..6));
        assert_eq!((a[0], a[5]), (b[0], b[5]));
        assert!((1..5).all(|row| a[row] != b[row] && a[row].token == b[row].token));
        assert!((2..5).all(|row| a[row] != a[row - 1]));
    }

    #[test]
    fn pages_with_another_picture_have_other_keys_from_there_on() {
        let ids = [1, 2, PAD, 3, 4, 5];
        let a = prompt(&ids, &[picture(4, 4, 0)]).page_keys(2, &SALT);
        let b = prompt(&ids, &[picture(4, 4, 1)]).page_keys(2, &SALT);
        assert_eq!(a.len(), 4, "the last token fills no page");
        assert_eq!(a[0], b[0]);
        assert!((1..4).all(|page| a[page] != b[page]));
    }

    #[test]
    fn a_picture_of_another_shape_has_other_keys() {
        let ids = [1, PAD, 3];
        let a = prompt(&ids, &[picture(8, 2, 0)]).page_keys(1, &SALT);
        let b = prompt(&ids, &[picture(4, 4, 1)]).page_keys(1, &SALT);
        assert_eq!(a[0], b[0]);
        assert_ne!(a[1], b[1]);
    }

    #[test]
    fn a_longer_chat_begins_with_the_same_pages_and_another_salt_shares_none() {
        let a = prompt(&[1, PAD, 3], &[picture(4, 4, 0)]);
        let b = prompt(&[1, PAD, 3, 4, PAD], &[picture(4, 4, 0), picture(2, 2, 1)]);
        let (short, long) = (a.page_keys(2, &SALT), b.page_keys(2, &SALT));
        assert_eq!(short[..], long[..short.len()]);
        let salted = a.page_keys(2, &[1; 32]);
        assert!(short.iter().all(|key| !salted.contains(key)));
    }

    #[test]
    fn the_same_pictures_at_another_pace_have_other_keys() {
        let video = |step: f64| {
            let grid = Grid {
                t: 2,
                ..picture(2, 4, 0).grid
            };
            let media = [Medium {
                grid,
                keys: vec![[1; 32], [2; 32]],
                owner: Owner::Video(0),
                step: Some(step),
            }];
            Prompt::with_media(&[1, PAD, 2], &[1], &media, Some(&layout(&JOIN))).unwrap()
        };
        let (slow, fast) = (
            video(1.5).page_keys(2, &SALT),
            video(3.0).page_keys(2, &SALT),
        );
        assert_ne!(slow[0], fast[0]);
    }
}
