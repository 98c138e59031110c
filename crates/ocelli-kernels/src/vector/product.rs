//! Products: panels are unpacked chunk by chunk, or read as they are, and multiplied in register tiles.
//!
//! ```text
//! for each chunk of 256 inputs:
//!     unpack the chunk of all panels to f32       (stays in the second-level cache)
//!     for each 12 rows: pack the rows' chunk      (stays in the first-level cache)
//!         for each pair of panels: a register tile, sums in and out of memory
//! finish: bias, activation, store or add
//! ```

use crate::strided::Strided;
use crate::vector::finish::finish;
use crate::vector::tile::{Halves, Lanes, ROW_STRIDE, Singles, TILE_ROWS, TileJob};
use crate::vector::{Simd, decode, few_chunks, few_pairs, groups, rounded, unpack};
use crate::workspace::room;
use crate::{CHUNK, LANES, Matrix, Operand, PanelFormat, Panels, Product, Workspace};

/// See [`crate::Kernels::product`].
#[inline(always)]
pub(crate) fn product<S: Simd>(s: S, mut product: Product<'_>, workspace: &mut Workspace) {
    product.check();
    let Product { x, weight, .. } = product;
    let columns = weight.count() * LANES;
    match product.operand {
        Operand::F32 => {}
        Operand::Bf16 => return rounded::product_pairs(s, &mut product, workspace),
        Operand::Int8Chunks => return product_bytes(s, product, workspace),
        Operand::Int8Groups => return product_groups(s, product, workspace),
    }
    let sums = room(&mut workspace.sums, x.rows() * columns);
    let rows = room(&mut workspace.rows, TILE_ROWS * ROW_STRIDE);
    if weight.format() == PanelFormat::F32 {
        multiply_as_stored::<S, Singles>(s, x, weight, weight.singles(), rows, sums);
    } else {
        let weights = room(&mut workspace.weights, CHUNK * columns);
        sums.fill(0.0);
        for start in (0..weight.inputs()).step_by(CHUNK) {
            let chunk = start..(start + CHUNK).min(weight.inputs());
            let panel_step = chunk.len() * LANES;
            for panel in 0..weight.count() {
                let out = &mut weights[panel * panel_step..][..panel_step];
                unpack(s, weight, panel, chunk.clone(), out);
            }
            let x = x.part(0..x.rows(), chunk);
            let panels = Strided {
                values: &*weights,
                stride: panel_step,
            };
            multiply_chunk::<S, Singles>(s, x, panels, rows, sums);
        }
    }
    finish(s, &mut product, sums);
}

/// See [`crate::Kernels::product_few`].
#[inline(always)]
pub(crate) fn product_few<S: Simd>(s: S, mut product: Product<'_>, workspace: &mut Workspace) {
    let Product { x, weight, .. } = product;
    let format = weight.format();
    let by_unpacking = matches!(format, PanelFormat::Blocks(_) | PanelFormat::Bytes);
    if by_unpacking && product.operand == Operand::F32 {
        return self::product(s, product, workspace);
    }
    product.check();
    let sums = room(&mut workspace.sums, x.rows() * weight.count() * LANES);
    match product.operand {
        Operand::F32 => {}
        Operand::Int8Groups => return product_few_bytes(s, product, workspace),
        operand => panic!("generated rows are not rounded to {operand:?}"),
    }
    let rows = room(&mut workspace.rows, TILE_ROWS * ROW_STRIDE);
    let groups = format
        .coding()
        .map_or(0, |coding| weight.inputs() / coding.group);
    let totals = room(&mut workspace.totals, x.rows() * groups);
    match format {
        PanelFormat::F32 => {
            multiply_as_stored::<S, Singles>(s, x, weight, weight.singles(), rows, sums)
        }
        PanelFormat::F16 => {
            multiply_as_stored::<S, Halves>(s, x, weight, weight.halves(), rows, sums)
        }
        PanelFormat::BF16 => {
            few_pairs::multiply(s, x, weight, sums);
        }
        PanelFormat::Coded(code) => decode::multiply(s, code, x, weight, totals, sums),
        PanelFormat::Blocks(_) | PanelFormat::Bytes => {}
    }
    finish(s, &mut product, sums);
}

/// [`product`] for [`Operand::Int8Chunks`].
#[inline(always)]
pub(crate) fn product_bytes<S: Simd>(s: S, mut product: Product<'_>, workspace: &mut Workspace) {
    product.check();
    rounded::multiply_bytes(s, &product, workspace);
    let len = product.x.rows() * product.weight.count() * LANES;
    finish(s, &mut product, room(&mut workspace.sums, len));
}

/// [`product`] for [`Operand::Int8Groups`].
#[inline(always)]
pub(crate) fn product_groups<S: Simd>(s: S, mut product: Product<'_>, workspace: &mut Workspace) {
    product.check();
    let Product { x, weight, .. } = product;
    let len = x.rows() * weight.count() * LANES;
    if weight.format() == PanelFormat::Bytes {
        few_chunks::multiply(s, x, weight, room(&mut workspace.sums, len));
    } else {
        groups::multiply(s, &product, workspace);
    }
    finish(s, &mut product, room(&mut workspace.sums, len));
}

/// [`product_few`] for [`Operand::Int8Groups`].
#[inline(always)]
pub(crate) fn product_few_bytes<S: Simd>(
    s: S,
    mut product: Product<'_>,
    workspace: &mut Workspace,
) {
    product.check();
    let Product { x, weight, .. } = product;
    let sums = room(&mut workspace.sums, x.rows() * weight.count() * LANES);
    match weight.format() {
        PanelFormat::Bytes => few_chunks::multiply(s, x, weight, sums),
        PanelFormat::Coded(code) => {
            decode::multiply_bytes(s, code, x, weight, &mut workspace.terms, sums);
        }
        format => panic!("{format:?} has no codes"),
    }
    finish(s, &mut product, sums);
}

/// A product with panels whose elements need no unpacking; `packed` is scratch for rows of `x`.
#[inline(always)]
fn multiply_as_stored<S: Simd, L: Lanes>(
    s: S,
    x: Matrix<'_>,
    weight: Panels<'_>,
    elements: &[L::Element],
    packed: &mut [f32],
    sums: &mut [f32],
) {
    sums.fill(0.0);
    let panel_step = weight.inputs() * LANES;
    if x.rows() == 1 {
        let stride = sums.len();
        return s.tiles(&mut TileJob::<L> {
            a: x.row(0),
            rows: 1,
            depth: weight.inputs(),
            b: elements,
            step: LANES,
            panel_step,
            panels: weight.count(),
            sums,
            stride,
            is_first: true,
            ahead: &[],
        });
    }
    for start in (0..weight.inputs()).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(weight.inputs());
        let panels = Strided {
            values: &elements[start * LANES..],
            stride: panel_step,
        };
        let x = x.part(0..x.rows(), chunk);
        multiply_chunk::<S, L>(s, x, panels, packed, sums);
    }
}

/// Adds the product of a chunk of inputs to the sums; `packed` is scratch for rows of `x`.
#[inline(always)]
fn multiply_chunk<S: Simd, L: Lanes>(
    s: S,
    x: Matrix<'_>,
    panels: Strided<'_, L::Element>,
    packed: &mut [f32],
    sums: &mut [f32],
) {
    let stride = sums.len() / x.rows().max(1);
    for top in (0..x.rows()).step_by(TILE_ROWS) {
        let rows = top..(top + TILE_ROWS).min(x.rows());
        for (row, packed) in rows.clone().zip(packed.chunks_exact_mut(ROW_STRIDE)) {
            packed[..x.columns()].copy_from_slice(x.row(row));
        }
        s.tiles(&mut TileJob::<L> {
            a: packed,
            rows: rows.len(),
            depth: x.columns(),
            b: panels.values,
            step: LANES,
            panel_step: panels.stride,
            panels: stride / LANES,
            sums: &mut sums[top * stride..],
            stride,
            is_first: false,
            ahead: &[],
        });
    }
}
