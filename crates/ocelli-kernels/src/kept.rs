//! How keys and values of a cache are kept, and where codes of 8 bits and their scales stand among them.
//!
//! ```text
//! 16 tokens' keys of a head:     codes [dim][16],      scales [groups][16]
//! 16 tokens' values of a head:   codes [16][width],    scales [groups][16]
//! element = code scale                                 one scale for 32 elements of a token's head
//! ```
//! `width` is the head size rounded up to 16. Codes are signed bytes, two of them in a word; scales
//! are IEEE halves.

use crate::{Element, LANES};

/// Elements of a token's head that share a scale.
pub const KEPT_GROUP: usize = 32;

/// How the elements of a cache are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// Codes of 8 bits and scales, counted in words of 16 bits.
    Q8,
}

impl Kept {
    /// Elements of 16 tokens' keys.
    pub fn key_panel(self, dim: usize) -> usize {
        match self {
            Self::F32 | Self::F16 => dim * LANES,
            Self::Q8 => dim * LANES / 2 + groups(dim) * LANES,
        }
    }

    /// Elements of 16 tokens' values.
    pub fn value_run(self, dim: usize) -> usize {
        let width = dim.next_multiple_of(LANES);
        match self {
            Self::F32 | Self::F16 => width * LANES,
            Self::Q8 => Self::Q8.key_panel(width),
        }
    }

    /// Elements of one head's keys in a page.
    pub fn keys_of_page(self, page_tokens: usize, dim: usize) -> usize {
        page_tokens.div_ceil(LANES) * self.key_panel(dim)
    }

    /// Elements of one head's values in a page.
    pub fn values_of_page(self, page_tokens: usize, dim: usize) -> usize {
        match self {
            Self::F32 | Self::F16 => page_tokens * dim.next_multiple_of(LANES),
            Self::Q8 => page_tokens.div_ceil(LANES) * self.value_run(dim),
        }
    }
}

impl Element<'_> {
    /// How they are kept.
    pub fn kept(&self) -> Kept {
        match self {
            Self::F32(_) => Kept::F32,
            Self::F16(_) => Kept::F16,
            Self::Q8(_) => Kept::Q8,
        }
    }
}

/// The words of the scales of 16 tokens, for a group of heads, or values, that are `dim` wide.
pub(crate) fn scales_of(words: &[u16], dim: usize, group: usize) -> &[u16; LANES] {
    let first = dim * LANES / 2 + group * LANES;
    words[first..].first_chunk().expect("16 scales of a group")
}

/// Code number `at` of 16 tokens' keys or values.
pub(crate) fn code_of(words: &[u16], at: usize) -> f32 {
    let bytes = words[at / 2].to_ne_bytes();
    f32::from(bytes[at % 2] as i8)
}

/// Scales of a token's head.
pub(crate) fn groups(dim: usize) -> usize {
    dim.div_ceil(KEPT_GROUP)
}
