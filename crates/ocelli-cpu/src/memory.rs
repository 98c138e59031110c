//! Blocks of memory: aligned to cache lines, committed by the system only when touched, in huge
//! pages where it has them.
//!
//! Memory near a processor belongs here.

mod past_caches;
mod pieces;
mod storage;

use std::marker::PhantomData;

use memmap2::{MmapMut, MmapOptions};

use pieces::Piece;

pub(crate) use numbers::Number;
pub(crate) use past_caches::PastCaches;
pub(crate) use pieces::Pieces;
pub(crate) use storage::CpuStorage;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes from which a block is mapped by itself: two huge pages, so that at least one fits.
const LARGE: usize = 4 << 20;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Memory from the system, in huge pages where it has them.
fn mapped(len: usize) -> Option<MmapMut> {
    let map = MmapOptions::new().len(len).map_anon().ok()?;
    // One entry of the processor's tables for 2 MiB rather than 4 KiB; without them all works the
    // same, slower.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

/// Bytes of zeros that start at a cache line.
#[derive(Debug)]
pub(crate) struct AlignedBytes {
    block: Block,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Block {
    Heap(Vec<u8>),
    Mapped(MmapMut),
    Piece(Piece),
}

impl AlignedBytes {
    /// `len` zeros, or `None` when the system has no memory for them.
    pub(crate) fn zeros(len: usize) -> Option<Self> {
        let padded = len.checked_add(LINE)?;
        if len >= LARGE {
            let block = Block::Mapped(mapped(padded)?);
            return Some(Self {
                block,
                start: 0,
                len,
            });
        }
        // `vec!` takes zeroed pages, which cost nothing until touched; this only finds out that it
        // would abort.
        Vec::<u8>::new().try_reserve_exact(padded).ok()?;
        let bytes = vec![0; padded];
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        Some(Self {
            block: Block::Heap(bytes),
            start,
            len,
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let bytes: &[u8] = match &self.block {
            Block::Heap(bytes) => bytes,
            Block::Mapped(map) => map,
            Block::Piece(piece) => piece.bytes(),
        };
        &bytes[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.block {
            Block::Heap(bytes) => bytes,
            Block::Mapped(map) => map,
            Block::Piece(piece) => piece.bytes_mut(),
        };
        &mut bytes[self.start..self.start + self.len]
    }
}

/// Zeros that start at a cache line.
pub(crate) struct Numbers<T> {
    bytes: AlignedBytes,
    element: PhantomData<T>,
}

impl<T: Number> Numbers<T> {
    /// # Panics
    /// When the system has no memory; callers ask it before.
    pub(crate) fn zeros(len: usize) -> Self {
        let bytes = len
            .checked_mul(size_of::<T>())
            .and_then(AlignedBytes::zeros);
        Self {
            bytes: bytes.unwrap_or_else(|| panic!("no memory for {len} numbers")),
            element: PhantomData,
        }
    }

    /// The same among other pieces.
    ///
    /// # Panics
    /// As [`Numbers::zeros`].
    pub(crate) fn zeros_in(pieces: &Pieces, len: usize) -> Self {
        let bytes = len
            .checked_mul(size_of::<T>())
            .and_then(|bytes| pieces.zeros(bytes));
        Self {
            bytes: bytes.unwrap_or_else(|| panic!("no memory for {len} numbers")),
            element: PhantomData,
        }
    }

    pub(crate) fn values(&self) -> &[T] {
        numbers::of(self.bytes.bytes())
    }

    pub(crate) fn values_mut(&mut self) -> &mut [T] {
        numbers::of_mut(self.bytes.bytes_mut())
    }
}

#[allow(
    unsafe_code,
    reason = "all bits are valid for plain numbers; alignment is checked"
)]
mod numbers {
    /// Numbers that are cast from bytes.
    ///
    /// # Safety
    /// All bits are valid for the type, and it has no padding.
    pub(crate) unsafe trait Number: Copy {}

    // SAFETY: a plain number.
    unsafe impl Number for f32 {}
    // SAFETY: a plain number.
    unsafe impl Number for u16 {}

    pub(super) fn of<T: Number>(bytes: &[u8]) -> &[T] {
        // SAFETY: all bits of a `Number` are valid, and so are all bytes; `align_to` keeps to
        // aligned ones.
        let (before, values, after) = unsafe { bytes.align_to() };
        assert!(before.is_empty() && after.is_empty(), "aligned numbers");
        values
    }

    pub(super) fn of_mut<T: Number>(bytes: &mut [u8]) -> &mut [T] {
        // SAFETY: as above; whatever is written is bytes, as a `Number` has no padding.
        let (before, values, after) = unsafe { bytes.align_to_mut() };
        assert!(before.is_empty() && after.is_empty(), "aligned numbers");
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_start_at_cache_lines_and_are_zero() {
        for len in [0, 1, 63, 64, 65, 1000, LARGE + 3] {
            let mut block = AlignedBytes::zeros(len).unwrap();
            assert_eq!(block.bytes().len(), len);
            assert!(block.bytes().as_ptr().addr().is_multiple_of(LINE));
            assert!(block.bytes().iter().all(|b| *b == 0));
            block.bytes_mut().fill(1);
        }
        let numbers = Numbers::<f32>::zeros(5);
        assert!(numbers.values().as_ptr().addr().is_multiple_of(LINE));
    }

    #[test]
    fn pieces_are_apart_zero_and_outlive_their_source() {
        use pieces::{SHARED, SMALL};
        let pieces = Pieces::default();
        let lengths = [0, 1, SMALL, SMALL + 1, HUGE, SHARED / 4, SHARED / 4 + 1];
        let mut all: Vec<_> = (0..3)
            .flat_map(|_| lengths)
            .map(|len| (len, pieces.zeros(len).unwrap()))
            .collect();
        drop(pieces);
        for (mark, (len, piece)) in (1..).zip(&mut all) {
            assert_eq!(piece.bytes().len(), *len);
            assert!(piece.bytes().as_ptr().addr().is_multiple_of(LINE));
            assert!(piece.bytes().iter().all(|b| *b == 0));
            piece.bytes_mut().fill(mark);
        }
        for (mark, (_, piece)) in (1..).zip(&all) {
            assert!(piece.bytes().iter().all(|b| *b == mark));
        }
    }

    #[test]
    fn a_size_that_no_machine_has_is_refused() {
        assert!(AlignedBytes::zeros(usize::MAX).is_none());
        assert!(AlignedBytes::zeros(usize::MAX / 2).is_none());
    }
}
