//! Attention of some query rows to the keys of one head: online softmax over blocks of keys, memory
//! linear in tokens.
//!
//! ```text
//! for each block of keys, in order:
//!     s = q k^T                      (0 weight where a query does not see a key)
//!     m' = max(m, s);  p = exp(s - m');  a = exp(m - m')
//!     total = a total + sum(p);  sums = a sums + p v
//! out = sums / total
//! ```
//! Blocks start at multiples of their size in the sequence or segment, so a row's result does not
//! depend on which rows are computed beside it.

use std::ops::Range;

use crate::matrix::ROW_STRIDE;
use crate::workspace::{AttentionSpace, Buffer, room};
use crate::{
    CHUNK, Element, Kernels, KeyPanels, LANES, Matrix, MatrixMut, PagedHead, Softmax, ValueRows,
    Workspace,
};

/// Keys of one step of the online softmax, for rows of prompts and pictures: as `f32` they stay in
/// a cache, with their values, while many rows read them.
const BLOCK: usize = 128;

/// The same for generated rows, which read keys and values from memory as they come: while a step
/// ends, memory rests.
const BLOCK_OF_GENERATED: usize = 256;

const _: () = assert!(
    BLOCK_OF_GENERATED <= ROW_STRIDE,
    "a block's scores fit a row of them"
);

/// Query rows that share one pass over a block: a multiple of every register tile.
const TILE: usize = 12;

/// Which keys a row sees: tokens of the sequence or segment.
pub type QueryRow = Range<usize>;

/// Where one head's keys and values are.
#[derive(Clone, Copy)]
pub enum KeyValues<'a> {
    /// Rows of this pass, `[tokens, dim]` each.
    Rows {
        /// Keys.
        keys: Matrix<'a>,
        /// Values.
        values: Matrix<'a>,
    },
    /// Pages of a cache.
    Paged(PagedHead<'a>),
}

/// When keys and values in 8 bits are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// Once for all rows.
    Before,
    /// In registers, as they are read.
    Reading,
}

/// Attention of some rows, for the query heads that share one key/value head.
pub struct Attention<'a> {
    /// `[rows, group * dim]`.
    pub queries: Matrix<'a>,
    /// Elements of a head.
    pub dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Keys and values.
    pub keys_values: KeyValues<'a>,
    /// Whether keys and values in 8 bits are decoded as they are read, as generated rows do it,
    /// which also take longer steps, or once for all rows. The two differ in the last bits.
    pub decode: Decode,
    /// Tokens that a row sees; never none.
    pub visible: &'a dyn Fn(usize) -> QueryRow,
}

/// A block of keys and values as the kernels take them.
struct Block<'a> {
    tokens: Range<usize>,
    /// The end of what any row sees: blocks up to it follow.
    end: usize,
    source: Source<'a>,
}

/// Memory for a block that is copied.
struct BlockSpace<'a> {
    keys: &'a mut Buffer<f32>,
    values: &'a mut Buffer<f32>,
}

enum Source<'a> {
    /// Panels and rows that lie together.
    Whole(Element<'a>, ValueRows<'a>),
    /// Runs inside pages.
    Pages(PagedHead<'a>),
}

impl Attention<'_> {
    /// Computes `out`, `[rows, group * dim]`.
    ///
    /// # Panics
    /// When shapes do not fit.
    pub fn run(&self, kernels: &dyn Kernels, out: &mut MatrixMut<'_>, workspace: &mut Workspace) {
        let group = self.queries.columns() / self.dim;
        assert_eq!(
            (self.queries.rows(), group * self.dim),
            (out.rows(), out.columns()),
            "queries and results"
        );
        let count = self.queries.rows() * group;
        let width = self.dim.next_multiple_of(LANES);
        let AttentionSpace {
            keys,
            values,
            queries,
            scores,
            sums,
            largest,
            total,
            ..
        } = &mut workspace.attention;
        let queries = self.scaled_queries(room(queries, count * self.query_stride()));
        let sums = room(sums, count * width);
        sums.fill(0.0);
        let total = room(total, count);
        total.fill(0.0);
        let largest = room(largest, count);
        largest.fill(f32::NEG_INFINITY);
        let scores = room(scores, TILE * ROW_STRIDE);

        let Range { start: first, end } = self.seen_by_all();
        self.ask_for_first(kernels, first..end);
        let size = self.block_tokens();
        for start in (first / size * size..end).step_by(size) {
            let tokens = start..(start + size).min(end);
            let space = BlockSpace {
                keys: &mut *keys,
                values: &mut *values,
            };
            let block = self.block(kernels, tokens, end, count, space);
            for tile in (0..count).step_by(TILE) {
                let rows = tile..(tile + TILE).min(count);
                let mut visible: [Range<usize>; TILE] = Default::default();
                let visible = &mut visible[..rows.len()];
                for (visible, query) in visible.iter_mut().zip(rows.clone()) {
                    *visible = block.clip(self.seen(query, group));
                }
                if visible.iter().all(|visible| visible.is_empty()) {
                    continue;
                }
                let step = Softmax {
                    scores: &mut *scores,
                    stride: ROW_STRIDE,
                    tokens: block.tokens.len().next_multiple_of(LANES),
                    visible,
                    largest: &mut largest[rows.clone()],
                    total: &mut total[rows.clone()],
                    sums: &mut sums[rows.start * width..rows.end * width],
                };
                block.attend(kernels, queries.part_rows(rows), step);
            }
        }
        self.divide(sums, total, out);
    }

    /// The last step: weighted sums of all queries, each row as wide as whole vectors, by the sums
    /// of their weights.
    #[inline(always)]
    pub(crate) fn divide(&self, sums: &[f32], total: &[f32], out: &mut MatrixMut<'_>) {
        let group = out.columns() / self.dim;
        let width = self.dim.next_multiple_of(LANES);
        for (query, (sums, total)) in sums.chunks_exact(width).zip(total).enumerate() {
            let row = &mut out.row(query / group)[query % group * self.dim..][..self.dim];
            for (out, sum) in row.iter_mut().zip(sums) {
                *out = sum / total;
            }
        }
    }

    /// From the first to the last token that any row sees.
    pub(crate) fn seen_by_all(&self) -> Range<usize> {
        let seen = || (0..self.queries.rows()).map(|row| (self.visible)(row));
        let first = seen().map(|seen| seen.start).min().unwrap_or(0);
        first..seen().map(|seen| seen.end).max().unwrap_or(0)
    }

    /// Tokens that a query (row times heads of the group) sees.
    fn seen(&self, query: usize, group: usize) -> Range<usize> {
        (self.visible)(query / group)
    }

    /// Elements from one query to the next: what register tiles take as it is, where heads are short enough.
    fn query_stride(&self) -> usize {
        if self.dim <= CHUNK {
            ROW_STRIDE
        } else {
            self.dim
        }
    }

    fn scaled_queries<'q>(&self, queries: &'q mut [f32]) -> Matrix<'q> {
        let (dim, stride) = (self.dim, self.query_stride());
        let group = self.queries.columns() / dim;
        for (query, out) in queries.chunks_exact_mut(stride).enumerate() {
            let head = &self.queries.row(query / group)[query % group * dim..][..dim];
            for (out, query) in out.iter_mut().zip(head) {
                *out = query * self.scale;
            }
        }
        let count = queries.len() / stride;
        Matrix::new(queries, count, stride).part(0..count, 0..dim)
    }

    /// Keys of one step of the online softmax.
    fn block_tokens(&self) -> usize {
        match self.decode {
            Decode::Before => BLOCK,
            Decode::Reading => BLOCK_OF_GENERATED,
        }
    }

    /// Asks memory for the first values, while keys are read: later ones are asked for when those
    /// before them are read.
    fn ask_for_first(&self, kernels: &dyn Kernels, tokens: Range<usize>) {
        if let KeyValues::Paged(head) = &self.keys_values {
            head.ask_for_first(kernels, tokens, self.dim);
        }
    }

    /// Keys and values of `tokens`; copied as `f32` when more than a tile of the `queries` will
    /// read them. Blocks up to token `end` follow.
    fn block<'b>(
        &'b self,
        kernels: &dyn Kernels,
        tokens: Range<usize>,
        end: usize,
        queries: usize,
        BlockSpace { keys, values }: BlockSpace<'b>,
    ) -> Block<'b> {
        let dim = self.dim;
        let width = dim.next_multiple_of(LANES);
        let count = tokens.len();
        let panels = room(keys, count.next_multiple_of(LANES) * dim);
        let source = match &self.keys_values {
            KeyValues::Rows { keys, values: rows } => {
                kernels.transpose(keys.part_rows(tokens.clone()), panels);
                let rows = rows.part_rows(tokens.clone());
                let (values, stride) = if width == dim {
                    (rows.values(), rows.stride())
                } else {
                    (pad_rows(rows, width, room(values, count * width)), width)
                };
                Source::Whole(
                    Element::F32(panels),
                    ValueRows {
                        values: Element::F32(values),
                        tokens: count,
                        stride,
                        before: 0,
                        ahead: Element::NONE,
                    },
                )
            }
            KeyValues::Paged(head) => {
                let size = self.block_tokens();
                let aligned = head.page_tokens.is_multiple_of(LANES)
                    && (size.is_multiple_of(head.page_tokens)
                        || head.page_tokens.is_multiple_of(size));
                let as_it_is = match head.keys {
                    Element::F32(_) => true,
                    Element::F16(_) => queries <= TILE,
                    Element::Q8(_) => self.decode == Decode::Reading,
                };
                if aligned && as_it_is {
                    Source::Pages(*head)
                } else {
                    let values = room(values, count * width);
                    head.gather(kernels, tokens.clone(), dim, panels, values);
                    let values = ValueRows {
                        values: Element::F32(values),
                        tokens: count,
                        stride: width,
                        before: 0,
                        ahead: Element::NONE,
                    };
                    Source::Whole(Element::F32(panels), values)
                }
            }
        };
        Block {
            tokens,
            end,
            source,
        }
    }
}

fn pad_rows<'v>(rows: Matrix<'_>, width: usize, values: &'v mut [f32]) -> &'v [f32] {
    for (token, out) in values.chunks_exact_mut(width).enumerate() {
        let (head, padding) = out.split_at_mut(rows.columns());
        head.copy_from_slice(rows.row(token));
        padding.fill(0.0);
    }
    values
}

impl Block<'_> {
    /// The part of `tokens` that lies in the block, counted from its start.
    fn clip(&self, tokens: Range<usize>) -> Range<usize> {
        let clip = |t: usize| t.clamp(self.tokens.start, self.tokens.end) - self.tokens.start;
        clip(tokens.start)..clip(tokens.end)
    }

    /// One step of the online softmax for a tile of rows.
    fn attend(&self, kernels: &dyn Kernels, queries: Matrix<'_>, mut step: Softmax<'_>) {
        self.scores(kernels, queries, &mut step);
        let visible = step.visible;
        let (stride, rows) = (step.stride, queries.rows());
        kernels.softmax(step.reborrow());
        // Values outside of what the rows see are never touched: 0 * NaN of a stale page would be NaN.
        let seen = visible.iter().filter(|v| !v.is_empty());
        let first = seen.clone().map(|v| v.start).min().unwrap_or(0);
        let end = seen.map(|v| v.end).max().unwrap_or(0);
        let weights = Matrix::new(&step.scores[..rows * stride], rows, stride);
        self.weigh(kernels, queries.columns(), weights, first..end, step.sums);
    }

    fn scores(&self, kernels: &dyn Kernels, queries: Matrix<'_>, step: &mut Softmax<'_>) {
        let dim = queries.columns();
        match &self.source {
            Source::Whole(keys, _) => {
                let keys = KeyPanels::together(*keys, dim);
                kernels.scores(queries, keys, step.scores, step.stride);
            }
            Source::Pages(head) => {
                for (tokens, keys) in head.key_runs(self.tokens.clone(), self.end, dim) {
                    let scores = &mut step.scores[tokens.start - self.tokens.start..];
                    kernels.scores(queries, keys, scores, step.stride);
                }
            }
        }
    }

    fn weigh(
        &self,
        kernels: &dyn Kernels,
        dim: usize,
        weights: Matrix<'_>,
        seen: Range<usize>,
        sums: &mut [f32],
    ) {
        let part = |columns: usize| weights.part(0..weights.rows(), columns..weights.columns());
        match &self.source {
            Source::Whole(_, values) => {
                let from = seen.start * values.stride;
                let rest = values.values.part(from..values.values.len());
                let values = ValueRows {
                    values: rest,
                    tokens: seen.len(),
                    ..*values
                };
                kernels.weigh(part(seen.start), values, sums);
            }
            Source::Pages(head) => {
                let start = self.tokens.start + seen.start;
                let tokens = start..self.tokens.start + seen.end;
                for (run, values) in head.value_runs(tokens, self.end, dim) {
                    kernels.weigh(part(run.start - self.tokens.start), values, sums);
                }
            }
        }
    }
}
