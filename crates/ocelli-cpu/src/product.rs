//! Products of several weights with the same rows, whose tiles the threads take.

mod cut;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ocelli_kernels::{
    Finish, Kernels, LANES, Matrix, MatrixMut, Operand, Product, Tiles, Workspace,
};
use ocelli_tensor::{After, Linear, Storage, Tensor, Vector, Weight};

use crate::arithmetic::Arithmetic;
use crate::memory::{CpuStorage, Numbers, PastCaches};
use crate::pool::Pool;
use crate::rows::{RowKind, activation, vector};
use crate::upcoming::{FirstTiles, Order};
use crate::weight::{CpuWeight, Part};
use cut::{Cut, TileShape};

/// Words of rounded rows below which one thread rounds them.
const SMALL_ROUNDING: usize = 1 << 15;

/// Numbers of a result that second-level caches do not hold until it is read.
const LARGE: usize = 1 << 20;

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

/// Runs products on kernels and threads.
pub(crate) struct Multiplier<'a> {
    pub(crate) kernels: &'a dyn Kernels,
    pub(crate) pool: &'a Pool,
    pub(crate) arithmetic: Arithmetic,
    /// Memory for rounded rows, kept between products.
    pub(crate) rounded: &'a Mutex<Numbers<f32>>,
    /// In which order generated rows read weights.
    pub(crate) order: &'a Mutex<Order>,
}

/// Most results of products that are computed side by side.
const SIDE_BY_SIDE: usize = 4;

/// Products with one result, one after the other.
#[derive(Clone, Copy)]
struct Chain<'a> {
    products: &'a [Multiply<'a>],
    /// Which part of their weights.
    part: usize,
    /// What the rows are, and how they are rounded.
    kind: RowKind,
    operand: Operand,
}

impl<'a> Chain<'a> {
    fn parts(&self) -> impl Iterator<Item = (&'a Multiply<'a>, &'a Part)> {
        let part = self.part;
        let of = move |product: &'a Multiply<'a>| &CpuWeight::of(product.weight).parts[part];
        self.products
            .iter()
            .map(move |product| (product, of(product)))
    }

    fn out(&self) -> Tensor {
        self.products[0].out
    }

    /// Whether it makes its result in several steps and needs nothing of what was there.
    fn has_steps(&self) -> bool {
        let first = self.products[0].finish;
        self.products.len() > 1 && matches!(first, Finish::Store | Finish::Activate(_))
    }

    fn first_part(&self) -> &'a Part {
        &CpuWeight::of(self.products[0].weight).parts[self.part]
    }
}

/// Chains whose tiles the threads take one by one.
#[derive(Clone, Copy)]
struct SideBySide<'a> {
    products: &'a [Multiply<'a>],
    part: usize,
    kind: RowKind,
    operand: Operand,
}

impl<'a> SideBySide<'a> {
    fn chains(self) -> impl Iterator<Item = Chain<'a>> {
        let same = |a: &Multiply<'_>, b: &Multiply<'_>| a.out == b.out;
        let chains = self.products.chunk_by(same);
        chains.map(move |products| Chain {
            products,
            part: self.part,
            kind: self.kind,
            operand: self.operand,
        })
    }

    /// Weights of the tiles that threads take first, which are those of the first result.
    fn first_tiles(self, tiles: &Tiles<'_>, threads: usize) -> FirstTiles {
        let Some(chain) = self.chains().next() else {
            return FirstTiles::default();
        };
        let part = chain.first_part();
        let width = tiles.across().next().map_or(0, |columns| columns.len());
        let is_wide = |columns: &Range<usize>| columns.len() == width;
        FirstTiles {
            weights: part.memory(),
            step: width.div_ceil(LANES) * part.panels().panel(0).len(),
            count: tiles.across().take(threads).take_while(is_wide).count(),
        }
    }

    /// Tiles of some rows of the results.
    fn tiles<'o>(
        self,
        outs: &'o mut [MatrixMut<'_>; SIDE_BY_SIDE],
        rows: Range<usize>,
        inputs: usize,
        multiplier: &Multiplier<'_>,
    ) -> [Tiles<'o>; SIDE_BY_SIDE] {
        let widths = self.chains().map(|chain| chain.first_part().outputs.len());
        let mut cut = Cut {
            kind: self.kind,
            inputs,
            columns: widths.sum(),
            threads: multiplier.pool.threads(),
        };
        let rates = multiplier.kernels.rates();
        let mut left = self.chains().count();
        let mut places = outs.iter_mut().zip(self.chains());
        std::array::from_fn(|_| {
            let Some((out, chain)) = places.next() else {
                return Tiles::new(MatrixMut::new(&mut [], 0, 0), 1, 1);
            };
            left -= 1;
            let part = chain.first_part();
            let out = out.part(rows.clone(), part.outputs.clone());
            let shape = TileShape::new(self.operand, part.panels().format(), rates);
            let tiles = cut.tiles(out, shape, left == 0);
            if let RowKind::Generated = self.kind {
                // Tiles get smaller from result to result, as they do at the end of the last.
                cut.columns -= part.outputs.len();
            }
            tiles
        })
    }
}

impl Multiplier<'_> {
    /// Products of the same rows. Those that share a result are done in order, others side by side;
    /// rows are rounded once for all of them.
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
            (RowKind::Prompt, 0..prompt),
            (RowKind::Generated, prompt..x.rows()),
        ] {
            if rows.is_empty() {
                continue;
            }
            let mut present = Operand::F32;
            let mut rest = products;
            while !rest.is_empty() {
                let together;
                (together, rest) = rest.split_at(self.together(kind, rest));
                for (index, part) in CpuWeight::of(together[0].weight).parts.iter().enumerate() {
                    let operand = self.operand(kind, part);
                    if operand != Operand::F32 && operand != present {
                        let x = CpuStorage::of(storage).read(x).part_rows(rows.clone());
                        self.round(operand, x, &mut buffer);
                        present = operand;
                    }
                    let job = SideBySide {
                        products: together,
                        part: index,
                        kind,
                        operand,
                    };
                    self.side_by_side(storage, job, rows.clone(), buffer.values());
                }
            }
        }
    }

    fn operand(&self, kind: RowKind, part: &Part) -> Operand {
        let format = part.panels().format();
        match kind {
            RowKind::Prompt => self.arithmetic.prompt(format),
            RowKind::Generated => self.arithmetic.generated(format),
        }
    }

    /// How many of the first products can run at once: of weights in one part that take rows in the
    /// same form.
    fn together(&self, kind: RowKind, products: &[Multiply<'_>]) -> usize {
        let whole = |product: &Multiply<'_>| match &*CpuWeight::of(product.weight).parts {
            [part] => Some(self.operand(kind, part)),
            _ => None,
        };
        let mut results = 0;
        let mut last = None;
        let fits = |product: &&Multiply<'_>| {
            results += usize::from(last != Some(product.out));
            last = Some(product.out);
            results <= SIDE_BY_SIDE
                && whole(product).is_some()
                && whole(product) == whole(&products[0])
        };
        products.iter().take_while(fits).count().max(1)
    }

    fn round(&self, operand: Operand, x: Matrix<'_>, buffer: &mut Numbers<f32>) {
        let words = operand.row_words(x.columns());
        let len = x.rows() * words;
        if buffer.values().len() < len {
            *buffer = Numbers::zeros(len);
        }
        let out = MatrixMut::new(&mut buffer.values_mut()[..len], x.rows(), words);
        let rows = if len < SMALL_ROUNDING {
            x.rows()
        } else {
            x.rows().div_ceil(4 * self.pool.threads())
        };
        let copies = self.may_lie_apart();
        let tiles = Tiles::new(out, rows, words);
        self.pool.tiles(tiles, |mut tile, workspace| {
            let mut past_caches = PastCaches::new();
            for (row, index) in tile.rows.enumerate() {
                let out = tile.out.row(row);
                if copies {
                    // All threads have read what was here, and rounding writes here and there: one
                    // row of 6144 took 20 us in place where caches lie apart, of which 13 were
                    // spent waiting for them.
                    let rounded = room(&mut workspace.spare, words);
                    self.kernels.round(operand, x.row(index), rounded);
                    past_caches.copy(rounded, out);
                } else {
                    self.kernels.round(operand, x.row(index), out);
                }
            }
        });
    }

    /// Whether threads may have different third-level caches, so that a line which one writes and
    /// others read is handed on slowly. Not on processors with a matrix unit: a socket of theirs
    /// has one for all cores, and their products are so short that results on their way through
    /// memory would be waited for.
    fn may_lie_apart(&self) -> bool {
        !self.kernels.rates().tiles
    }

    /// Products of some rows with one part of each weight, cut into tiles for the threads.
    fn side_by_side(
        &self,
        storage: &mut dyn Storage,
        mut job: SideBySide<'_>,
        rows: Range<usize>,
        rounded: &[f32],
    ) {
        // Bytes in groups are the same sums in the same order either way.
        if job.operand == Operand::Int8Groups && rows.len() <= self.kernels.rates().few_rows {
            job.kind = RowKind::Generated;
        }
        let storage = CpuStorage::of_mut(storage);
        let results = job.chains().map(|chain| chain.out());
        let (x, mut outs) = storage.split_each(job.products[0].x, results);
        let inputs = x.columns();
        let x = if job.operand == Operand::F32 {
            x.part_rows(rows.clone())
        } else {
            let words = job.operand.row_words(inputs);
            Matrix::new(&rounded[..rows.len() * words], rows.len(), words)
        };
        let tiles = job.tiles(&mut outs, rows, inputs, self);
        if matches!(job.kind, RowKind::Generated) {
            let product = job.first_tiles(&tiles[0], self.pool.threads());
            let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = order.follow(product) {
                self.pool.read_when_idle(next);
            }
        }
        let largest = x.rows()
            * job
                .chains()
                .map(|chain| chain.out().columns())
                .max()
                .unwrap_or(0);
        let is_apart = largest >= LARGE && self.may_lie_apart();
        self.pool.tiles_of(&tiles, |which, mut tile, workspace| {
            let chain = job.chains().nth(which).expect("tiles are those of chains");
            let x = x.part_rows(tile.rows.clone());
            if !(is_apart && chain.has_steps()) {
                return self.multiply(chain, x, tile.columns, tile.out, workspace);
            }
            // Made apart and written once.
            let mut spare = std::mem::take(&mut workspace.spare);
            let (height, width) = (tile.rows.len(), tile.columns.len());
            let apart = MatrixMut::new(room(&mut spare, height * width), height, width);
            self.multiply(chain, x, tile.columns, apart, workspace);
            let mut past_caches = PastCaches::new();
            for (row, values) in spare.chunks_exact(width).enumerate().take(height) {
                past_caches.copy(values, tile.out.row(row));
            }
            workspace.spare = spare;
        });
    }

    /// The products of a chain for some rows and some columns of its part.
    fn multiply(
        &self,
        chain: Chain<'_>,
        x: Matrix<'_>,
        columns: Range<usize>,
        mut out: MatrixMut<'_>,
        workspace: &mut Workspace,
    ) {
        let (all_rows, all_columns) = (0..out.rows(), 0..out.columns());
        for (product, part) in chain.parts() {
            let bias = product.bias.map(|bias| &vector(bias)[part.outputs.clone()]);
            let product = Product {
                operand: chain.operand,
                x,
                weight: part.panels().part(columns.clone()),
                bias: bias.map(|bias| &bias[columns.clone()]),
                finish: product.finish,
                out: out.part(all_rows.clone(), all_columns.clone()),
            };
            match chain.kind {
                RowKind::Prompt => self.kernels.product(product, workspace),
                RowKind::Generated => self.kernels.product_few(product, workspace),
            }
        }
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

/// The first `len` numbers of a buffer, which grows when it must.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
