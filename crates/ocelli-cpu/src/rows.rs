//! Operations row by row or element by element.

use std::sync::atomic::{AtomicBool, Ordering};

use ocelli_kernels::{self as kernels, Kernels, MatrixMut, Tiles};
use ocelli_tensor::{
    Activation, LayerNorm, RmsNorm, Rope, RopeStyle, Storage, Tensor, Vector, Weight,
};

use crate::backend::CpuBackend;
use crate::memory::CpuStorage;
use crate::weight::CpuWeight;

/// Rows of two kinds, whose products and attention round differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// Of prompts and pictures.
    Prompt,
    /// Of tokens that are being generated.
    Generated,
}

/// Elements for which a thread is worth waking.
const RUN: usize = 1 << 14;

pub(crate) fn activation(function: Activation) -> kernels::Activation {
    match function {
        Activation::Silu => kernels::Activation::Silu,
        Activation::GeluErf => kernels::Activation::GeluErf,
        Activation::GeluTanh => kernels::Activation::GeluTanh,
        Activation::QuickGelu => kernels::Activation::QuickGelu,
    }
}

/// The backend's own form of a vector.
pub(crate) fn vector(vector: &Vector) -> &[f32] {
    vector
        .values()
        .downcast_ref::<Vec<f32>>()
        .expect("the vector was made by this backend")
}

impl CpuBackend {
    /// Calls `f` with the index and the elements of each row of `out`, on all threads when it pays.
    pub(crate) fn rows(
        &self,
        out: MatrixMut<'_>,
        f: impl Fn(usize, &mut [f32], &dyn Kernels) + Sync,
    ) {
        let columns = out.columns().max(1);
        let rows = out
            .rows()
            .div_ceil(4 * self.pool.threads())
            .max(RUN / columns)
            .max(1);
        let kernels = &*self.kernels;
        self.pool
            .tiles(Tiles::new(out, rows, columns), |mut tile, _| {
                for row in 0..tile.out.rows() {
                    f(tile.rows.start + row, tile.out.row(row), kernels);
                }
            });
    }

    pub(crate) fn copy_rows(
        &self,
        storage: &mut dyn Storage,
        x: Tensor,
        out: Tensor,
        from: impl Fn(usize) -> usize + Sync,
    ) {
        let ([x], out) = CpuStorage::of_mut(storage).split([x], out);
        self.rows(out, |row, out, _| out.copy_from_slice(x.row(from(row))));
    }

    pub(crate) fn embed_rows(
        &self,
        storage: &mut dyn Storage,
        weight: &Weight,
        ids: &[u32],
        out: Tensor,
    ) {
        assert_eq!(
            (ids.len(), weight.inputs()),
            (out.rows(), out.columns()),
            "one row per id"
        );
        let packed = CpuWeight::of(weight);
        let out = CpuStorage::of_mut(storage).write(out);
        let (columns, kernels) = (out.columns().max(1), &*self.kernels);
        let rows = out.rows().div_ceil(4 * self.pool.threads()).max(1);
        self.pool
            .tiles(Tiles::new(out, rows, columns), |mut tile, workspace| {
                for row in 0..tile.out.rows() {
                    let id = ids[tile.rows.start + row] as usize;
                    packed.row(kernels, id, workspace, tile.out.row(row));
                }
            });
    }

    /// `f(out[rows[i]], x[i])`; rows are few, so one thread does it.
    pub(crate) fn scatter_rows(
        &self,
        storage: &mut dyn Storage,
        x: Tensor,
        rows: &[usize],
        out: Tensor,
        f: impl Fn(&mut [f32], &[f32]),
    ) {
        assert_eq!(
            (rows.len(), out.columns()),
            (x.rows(), x.columns()),
            "one target per row"
        );
        let ([x], mut out) = CpuStorage::of_mut(storage).split([x], out);
        for (i, row) in rows.iter().enumerate() {
            f(out.row(*row), x.row(i));
        }
    }

    /// Calls `f` for runs of elements of `out` and the same elements of `x`.
    pub(crate) fn elements(
        &self,
        storage: &mut dyn Storage,
        x: Tensor,
        out: Tensor,
        f: impl Fn(&[f32], &mut [f32]) + Sync,
    ) {
        assert_eq!(
            (x.rows(), x.columns()),
            (out.rows(), out.columns()),
            "operands of the same shape"
        );
        let ([x], out) = CpuStorage::of_mut(storage).split([x], out);
        self.rows(out, |row, out, _| f(x.row(row), out));
    }

    /// `out = x` unless they are the same, then `f` on each row of `out`.
    pub(crate) fn in_place(
        &self,
        storage: &mut dyn Storage,
        x: Tensor,
        out: Tensor,
        f: impl Fn(usize, &mut [f32], &dyn Kernels) + Sync,
    ) {
        assert_eq!(
            (x.rows(), x.columns()),
            (out.rows(), out.columns()),
            "operands of the same shape"
        );
        let storage = CpuStorage::of_mut(storage);
        if x.range() == out.range() {
            return self.rows(storage.write(out), f);
        }
        let ([x], out) = storage.split([x], out);
        self.rows(out, |row, out, kernels| {
            out.copy_from_slice(x.row(row));
            f(row, out, kernels);
        });
    }

    pub(crate) fn rms_norm_rows(&self, storage: &mut dyn Storage, norm: RmsNorm<'_>) {
        let weight = vector(norm.weight);
        assert!(
            norm.x.columns().is_multiple_of(weight.len()),
            "groups of {} columns",
            weight.len()
        );
        self.in_place(storage, norm.x, norm.out, |_, row, kernels| {
            for group in row.chunks_exact_mut(weight.len()) {
                kernels.rms_norm(group, weight, norm.eps);
            }
        });
    }

    pub(crate) fn layer_norm_rows(&self, storage: &mut dyn Storage, norm: LayerNorm<'_>) {
        let (weight, bias) = (vector(norm.weight), norm.bias.map(vector));
        self.in_place(storage, norm.x, norm.out, |_, row, kernels| {
            kernels.layer_norm(row, weight, bias, norm.eps);
        });
    }

    pub(crate) fn rope_rows(&self, storage: &mut dyn Storage, rope: Rope) {
        assert!(
            rope.x.columns().is_multiple_of(rope.dim),
            "heads of {}",
            rope.dim
        );
        let style = match rope.style {
            RopeStyle::Halves => kernels::RopeStyle::Halves,
            RopeStyle::Pairs => kernels::RopeStyle::Pairs,
        };
        let ([angles], x) = CpuStorage::of_mut(storage).split([rope.angles], rope.x);
        self.rows(x, |row, x, kernels| {
            for head in x.chunks_exact_mut(rope.dim) {
                kernels.rope(head, angles.row(row), style);
            }
        });
    }

    pub(crate) fn all_finite(&self, storage: &dyn Storage, x: Tensor) -> bool {
        let x = CpuStorage::of(storage).read(x);
        let rows = (RUN / x.columns().max(1)).max(1);
        let finite = AtomicBool::new(true);
        self.pool.run(x.rows().div_ceil(rows), &|run, _| {
            let last = ((run + 1) * rows).min(x.rows());
            if !(run * rows..last).all(|row| self.kernels.is_finite(x.row(row))) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }
}
