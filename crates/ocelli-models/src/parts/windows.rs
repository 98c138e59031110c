//! Windows over a picture: rows of one window stand together, so that attention inside windows costs
//! what the windows cost.

use std::ops::Range;

use ocelli_image::Grid;
use ocelli_tensor::{Pass, Tensor};

/// The order of rows by windows of `side` x `side` merged cells, frame by frame. Windows at the right and
/// lower edge are just smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The cell (a merged block of patches) at each place of the window order.
    cells: Vec<usize>,
    /// Patches of a cell.
    cell_patches: usize,
    segments: Vec<Range<usize>>,
}

impl Windows {
    /// Windows of a grid.
    pub fn new(grid: &Grid, side: usize) -> Self {
        let (rows, columns) = (grid.merged_h() as usize, grid.merged_w() as usize);
        let cell_patches = (grid.merge * grid.merge) as usize;
        let mut cells = Vec::with_capacity(grid.tokens());
        let mut segments = Vec::new();
        for frame in 0..grid.t as usize {
            for top in (0..rows).step_by(side) {
                for left in (0..columns).step_by(side) {
                    let start = cells.len();
                    for row in top..rows.min(top + side) {
                        let cell = (frame * rows + row) * columns;
                        cells.extend((left..columns.min(left + side)).map(|c| cell + c));
                    }
                    segments.push(start * cell_patches..cells.len() * cell_patches);
                }
            }
        }
        Self {
            cells,
            cell_patches,
            segments,
        }
    }

    /// Patch rows of each window, in window order.
    pub fn segments(&self) -> &[Range<usize>] {
        &self.segments
    }

    /// `out[place] = x[patch]` for every patch: into window order.
    pub fn sort(&self, pass: &mut Pass<'_>, x: &Tensor, out: &Tensor) {
        pass.scatter(x, &self.places(), out);
    }

    /// A copy of `x` in the picture's own order.
    pub fn unsort(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        pass.gather(x, &self.places())
    }

    /// Cells' rows of `width` values back in the picture's own order.
    pub fn unsort_cells(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows.len()];
        for (row, cell) in rows.chunks_exact(width).zip(&self.cells) {
            values[cell * width..(cell + 1) * width].copy_from_slice(row);
        }
        values
    }

    /// The place of each patch in window order.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.cells.len() * self.cell_patches];
        for (place, cell) in self.cells.iter().enumerate() {
            for patch in 0..self.cell_patches {
                places[cell * self.cell_patches + patch] = place * self.cell_patches + patch;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(t: u32, h: u32, w: u32) -> Grid {
        Grid {
            t,
            h,
            w,
            merge: 2,
            tiles: None,
        }
    }

    #[test]
    fn ragged_edges_make_smaller_windows_and_no_cell_is_lost() {
        // 5 x 6 cells in windows of 4 x 4: two columns and two rows of windows.
        let windows = Windows::new(&grid(1, 10, 12), 4);
        let sizes: Vec<usize> = windows.segments().iter().map(|s| s.len() / 4).collect();
        assert_eq!(sizes, [16, 8, 4, 2]);
        assert_eq!(windows.cells[..6], [0, 1, 2, 3, 6, 7]);
        assert_eq!(windows.cells[16..20], [4, 5, 10, 11]);
        let mut cells = windows.cells.clone();
        cells.sort_unstable();
        assert_eq!(cells, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn frames_have_windows_of_their_own() {
        let windows = Windows::new(&grid(2, 4, 4), 4);
        assert_eq!(windows.segments(), [0..16, 16..32]);
        assert_eq!(windows.cells, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn cells_go_back_to_where_they_came_from() {
        let windows = Windows::new(&grid(1, 4, 12), 4);
        let sorted: Vec<f32> = windows.cells.iter().map(|c| *c as f32).collect();
        let back = windows.unsort_cells(&sorted, 1);
        assert_eq!(back, (0..12).map(|c| c as f32).collect::<Vec<_>>());
    }

    #[test]
    fn work_grows_with_the_windows_and_not_with_the_square_of_the_picture() {
        let scores = |grid: &Grid| -> usize {
            let windows = Windows::new(grid, 4);
            windows.segments().iter().map(|s| s.len() * s.len()).sum()
        };
        let (small, large) = (grid(1, 32, 32), grid(1, 64, 64));
        assert_eq!(scores(&large), 4 * scores(&small));
    }
}
