//! Views of row-major matrices: shape and place, so that parts of an output can be handed to threads.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

/// Elements from one row of activations to the next, as register tiles take them: a chunk, and a cache line so that the rows
/// of a tile do not fall on the same lines of a cache.
pub(crate) const ROW_STRIDE: usize = crate::CHUNK + 16;

/// Rows of `f32` to read: `[rows, columns]`, rows `stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Consecutive rows.
    ///
    /// # Panics
    /// When `values` is not `rows * columns` long.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "{rows} rows of {columns}");
        Self {
            values,
            rows,
            columns,
            stride: columns,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from one row's start to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// One row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        let start = row * self.stride;
        &self.values[start..start + self.columns]
    }

    /// Everything from the first element to the end of the last row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// A rectangle of this matrix.
    ///
    /// # Panics
    /// When it reaches outside.
    #[must_use]
    pub fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(
            rows.end <= self.rows && columns.end <= self.columns,
            "{rows:?} x {columns:?}"
        );
        let (height, width) = (rows.len(), columns.len());
        if height == 0 || width == 0 {
            return Self {
                values: &[],
                rows: height,
                columns: width,
                stride: self.stride,
            };
        }
        let start = rows.start * self.stride + columns.start;
        let end = (rows.end - 1) * self.stride + columns.end;
        Self {
            values: &self.values[start..end],
            rows: height,
            columns: width,
            stride: self.stride,
        }
    }

    /// A run of rows.
    #[must_use]
    pub fn part_rows(&self, rows: Range<usize>) -> Self {
        self.part(rows, 0..self.columns)
    }
}

/// Rows of numbers to write; parts of one matrix never overlap, so each can go to a thread.
#[derive(Debug)]
pub struct MatrixMut<'a, T = f32> {
    start: NonNull<T>,
    rows: usize,
    columns: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

#[allow(
    unsafe_code,
    reason = "a column block of a matrix is no slice; see the SAFETY notes"
)]
mod columns {
    use super::{MatrixMut, PhantomData, Range};

    // SAFETY: a `MatrixMut` is an exclusive borrow of its elements, as `&mut [T]` is.
    unsafe impl<T: Send> Send for MatrixMut<'_, T> {}
    // SAFETY: a shared `MatrixMut` gives no access to elements at all.
    unsafe impl<T: Send> Sync for MatrixMut<'_, T> {}

    impl<T> MatrixMut<'_, T> {
        /// One row.
        pub fn row(&mut self, row: usize) -> &mut [T] {
            assert!(row < self.rows, "row {row} of {}", self.rows);
            // SAFETY: the row lies inside the slice that `new` took, and no other view covers it.
            let start = unsafe { self.start.add(row * self.stride) };
            // SAFETY: as above; the borrow of `self` keeps other rows' slices away.
            unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.columns) }
        }

        /// A rectangle of this matrix, for [`super::Tiles`].
        ///
        /// # Safety
        /// While the part lives, nobody else touches its elements.
        pub(super) unsafe fn part_unchecked<'b>(
            &self,
            rows: Range<usize>,
            columns: Range<usize>,
        ) -> MatrixMut<'b, T> {
            assert!(
                rows.end <= self.rows && columns.end <= self.columns,
                "{rows:?} x {columns:?}"
            );
            let offset = if rows.is_empty() || columns.is_empty() {
                0
            } else {
                rows.start * self.stride + columns.start
            };
            MatrixMut {
                // SAFETY: the first element of a part that is not empty lies inside the matrix.
                start: unsafe { self.start.add(offset) },
                rows: rows.len(),
                columns: columns.len(),
                stride: self.stride,
                lifetime: PhantomData,
            }
        }

        /// A rectangle of this matrix, borrowed from it.
        pub fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_, T> {
            // SAFETY: the result borrows `self` exclusively.
            unsafe { self.part_unchecked(rows, columns) }
        }
    }
}

impl<'a, T> MatrixMut<'a, T> {
    /// Consecutive rows.
    ///
    /// # Panics
    /// When `values` is not `rows * columns` long.
    pub fn new(values: &'a mut [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "{rows} rows of {columns}");
        Self {
            start: NonNull::from(values).cast(),
            rows,
            columns,
            stride: columns,
            lifetime: PhantomData,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// A matrix cut into a grid of tiles, each of which is given out once.
#[derive(Debug)]
pub struct Tiles<'a, T = f32> {
    matrix: MatrixMut<'a, T>,
    rows: usize,
    columns: usize,
}

/// A tile with its place in the matrix.
#[derive(Debug)]
pub struct Tile<'a, T = f32> {
    /// Rows of the whole matrix that the tile covers.
    pub rows: Range<usize>,
    /// Columns of the whole matrix that the tile covers.
    pub columns: Range<usize>,
    /// The tile itself.
    pub out: MatrixMut<'a, T>,
}

impl<'a, T> Tiles<'a, T> {
    /// Cuts `matrix` into tiles of at most `rows` by `columns`.
    ///
    /// # Panics
    /// When a side of the tiles is 0.
    pub fn new(matrix: MatrixMut<'a, T>, rows: usize, columns: usize) -> Self {
        assert!(rows > 0 && columns > 0, "tiles of {rows} x {columns}");
        Self {
            matrix,
            rows,
            columns,
        }
    }

    /// Number of tiles.
    pub fn count(&self) -> usize {
        if self.matrix.columns == 0 {
            return 0;
        }
        self.matrix.rows.div_ceil(self.rows) * self.tiles_across()
    }

    fn tiles_across(&self) -> usize {
        self.matrix.columns.div_ceil(self.columns)
    }

    /// Tile `index`; consecutive tiles share their columns, so that a block of weights stays in a cache.
    ///
    /// # Safety
    /// Each index is asked for at most once while the tiles live.
    #[allow(unsafe_code, reason = "one borrow is split among threads")]
    pub unsafe fn tile(&self, index: usize) -> Tile<'a, T> {
        assert!(index < self.count(), "tile {index} of {}", self.count());
        let down = self.matrix.rows.div_ceil(self.rows);
        let top = index % down * self.rows;
        let left = index / down * self.columns;
        let rows = top..(top + self.rows).min(self.matrix.rows);
        let columns = left..(left + self.columns).min(self.matrix.columns);
        // SAFETY: tiles of other indices are disjoint, and the caller asks for each once.
        let out = unsafe { self.matrix.part_unchecked(rows.clone(), columns.clone()) };
        Tile { rows, columns, out }
    }
}
