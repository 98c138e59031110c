//! Temporaries of a pass, and views of several tensors in them at once.

use std::any::Any;
use std::ops::Range;

use ocelli_kernels::{Matrix, MatrixMut};
use ocelli_tensor::{Storage, Tensor};

use super::Numbers;

/// Temporaries of a pass: a block of `f32` that starts at a cache line.
pub(crate) struct CpuStorage {
    values: Numbers<f32>,
}

impl CpuStorage {
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            values: Numbers::zeros(len),
        }
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
        self.values.values()
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self.values.values_mut()
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

    /// A tensor to read and up to `N` to write, which come in the order of their places; fewer
    /// leave empty ones.
    ///
    /// # Panics
    /// When two of them overlap, or there are more.
    pub(crate) fn split_each<const N: usize>(
        &mut self,
        read: Tensor,
        outs: impl Iterator<Item = Tensor>,
    ) -> (Matrix<'_>, [MatrixMut<'_>; N]) {
        let mut split = [(); N].map(|()| MatrixMut::new(&mut [], 0, 0));
        let mut places = split.iter_mut();
        let (mut rest, mut start) = (self.values_mut(), 0);
        let (x, mut found) = (read.range(), None);
        for out in outs {
            let range = out.range();
            assert!(range.start >= start, "results overlap or are out of order");
            let (gap, behind) = rest.split_at_mut(range.start - start);
            let (values, behind) = behind.split_at_mut(range.len());
            let gap = &*gap;
            if x.start >= start && x.end <= range.start {
                found = Some(&gap[x.start - start..x.end - start]);
            }
            let place = places.next().expect("room for all results");
            *place = MatrixMut::new(values, out.rows(), out.columns());
            (rest, start) = (behind, range.end);
        }
        let rest = &*rest;
        let values = found.unwrap_or_else(|| &rest[x.start - start..x.end - start]);
        (Matrix::new(values, read.rows(), read.columns()), split)
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
