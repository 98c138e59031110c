//! Blocks of memory: aligned to cache lines, committed by the system only when touched, in huge
//! pages where it has them.
//!
//! Memory near a processor belongs here.

mod past_caches;
mod storage;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

pub(crate) use past_caches::PastCaches;
pub(crate) use storage::CpuStorage;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes from which a block is mapped by itself: two huge pages, so that at least one fits.
const LARGE: usize = 4 << 20;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Bytes of a block that is cut into pieces.
const SHARED: usize = 64 << 20;

/// Bytes of a piece at least: what is smaller is no matter.
const SMALL: usize = 64 << 10;

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
        let block = Block::Piece(block);
        Some(AlignedBytes { block, start, len })
    }
}

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
    /// Some bytes of it: no other owner has the same.
    Piece(Arc<MmapRaw>),
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
            Block::Piece(map) => return pieces::of(map, self.start, self.len),
        };
        &bytes[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.block {
            Block::Heap(bytes) => bytes,
            Block::Mapped(map) => map,
            Block::Piece(map) => return pieces::of_mut(map, self.start, self.len),
        };
        &mut bytes[self.start..self.start + self.len]
    }
}

#[allow(
    unsafe_code,
    reason = "one block has many owners; each knows its own bytes"
)]
mod pieces {
    use std::sync::Arc;

    use memmap2::MmapRaw;

    fn first(map: &MmapRaw, start: usize, len: usize) -> *mut u8 {
        assert!(
            start <= map.len() && len <= map.len() - start,
            "a piece of a block"
        );
        map.as_mut_ptr().wrapping_add(start)
    }

    /// The bytes of a piece; only its owner may call this.
    pub(super) fn of(map: &MmapRaw, start: usize, len: usize) -> &[u8] {
        // SAFETY: the bytes lie in the mapping, which is borrowed; `Pieces` gave them to no other
        // owner, and this one is borrowed, so that nobody writes them.
        unsafe { std::slice::from_raw_parts(first(map, start, len), len) }
    }

    /// The bytes of a piece; only its owner, who is borrowed exclusively, may call this.
    pub(super) fn of_mut(map: &mut Arc<MmapRaw>, start: usize, len: usize) -> &mut [u8] {
        // SAFETY: as above; the owner is borrowed exclusively, so that nobody else reads or writes them.
        unsafe { std::slice::from_raw_parts_mut(first(map, start, len), len) }
    }
}

/// Numbers for which all bits are valid.
pub(crate) trait Number: Copy {}
impl Number for f32 {}
impl Number for u16 {}

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
    use super::Number;

    pub(super) fn of<T: Number>(bytes: &[u8]) -> &[T] {
        // SAFETY: all bits are valid for a `Number`; `align_to` keeps to aligned ones.
        let (before, values, after) = unsafe { bytes.align_to() };
        assert!(before.is_empty() && after.is_empty(), "aligned numbers");
        values
    }

    pub(super) fn of_mut<T: Number>(bytes: &mut [u8]) -> &mut [T] {
        // SAFETY: as above.
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
