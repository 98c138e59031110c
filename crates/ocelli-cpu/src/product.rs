//! Products cut into tiles for the threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ocelli_kernels::{
    Finish, Kernels, LANES, Matrix, MatrixMut, Operand, PanelFormat, Product, Tiles,
};
use ocelli_tensor::{After, Linear, Storage, Tensor, Vector, Weight};

use crate::arithmetic::Arithmetic;
use crate::memory::{CpuStorage, Numbers};
use crate::pool::Pool;
use crate::rows::{activation, vector};
use crate::weight::{CpuWeight, Part};

/// Multiplications below which waking threads costs more than it saves.
const SMALL: usize = 1 << 17;

/// Words of rounded rows below which one thread rounds them.
const SMALL_ROUNDING: usize = 1 << 15;

/// Multiple of every register tile and of the tiles of matrix units.
const WHOLE_ROWS: usize = 48;

/// Outputs of a tile of generated rows at most.
const MOST_COLUMNS: usize = 128;

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

/// What products run on.
pub(crate) struct Engine<'a> {
    pub(crate) kernels: &'a dyn Kernels,
    pub(crate) pool: &'a Pool,
    pub(crate) arithmetic: Arithmetic,
    /// Memory for rounded rows, kept between products.
    pub(crate) rounded: &'a Mutex<Numbers<f32>>,
}

impl Engine<'_> {
    /// Products of the same rows, one after the other; rows are rounded once for all of them.
    pub(crate) fn run(&self, storage: &mut dyn Storage, products: &[Multiply<'_>]) {
        let Some(first) = products.first() else {
            return;
        };
        let x = first.x;
        for product in products {
            product.check(x);
        }
        let mut buffer = self.rounded.lock().unwrap_or_else(PoisonError::into_inner);
        let prompt = x.prompt_rows();
        for (kind, rows) in [
            (Kind::Prompt, 0..prompt),
            (Kind::Generated, prompt..x.rows()),
        ] {
            if rows.is_empty() {
                continue;
            }
            let mut present = Operand::F32;
            for product in products {
                for part in &CpuWeight::of(product.weight).parts {
                    let operand = self.operand(kind, part);
                    if operand != Operand::F32 && operand != present {
                        let x = CpuStorage::of(storage).read(x).part_rows(rows.clone());
                        self.round(operand, x, &mut buffer);
                        present = operand;
                    }
                    self.part(
                        product,
                        storage,
                        (part, rows.clone(), kind),
                        buffer.values(),
                    );
                }
            }
        }
    }

    fn operand(&self, kind: Kind, part: &Part) -> Operand {
        let format = part.panels().format();
        match kind {
            Kind::Prompt => self.arithmetic.prompt(format),
            Kind::Generated => self.arithmetic.generated(format),
        }
    }

    fn round(&self, operand: Operand, x: Matrix<'_>, buffer: &mut Numbers<f32>) {
        let words = operand.row_words(x.columns());
        let len = x.rows() * words;
        if buffer.values().len() < len {
            *buffer = Numbers::zeros(len);
        }
        let rows = if len < SMALL_ROUNDING {
            x.rows()
        } else {
            x.rows().div_ceil(4 * self.pool.threads())
        };
        let out = MatrixMut::new(&mut buffer.values_mut()[..len], x.rows(), words);
        self.pool
            .tiles(Tiles::new(out, rows, words), |mut tile, _| {
                for (row, index) in tile.rows.enumerate() {
                    self.kernels.round(operand, x.row(index), tile.out.row(row));
                }
            });
    }

    /// The product of some rows with one part of the weight.
    fn part(
        &self,
        product: &Multiply<'_>,
        storage: &mut dyn Storage,
        (part, rows, kind): (&Part, Range<usize>, Kind),
        rounded: &[f32],
    ) {
        let operand = self.operand(kind, part);
        let ([x], mut out) = CpuStorage::of_mut(storage).split([product.x], product.out);
        let inputs = x.columns();
        let x = if operand == Operand::F32 {
            x.part_rows(rows.clone())
        } else {
            let words = operand.row_words(inputs);
            Matrix::new(&rounded[..rows.len() * words], rows.len(), words)
        };
        let out = out.part(rows.clone(), part.outputs.clone());
        let panels = part.panels();
        let bias = product.bias.map(|bias| &vector(bias)[part.outputs.clone()]);
        // Bytes in groups are the same sums in the same order either way.
        let few_rows = self.kernels.rates().few_rows;
        let kind = match kind {
            Kind::Prompt if operand == Operand::Int8Groups && rows.len() <= few_rows => {
                Kind::Generated
            }
            kind => kind,
        };
        let shape = shape(operand, panels.format());
        self.pool.tiles(
            tiles(out, inputs, (kind, shape), self.pool.threads()),
            |tile, workspace| {
                let job = Product {
                    operand,
                    x: x.part_rows(tile.rows),
                    weight: panels.part(tile.columns.clone()),
                    bias: bias.map(|bias| &bias[tile.columns]),
                    finish: product.finish,
                    out: tile.out,
                };
                match kind {
                    Kind::Prompt => self.kernels.product(job, workspace),
                    Kind::Generated => self.kernels.product_few(job, workspace),
                }
            },
        );
    }
}

impl Multiply<'_> {
    fn check(&self, x: Tensor) {
        assert_eq!(self.x, x, "products of the same rows");
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
    }
}

/// Most rows and most outputs of a tile of a prompt's product. Rows are a multiple of every register tile and of the tiles of
/// matrix units, so that few are ragged; rows, weights and sums of a chunk of inputs fit a second-level cache.
fn shape(operand: Operand, format: PanelFormat) -> (usize, usize) {
    match operand {
        Operand::F32 => (192, 128),
        // Weights are used as they are.
        Operand::Bf16 if format == PanelFormat::BF16 => (384, 128),
        // A step of the engine in one tile, so that weights are unpacked once.
        Operand::Int8Groups => (528, 128),
        // Unpacking weights is paid for by many rows.
        _ => (768, 64),
    }
}

/// Tiles large enough to use a cache well and numerous enough to occupy all threads.
fn tiles(
    out: MatrixMut<'_>,
    inputs: usize,
    (kind, (tile_rows, tile_columns)): (Kind, (usize, usize)),
    threads: usize,
) -> Tiles<'_> {
    let (rows, columns) = (out.rows(), out.columns().max(1));
    let work = rows * columns * inputs;
    let wanted = if work < SMALL { 1 } else { 4 * threads };
    match kind {
        Kind::Prompt => {
            // Bands of the same height: a low one costs as much unpacking as a high one, and is an uneven share of the work.
            let bands = rows.div_ceil(tile_rows);
            let height = rows.div_ceil(bands).next_multiple_of(WHOLE_ROWS);
            let mut width = tile_columns;
            while width > LANES && bands * columns.div_ceil(width) < wanted {
                width /= 2;
            }
            Tiles::new(out, height, width)
        }
        Kind::Generated => {
            let width = columns.div_ceil(wanted).next_multiple_of(LANES);
            Tiles::new(
                out,
                rows,
                if wanted == 1 {
                    width
                } else {
                    width.min(MOST_COLUMNS)
                },
            )
        }
    }
}
