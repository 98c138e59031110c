//! Views of row-major matrices: shape and place, so that parts of an output can be handed to threads.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use crate::LANES;

/// Elements from one row of activations to the next, as register tiles take them: a chunk, and a
/// cache line so that the rows of a tile do not fall on the same lines of a cache.
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

/// Runs of tiles of one width: the last ones of a token's largest products are 64 times as narrow
/// as the first.
const RUNS: usize = 7;

/// A matrix cut into a grid of tiles, each of which is given out once.
#[derive(Debug)]
pub struct Tiles<'a, T = f32> {
    matrix: MatrixMut<'a, T>,
    rows: usize,
    columns: usize,
    /// Columns from which tiles are narrower, and their least width.
    narrow: (usize, usize),
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
        let narrow = (matrix.columns, columns);
        Self {
            matrix,
            rows,
            columns,
            narrow,
        }
    }

    /// Cuts the last columns, as many as `count` tiles have but at most half of all, into narrower
    /// tiles: the first half of them into tiles half as wide, and so on, but not below `least`
    /// columns. Threads that take tiles one by one end closer together so.
    #[must_use]
    pub fn with_narrow_end(mut self, count: usize, least: usize) -> Self {
        let wide = self.matrix.columns / self.columns;
        let from = (wide - count.min(wide / 2)) * self.columns;
        self.narrow = (from, least.clamp(1, self.columns));
        self
    }

    /// Number of tiles.
    pub fn count(&self) -> usize {
        if self.matrix.columns == 0 {
            return 0;
        }
        self.matrix.rows.div_ceil(self.rows) * self.tiles_across()
    }

    fn tiles_across(&self) -> usize {
        self.runs()
            .map(|(run, width)| run.len().div_ceil(width))
            .iter()
            .sum()
    }

    /// Runs of columns with the width of their tiles.
    fn runs(&self) -> [(Range<usize>, usize); RUNS] {
        let all = self.matrix.columns;
        let (mut start, least) = self.narrow;
        let mut width = self.columns;
        let mut runs = [const { (0..0, 1) }; RUNS];
        runs[0] = (0..start, width);
        let last = RUNS - 1;
        for (index, run) in runs.iter_mut().enumerate().skip(1) {
            width = (width / 2).next_multiple_of(LANES).clamp(least, width);
            let half = ((all - start) / 2).next_multiple_of(width);
            let end = if index == last {
                all
            } else {
                all.min(start + half)
            };
            *run = (start..end, width);
            start = end;
        }
        runs
    }

    /// Columns of tiles side by side.
    pub fn across(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..self.tiles_across()).map(|across| self.columns_at(across))
    }

    /// Columns of the tiles at a place across.
    fn columns_at(&self, mut across: usize) -> Range<usize> {
        for (run, width) in self.runs() {
            let count = run.len().div_ceil(width);
            if across < count {
                let left = run.start + across * width;
                return left..(left + width).min(run.end);
            }
            across -= count;
        }
        panic!("a tile behind the last one");
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
        let rows = top..(top + self.rows).min(self.matrix.rows);
        let columns = self.columns_at(index / down);
        // SAFETY: tiles of other indices are disjoint, and the caller asks for each once.
        let out = unsafe { self.matrix.part_unchecked(rows.clone(), columns.clone()) };
        Tile { rows, columns, out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each element lies in a tile.
    fn covered(rows: usize, columns: usize, cut: impl Fn(MatrixMut<'_>) -> Tiles<'_>) -> Vec<f32> {
        let mut values = vec![0.0; rows * columns];
        let tiles = cut(MatrixMut::new(&mut values, rows, columns));
        for index in 0..tiles.count() {
            #[allow(unsafe_code, reason = "each index is asked for once")]
            // SAFETY: the loop asks for each index once.
            let mut tile = unsafe { tiles.tile(index) };
            assert!(!tile.rows.is_empty() && !tile.columns.is_empty());
            for row in 0..tile.rows.len() {
                tile.out.row(row).iter_mut().for_each(|value| *value += 1.0);
            }
        }
        values
    }

    #[test]
    fn tiles_cover_every_element_once() {
        for columns in [1, 15, 16, 17, 100, 128, 1000, 1024, 2048, 2053] {
            for (width, narrow) in [(16, 0), (16, 4), (32, 4), (128, 0), (128, 4), (128, 100)] {
                let values = covered(7, columns, |matrix| {
                    Tiles::new(matrix, 3, width).with_narrow_end(narrow, 16)
                });
                assert!(
                    values.iter().all(|value| *value == 1.0),
                    "{columns} columns in tiles of {width}, {narrow} of them cut"
                );
            }
        }
    }

    #[test]
    fn the_last_columns_lie_in_narrower_tiles() {
        let widths = |least| -> Vec<usize> {
            let mut values = vec![0.0; 2048];
            let tiles = Tiles::new(MatrixMut::new(&mut values, 1, 2048), 1, 128);
            let tiles = tiles.with_narrow_end(4, least);
            tiles.across().map(|columns| columns.len()).collect()
        };
        let to_16 = [[128; 12].as_slice(), &[64; 4], &[32; 4], &[16; 8]].concat();
        assert_eq!(widths(16), to_16);
        let to_32 = [[128; 12].as_slice(), &[64; 4], &[32; 8]].concat();
        assert_eq!(widths(32), to_32);
    }
}
