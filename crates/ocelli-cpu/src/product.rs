//! Products cut into tiles for the threads.

use std::ops::Range;

use ocelli_kernels::{Finish, Kernels, LANES, MatrixMut, Product, Tiles};
use ocelli_tensor::{After, Linear, Storage, Tensor, Vector, Weight};

use crate::memory::CpuStorage;
use crate::pool::Pool;
use crate::rows::{activation, vector};
use crate::weight::{CpuWeight, Part};

/// Multiplications below which waking threads costs more than it saves.
const SMALL: usize = 1 << 17;

/// Rows of a tile: a multiple of every register tile, so that few tiles are ragged.
const TILE_ROWS: usize = 192;

/// Outputs of a tile at most: what unpacked weights of one chunk leave room for in a second-level cache.
const TILE_COLUMNS: usize = 128;

/// A product with its epilogue.
pub(crate) struct Multiply<'a> {
    pub(crate) x: Tensor,
    pub(crate) weight: &'a Weight,
    pub(crate) bias: Option<&'a Vector>,
    pub(crate) finish: Finish,
    pub(crate) out: Tensor,
}

impl<'a> From<Linear<'a>> for Multiply<'a> {
    fn from(op: Linear<'a>) -> Self {
        let finish = match op.after {
            After::Store => Finish::Store,
            After::Add => Finish::Add,
            After::Activate(function) => Finish::Activate(activation(function)),
        };
        Self {
            x: op.x,
            weight: op.weight,
            bias: op.bias,
            finish,
            out: op.out,
        }
    }
}

/// Whether rows belong to prompts or are being generated.
#[derive(Clone, Copy)]
enum Kind {
    Prompt,
    Generated,
}

impl Multiply<'_> {
    pub(crate) fn run(&self, kernels: &dyn Kernels, pool: &Pool, storage: &mut dyn Storage) {
        assert_eq!(
            self.x.columns(),
            self.weight.inputs(),
            "inputs of the product"
        );
        assert_eq!(
            (self.x.rows(), self.weight.outputs()),
            (self.out.rows(), self.out.columns()),
            "its outputs"
        );
        let prompt = self.x.prompt_rows();
        for part in &CpuWeight::of(self.weight).parts {
            self.part(kernels, pool, storage, (part, 0..prompt, Kind::Prompt));
            self.part(
                kernels,
                pool,
                storage,
                (part, prompt..self.x.rows(), Kind::Generated),
            );
        }
    }

    /// The product of some rows with one part of the weight.
    fn part(
        &self,
        kernels: &dyn Kernels,
        pool: &Pool,
        storage: &mut dyn Storage,
        (part, rows, kind): (&Part, Range<usize>, Kind),
    ) {
        if rows.is_empty() {
            return;
        }
        let ([x], mut out) = CpuStorage::of_mut(storage).split([self.x], self.out);
        let x = x.part_rows(rows.clone());
        let out = out.part(rows.clone(), part.outputs.clone());
        let panels = part.panels();
        let bias = self.bias.map(|bias| &vector(bias)[part.outputs.clone()]);
        pool.tiles(
            tiles(out, self.x.columns(), kind, pool.threads()),
            |tile, workspace| {
                let product = Product {
                    x: x.part_rows(tile.rows),
                    weight: panels.part(tile.columns.clone()),
                    bias: bias.map(|bias| &bias[tile.columns]),
                    finish: self.finish,
                    out: tile.out,
                };
                match kind {
                    Kind::Prompt => kernels.product(product, workspace),
                    Kind::Generated => kernels.product_few(product, workspace),
                }
            },
        );
    }
}

/// Tiles large enough to use a cache well and numerous enough to occupy all threads.
fn tiles(out: MatrixMut<'_>, inputs: usize, kind: Kind, threads: usize) -> Tiles<'_> {
    let (rows, columns) = (out.rows(), out.columns().max(1));
    let work = rows * columns * inputs;
    let wanted = if work < SMALL { 1 } else { 4 * threads };
    match kind {
        Kind::Prompt => {
            let mut width = TILE_COLUMNS;
            let count = |width: usize| rows.div_ceil(TILE_ROWS) * columns.div_ceil(width);
            while width > LANES && count(width) < wanted {
                width /= 2;
            }
            Tiles::new(out, TILE_ROWS, width)
        }
        Kind::Generated => {
            let width = columns.div_ceil(wanted).next_multiple_of(LANES);
            Tiles::new(
                out,
                rows,
                if wanted == 1 {
                    width
                } else {
                    width.min(TILE_COLUMNS)
                },
            )
        }
    }
}
