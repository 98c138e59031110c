//! Blocks of memory: aligned to cache lines, committed by the system only when touched.
//!
//! Huge pages and memory near a processor belong here.

use std::any::Any;
use std::ops::Range;

use ocelli_kernels::{Matrix, MatrixMut};
use ocelli_tensor::{Storage, Tensor};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of zeros that start at a cache line.
#[derive(Debug)]
pub(crate) struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros, or `None` when the system has no memory for them.
    pub(crate) fn zeros(len: usize) -> Option<Self> {
        let padded = len.checked_add(LINE)?;
        // `vec!` takes zeroed pages, which cost nothing until touched; this only finds out that it would abort.
        Vec::<u8>::new().try_reserve_exact(padded).ok()?;
        let bytes = vec![0; padded];
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        Some(Self { bytes, start, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// Temporaries of a pass: a block of `f32` that starts at a cache line.
pub(crate) struct CpuStorage {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl CpuStorage {
    pub(crate) fn zeros(len: usize) -> Self {
        let values = vec![0.0; len + LINE / size_of::<f32>()];
        let start = values
            .as_ptr()
            .align_offset(LINE)
            .min(LINE / size_of::<f32>());
        Self { values, start, len }
    }

    /// The backend's own type back.
    pub(crate) fn of(storage: &dyn Storage) -> &Self {
        storage
            .as_any()
            .downcast_ref()
            .expect("storage was made by this backend")
    }

    /// The backend's own type back.
    pub(crate) fn of_mut(storage: &mut dyn Storage) -> &mut Self {
        storage
            .as_any_mut()
            .downcast_mut()
            .expect("storage was made by this backend")
    }

    fn values(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }

    /// A tensor to read.
    pub(crate) fn read(&self, x: Tensor) -> Matrix<'_> {
        Matrix::new(&self.values()[x.range()], x.rows(), x.columns())
    }

    /// A tensor to write.
    pub(crate) fn write(&mut self, out: Tensor) -> MatrixMut<'_> {
        MatrixMut::new(
            &mut self.values_mut()[out.range()],
            out.rows(),
            out.columns(),
        )
    }

    /// Elements of a tensor to write.
    pub(crate) fn values_of(&mut self, out: Tensor) -> &mut [f32] {
        &mut self.values_mut()[out.range()]
    }

    /// Some tensors to read and one to write.
    ///
    /// # Panics
    /// When the one to write overlaps another.
    pub(crate) fn split<const N: usize>(
        &mut self,
        read: [Tensor; N],
        out: Tensor,
    ) -> ([Matrix<'_>; N], MatrixMut<'_>) {
        let written = out.range();
        let values = self.values_mut();
        let (before, rest) = values.split_at_mut(written.start);
        let (middle, after) = rest.split_at_mut(written.len());
        let (before, after) = (&*before, &*after);
        let read = read.map(|x| {
            let range = x.range();
            let values = outside(before, after, &written, range);
            Matrix::new(values, x.rows(), x.columns())
        });
        (read, MatrixMut::new(middle, out.rows(), out.columns()))
    }
}

/// The elements of `range`, which lies before or behind what is `written`.
fn outside<'a>(
    before: &'a [f32],
    after: &'a [f32],
    written: &Range<usize>,
    range: Range<usize>,
) -> &'a [f32] {
    if range.is_empty() {
        return &[];
    }
    if range.end <= written.start {
        return &before[range];
    }
    assert!(
        range.start >= written.end,
        "operand {range:?} overlaps the result {written:?}"
    );
    &after[range.start - written.end..range.end - written.end]
}

impl Storage for CpuStorage {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_start_at_cache_lines_and_are_zero() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let mut block = AlignedBytes::zeros(len).unwrap();
            assert_eq!(block.bytes().len(), len);
            assert!(block.bytes().as_ptr().addr().is_multiple_of(LINE));
            assert!(block.bytes().iter().all(|b| *b == 0));
            block.bytes_mut().fill(1);
        }
        assert!(
            CpuStorage::zeros(5)
                .values()
                .as_ptr()
                .addr()
                .is_multiple_of(LINE)
        );
    }

    #[test]
    fn a_size_that_no_machine_has_is_refused() {
        assert!(AlignedBytes::zeros(usize::MAX).is_none());
        assert!(AlignedBytes::zeros(usize::MAX / 2).is_none());
    }
}
