//! What becomes of the sums of a product: bias, activation, store or add.

use std::ops::Range;

use crate::panels::cast::bytes;
use crate::tiles::Meanwhile;
use crate::vector::ahead::LINE;
use crate::vector::{Simd, activate};
use crate::{Finish, LANES, Product, plain};

/// Rows of results that memory is asked for before they are written.
const ROWS_AHEAD: usize = 4;

/// Bias and finish for sums, `[rows, 16 * panels]`.
#[inline(always)]
pub(super) fn finish<S: Simd>(s: S, product: &mut Product<'_>, sums: &mut [f32]) {
    let stride = product.weight.count() * LANES;
    finish_rows(s, product, (sums, stride));
}

/// [`finish`] for rows of sums `stride` apart.
#[inline(always)]
pub(super) fn finish_rows<S: Simd>(
    s: S,
    product: &mut Product<'_>,
    (sums, stride): (&mut [f32], usize),
) {
    let outputs = product.weight.outputs();
    for (row, sums) in sums.chunks_exact_mut(stride.max(1)).enumerate() {
        finish_row(s, product, (row, 0..outputs), &mut sums[..outputs]);
    }
}

/// The same for some outputs of a row.
#[inline(always)]
fn finish_row<S: Simd>(
    s: S,
    product: &mut Product<'_>,
    (row, outputs): (usize, Range<usize>),
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

/// Some rows and outputs; the first of `sums` is that of the first row and output, rows are `stride` apart.
#[inline(always)]
pub(crate) fn finish_part<S: Simd>(
    s: S,
    product: &mut Product<'_>,
    (rows, outputs): (Range<usize>, Range<usize>),
    (sums, stride): (&mut [f32], usize),
) {
    for (row, sums) in rows.zip(sums.chunks_mut(stride)) {
        finish_row(
            s,
            product,
            (row, outputs.clone()),
            &mut sums[..outputs.len()],
        );
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
    fn run(&mut self, _: Range<usize>, _: usize) {}

    fn finish(
        &mut self,
        (sums, stride): (&mut [f32], usize),
        rows: Range<usize>,
        panels: Range<usize>,
    ) {
        if rows.is_empty() || panels.is_empty() {
            return;
        }
        let sums = &mut sums[rows.start * stride + panels.start * LANES..];
        let of_weight = |panel: usize| (self.first_panel + panel) * LANES;
        let end = of_weight(panels.end).min(self.product.weight.outputs());
        let part = (rows, of_weight(panels.start)..end);
        self.s.finish_part(self.product, part, (sums, stride));
    }
}
