//! Pieces of large blocks. One block has many owners, each of which knows its own bytes alone: a
//! [`Piece`] is what `&mut [u8]` would be if it kept its block alive.
//!
//! Only [`Pieces::zeros`] makes pieces, each behind the ones before it, so that no two have a byte
//! in common. That is all that the `unsafe` blocks rely on.
#![allow(
    unsafe_code,
    reason = "one block has many owners; each knows its own bytes"
)]

use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::MmapRaw;

use super::{AlignedBytes, Block, HUGE, LINE, mapped};

/// Bytes of a block that is cut into pieces.
pub(super) const SHARED: usize = 64 << 20;

/// Bytes of a piece at least: what is smaller is no matter.
pub(super) const SMALL: usize = 64 << 10;

/// Memory for weights and caches: pieces of large blocks, so that small ones lie in huge pages,
/// too. A block goes back to the system with its last piece.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The block that is being cut, and its bytes that are given out.
    last: Mutex<(Weak<MmapRaw>, usize)>,
}

impl Pieces {
    /// `len` zeros, or `None` when the system has no memory for them.
    pub(crate) fn zeros(&self, len: usize) -> Option<AlignedBytes> {
        if !(SMALL..=SHARED / 4).contains(&len) {
            return AlignedBytes::zeros(len);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (block, start) = match (last.0.upgrade(), last.1) {
            (Some(block), used) if used + len <= block.len() => (block, used),
            _ => {
                let map = mapped(SHARED + HUGE)?;
                let start = map.as_ptr().align_offset(HUGE).min(HUGE);
                (Arc::new(MmapRaw::from(map)), start)
            }
        };
        *last = (Arc::downgrade(&block), (start + len).next_multiple_of(LINE));
        Some(AlignedBytes {
            block: Block::Piece(Piece { block, start, len }),
            start: 0,
            len,
        })
    }
}

/// Some bytes of a block, which no other piece has.
#[derive(Debug)]
pub(super) struct Piece {
    block: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `first` finds the bytes inside the mapping, which `self` keeps; memory from the
        // system is zeros or what was written. No other piece has these bytes, and this one is
        // borrowed, so that nobody writes them.
        unsafe { std::slice::from_raw_parts(self.first(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; this piece is borrowed exclusively, so that nobody else reads or writes
        // them.
        unsafe { std::slice::from_raw_parts_mut(self.first(), self.len) }
    }

    /// The first byte, once all of them were found inside the block.
    fn first(&self) -> *mut u8 {
        assert!(
            self.start <= self.block.len() && self.len <= self.block.len() - self.start,
            "a piece of a block"
        );
        self.block.as_mut_ptr().wrapping_add(self.start)
    }
}
