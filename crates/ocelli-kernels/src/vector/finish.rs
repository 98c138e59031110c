//! What becomes of the sums of a product: bias, activation, store or add.

use std::ops::Range;

use crate::panels::cast::bytes;
use crate::strided::StridedMut;
use crate::tiles::{Covered, Meanwhile, Share};
use crate::vector::ahead::LINE;
use crate::vector::{Simd, activate};
use crate::{Finish, LANES, Product, plain};

/// Rows of results that memory is asked for before they are written.
const ROWS_AHEAD: usize = 4;

/// Bias and finish for sums, `[rows, 16 * panels]`.
#[inline(always)]
pub(super) fn finish<S: Simd>(s: S, product: &mut Product<'_>, sums: &mut [f32]) {
    let stride = product.weight.count() * LANES;
    let sums = StridedMut {
        values: sums,
        stride,
    };
    finish_rows(s, product, sums);
}

/// [`finish`] for rows of sums that may lie apart.
#[inline(always)]
pub(super) fn finish_rows<S: Simd>(s: S, product: &mut Product<'_>, sums: StridedMut<'_, f32>) {
    let outputs = product.weight.outputs();
    let rows = sums.values.chunks_exact_mut(sums.stride.max(1));
    for (row, sums) in rows.enumerate() {
        finish_row(s, product, row, 0..outputs, &mut sums[..outputs]);
    }
}

/// The same for some outputs of a row.
#[inline(always)]
fn finish_row<S: Simd>(
    s: S,
    product: &mut Product<'_>,
    row: usize,
    outputs: Range<usize>,
    sums: &mut [f32],
) {
    if let Some(bias) = product.bias {
        plain::add(s, &bias[outputs.clone()], sums);
    }
    // Hardware does not follow rows that lie so far apart.
    if row + ROWS_AHEAD < product.x.rows() {
        let later = bytes(&product.out.row(row + ROWS_AHEAD)[outputs.clone()]);
        for at in (0..later.len()).step_by(LINE) {
            s.prefetch_to_write(later, at);
        }
    }
    let out = &mut product.out.row(row)[outputs];
    match product.finish {
        Finish::Store => out.copy_from_slice(sums),
        Finish::Activate(activation) => {
            activate(s, activation, sums);
            out.copy_from_slice(sums);
        }
        Finish::Add => plain::add(s, sums, out),
        Finish::Multiply => plain::multiply(s, sums, out),
    }
}

/// Some rows and outputs; the first of `sums` is that of the first row and output.
#[inline(always)]
pub(crate) fn finish_part<S: Simd>(
    s: S,
    product: &mut Product<'_>,
    rows: Range<usize>,
    outputs: Range<usize>,
    sums: StridedMut<'_, f32>,
) {
    for (row, sums) in rows.zip(sums.values.chunks_mut(sums.stride)) {
        let sums = &mut sums[..outputs.len()];
        finish_row(s, product, row, outputs.clone(), sums);
    }
}

/// Finishes sums while a matrix unit makes the next ones.
pub(super) struct Finishing<'p, 'a, S> {
    pub(super) s: S,
    pub(super) product: &'p mut Product<'a>,
    /// The panel of the weight that is a job's first one.
    pub(super) first_panel: usize,
}

impl<S: Simd> Meanwhile for Finishing<'_, '_, S> {
    fn run(&mut self, _: Share) {}

    fn finish(&mut self, sums: StridedMut<'_, f32>, made: Covered) {
        let Covered { rows, panels } = made;
        if rows.is_empty() || panels.is_empty() {
            return;
        }
        let first = rows.start * sums.stride + panels.start * LANES;
        let of_weight = |panel: usize| (self.first_panel + panel) * LANES;
        let end = of_weight(panels.end).min(self.product.weight.outputs());
        let outputs = of_weight(panels.start)..end;
        let sums = StridedMut {
            values: &mut sums.values[first..],
            ..sums
        };
        self.s.finish_part(self.product, rows, outputs, sums);
    }
}
