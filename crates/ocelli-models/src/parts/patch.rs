//! Patches to features: the patch embedding and learned positions.

use ocelli_image::{Grid, Patches};
use ocelli_tensor::{Pass, Tensor, Vector, Weight};

use crate::{Error, Scope};

/// Patches that are embedded together: bounds the memory of their pixels.
const PATCHES_AT_ONCE: usize = 1024;

/// Row and column of each patch in the encoder's order: frame, block row, block column, row in the
/// block, column in the block.
pub(super) fn block_order(grid: &Grid) -> impl Iterator<Item = (usize, usize)> {
    let (rows, columns, merge) = (grid.h as usize, grid.w as usize, grid.merge as usize);
    (0..grid.t).flat_map(move |_| {
        (0..rows).step_by(merge).flat_map(move |row| {
            (0..columns).step_by(merge).flat_map(move |column| {
                (0..merge).flat_map(move |y| (0..merge).map(move |x| (row + y, column + x)))
            })
        })
    })
}

/// A convolution whose stride is its size, which is one product over flattened patches.
#[derive(Debug)]
pub struct PatchEmbedding {
    weight: Weight,
    bias: Option<Vector>,
}

impl PatchEmbedding {
    /// Reads the two temporal kernels `weight` and `weight.1` (`[P, P, 3, width]`), or both in one as
    /// `packed` (`[P, P, 2, 3 * width]`), and `bias`.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn load(scope: &Scope<'_>, width: usize, patch: usize) -> Result<Self, Error> {
        let square = patch * patch;
        if scope.has("packed") {
            let values = scope.values("packed", &[patch, patch, 2, 3 * width])?;
            return Ok(Self {
                weight: scope.pack_values(&values, width, 6 * square)?,
                bias: scope.optional_vector("bias", width)?,
            });
        }
        let shape = [patch, patch, 3, width];
        let first = scope.values("weight", &shape)?;
        let second = scope.values("weight.1", &shape)?;
        // Columns of a patch are ordered channel, frame, row, column.
        let mut values = Vec::with_capacity(2 * first.len());
        for (a, b) in first.chunks_exact(square).zip(second.chunks_exact(square)) {
            values.extend_from_slice(a);
            values.extend_from_slice(b);
        }
        Ok(Self {
            weight: scope.pack_values(&values, width, 6 * square)?,
            bias: scope.optional_vector("bias", width)?,
        })
    }

    /// Reads the one kernel `weight` (`[P, P, 3, width]`) of an encoder for still pictures, and `bias` if the
    /// file has it.
    ///
    /// # Errors
    /// When the kernel is missing or a shape is wrong.
    pub fn load_still(scope: &Scope<'_>, width: usize, patch: usize) -> Result<Self, Error> {
        let values = scope.values("weight", &[patch, patch, 3, width])?;
        Ok(Self {
            weight: scope.pack_values(&values, width, 3 * patch * patch)?,
            bias: scope.optional_vector("bias", width)?,
        })
    }

    /// `[patches, pixels of a patch]` -> `[patches, width]`.
    pub fn forward(&self, pass: &mut Pass<'_>, patches: &Patches) -> Tensor {
        let columns = self.weight.inputs();
        let count = patches.grid.patches();
        let x = pass.take(count, self.weight.outputs());
        for start in (0..count).step_by(PATCHES_AT_ONCE) {
            let rows = start..count.min(start + PATCHES_AT_ONCE);
            let mark = pass.mark();
            let pixels = &patches.pixels[rows.start * columns..rows.end * columns];
            let pixels = pass.upload(pixels, columns, rows.len());
            pass.linear_into(
                &pixels,
                &self.weight,
                self.bias.as_ref(),
                &x.slice_rows(rows),
            );
            pass.release(mark);
        }
        x
    }
}

/// A square table of learned positions, stretched over any grid by bilinear interpolation with
/// aligned corners.
#[derive(Debug)]
pub struct PositionTable {
    values: Vec<f32>,
    side: usize,
    width: usize,
}

impl PositionTable {
    /// Reads `weight` (`[width, side * side]`).
    ///
    /// # Errors
    /// When it is missing, or its number of rows is no square.
    pub fn load(scope: &Scope<'_>, width: usize) -> Result<Self, Error> {
        let rows = scope
            .shape("weight")
            .and_then(|s| s.get(1).copied())
            .unwrap_or(0) as usize;
        let side = rows.isqrt();
        if side == 0 || side * side != rows {
            return Err(scope.loader().invalid(format!(
                "v.position_embd has {rows} rows, need a square number"
            )));
        }
        Ok(Self {
            values: scope.values("weight", &[width, rows])?,
            side,
            width,
        })
    }

    /// Places on each side of the table.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Adds the position of each patch to its row: `[patches, width]`.
    pub fn add_to(&self, pass: &mut Pass<'_>, grid: &Grid, x: &Tensor) {
        let rows = self.axis(grid.h as usize);
        let columns = self.axis(grid.w as usize);
        let order: Vec<(usize, usize)> = block_order(grid).collect();
        for start in (0..order.len()).step_by(PATCHES_AT_ONCE) {
            let block = start..order.len().min(start + PATCHES_AT_ONCE);
            let mut values = vec![0.0; block.len() * self.width];
            for (out, &(y, column)) in values
                .chunks_exact_mut(self.width)
                .zip(&order[block.clone()])
            {
                self.interpolate(rows[y], columns[column], out);
            }
            let mark = pass.mark();
            let values = pass.upload(&values, self.width, block.len());
            pass.add(&values, &x.slice_rows(block));
            pass.release(mark);
        }
    }

    /// Lower neighbour, upper neighbour and weight of the upper one for each place on an axis.
    fn axis(&self, places: usize) -> Vec<(usize, usize, f32)> {
        let last = self.side - 1;
        (0..places)
            .map(|i| {
                let at = (i * last) as f32 / (places.max(2) - 1) as f32;
                let lower = (at as usize).min(last);
                (lower, (lower + 1).min(last), at - lower as f32)
            })
            .collect()
    }

    fn interpolate(&self, y: (usize, usize, f32), x: (usize, usize, f32), out: &mut [f32]) {
        let row = |y: usize, x: usize| {
            let start = (y * self.side + x) * self.width;
            &self.values[start..start + self.width]
        };
        let corners = [
            (row(y.0, x.0), (1.0 - y.2) * (1.0 - x.2)),
            (row(y.0, x.1), (1.0 - y.2) * x.2),
            (row(y.1, x.0), y.2 * (1.0 - x.2)),
            (row(y.1, x.1), y.2 * x.2),
        ];
        for (values, weight) in corners {
            for (out, value) in out.iter_mut().zip(values) {
                *out += weight * value;
            }
        }
    }
}

/// The mean of each cell of `side` x `side` patches, whose rows stand together:
/// `[patches, width]` -> `[patches / side^2, width]`.
pub fn average_cells(pass: &mut Pass<'_>, x: &Tensor, side: usize) -> Tensor {
    let patches = side * side;
    let nth = |n| (n..x.rows()).step_by(patches).collect::<Vec<_>>();
    let cells = pass.gather(x, &nth(0));
    for n in 1..patches {
        let mark = pass.mark();
        let rows = pass.gather(x, &nth(n));
        pass.add(&rows, &cells);
        pass.release(mark);
    }
    pass.scale(1.0 / patches as f32, &cells);
    cells
}
