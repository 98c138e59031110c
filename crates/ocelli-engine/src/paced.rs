//! A backend that works in short pieces and stops between them, so that long work can wait for others.
//!
//! Products and attention are cut into runs of rows; by the backend's contract their results do not
//! depend on it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ocelli_tensor::{
    Activation, Attend, AttentionPart, AttentionPlan, Backend, GatedMlp, KvLayout, KvStore,
    LayerNorm, Linear, PackError, RmsNorm, Rope, Storage, Tensor, Use, Vector, Weight,
    WeightSource, Within, WriteKv,
};

/// Fewest rows of a piece: fewer would leave the kernels' tiles empty.
const LEAST_ROWS: usize = 96;

/// What the rows of a piece are a multiple of, where it matters little for its length: tiles of matrix units.
const WHOLE_ROWS: usize = 32;

/// See the module.
pub(crate) struct Paced<'a> {
    inner: Arc<dyn Backend>,
    /// Multiplications of the next piece: the pause may change them.
    piece: &'a AtomicU64,
    /// Called between two pieces; may take as long as it wants.
    pause: &'a (dyn Fn() + Sync),
}

impl<'a> Paced<'a> {
    pub(crate) fn new(
        inner: Arc<dyn Backend>,
        piece: &'a AtomicU64,
        pause: &'a (dyn Fn() + Sync),
    ) -> Self {
        Self {
            inner,
            piece,
            pause,
        }
    }

    fn piece(&self) -> u64 {
        let piece = self.piece.load(Ordering::Relaxed);
        piece.saturating_mul(self.inner.pace())
    }

    /// Rows of the next piece of so many that cost `row` multiplications each. All pieces are of
    /// about the same length: a short one at the end would cost a thread as much waiting as a long
    /// one.
    fn rows_of_piece(&self, rows: usize, row: usize) -> usize {
        let piece = self.piece();
        let most = usize::try_from(piece / row.max(1) as u64).unwrap_or(usize::MAX);
        let most = most.max(if piece > 1 { LEAST_ROWS } else { 1 });
        let even = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
        even.next_multiple_of(WHOLE_ROWS).min(most).min(rows)
    }

    /// Calls `run` for runs of `rows` rows that cost `row` multiplications each, with a pause behind each.
    fn in_pieces(&self, rows: usize, row: usize, mut run: impl FnMut(Range<usize>)) {
        let mut start = 0;
        while start < rows {
            let end = start + self.rows_of_piece(rows - start, row);
            run(start..end);
            (self.pause)();
            start = end;
        }
    }

    fn then_pause(&self, run: impl FnOnce(&dyn Backend)) {
        run(self.inner.as_ref());
        (self.pause)();
    }
}

impl Backend for Paced<'_> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn product(&self, storage: &mut dyn Storage, x: Tensor, weight: &Weight, out: Tensor) {
        let row = weight.inputs() * weight.outputs();
        self.in_pieces(x.rows(), row, |run| {
            let (x, out) = (x.slice_rows(run.clone()), out.slice_rows(run));
            self.inner.product(storage, x, weight, out);
        });
    }

    fn linear(&self, storage: &mut dyn Storage, op: Linear<'_>, scratch: Tensor) {
        let row = op.weight.inputs() * op.weight.outputs();
        self.in_pieces(op.x.rows(), row, |run| {
            let part = Linear {
                x: op.x.slice_rows(run.clone()),
                out: op.out.slice_rows(run.clone()),
                ..op
            };
            self.inner.linear(storage, part, scratch.slice_rows(run));
        });
    }

    fn linears(&self, storage: &mut dyn Storage, ops: &[Linear<'_>; 3]) {
        let sizes = ops.map(|op| op.weight.inputs() * op.weight.outputs());
        self.in_pieces(ops[0].x.rows(), sizes.iter().sum(), |run| {
            let parts = ops.map(|op| Linear {
                x: op.x.slice_rows(run.clone()),
                out: op.out.slice_rows(run.clone()),
                ..op
            });
            self.inner.linears(storage, &parts);
        });
    }

    fn gated_mlp(&self, storage: &mut dyn Storage, op: GatedMlp<'_>, scratch: Tensor) {
        let row = 2 * op.gate.inputs() * op.gate.outputs();
        self.in_pieces(op.x.rows(), row, |run| {
            let part = GatedMlp {
                x: op.x.slice_rows(run.clone()),
                out: op.out.slice_rows(run.clone()),
                ..op
            };
            self.inner.gated_mlp(storage, part, scratch.slice_rows(run));
        });
    }

    fn attend_part_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        part: &AttentionPart,
    ) {
        let longest = within.segments.iter().map(ExactSizeIterator::len).max();
        let columns = attend.heads.query_columns() / attend.heads.key_value;
        let row = 2 * longest.unwrap_or(0) * columns;
        // All rows of a few heads rather than a few rows of all: keys are then made ready for many rows.
        let head = row as u64 * part.rows.len() as u64;
        let mut first = part.heads.start;
        while first < part.heads.end {
            let left = part.heads.end - first;
            let most = usize::try_from(self.piece() / head.max(1)).unwrap_or(usize::MAX);
            let heads = first..first + left.div_ceil(left.div_ceil(most.max(1)));
            first = heads.end;
            self.in_pieces(part.rows.len(), row * heads.len(), |run| {
                let rows = part.rows.start + run.start..part.rows.start + run.end;
                let heads = heads.clone();
                let part = AttentionPart { rows, heads };
                self.inner
                    .attend_part_within(storage, attend, within, &part);
            });
        }
    }

    fn attend_paged(
        &self,
        storage: &mut dyn Storage,
        kv: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        self.then_pause(|inner| inner.attend_paged(storage, kv, attend, plan));
    }

    fn storage(&self, len: usize) -> Box<dyn Storage> {
        self.inner.storage(len)
    }
    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore> {
        self.inner.kv_store(layout)
    }
    fn pack(&self, sources: &[WeightSource<'_>], purpose: Use) -> Result<Weight, PackError> {
        self.inner.pack(sources, purpose)
    }
    fn vector(&self, values: &[f32]) -> Vector {
        self.inner.vector(values)
    }
    fn upload(&self, storage: &mut dyn Storage, values: &[f32], out: Tensor) {
        self.then_pause(|inner| inner.upload(storage, values, out));
    }
    fn download(&self, storage: &dyn Storage, x: Tensor, values: &mut [f32]) {
        self.inner.download(storage, x, values);
    }
    fn copy(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.then_pause(|inner| inner.copy(storage, x, out));
    }
    fn embed(&self, storage: &mut dyn Storage, weight: &Weight, ids: &[u32], out: Tensor) {
        self.then_pause(|inner| inner.embed(storage, weight, ids, out));
    }
    fn gather(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.then_pause(|inner| inner.gather(storage, x, rows, out));
    }
    fn scatter(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.then_pause(|inner| inner.scatter(storage, x, rows, out));
    }
    fn add(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.then_pause(|inner| inner.add(storage, x, out));
    }
    fn scatter_add(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.then_pause(|inner| inner.scatter_add(storage, x, rows, out));
    }
    fn add_bias(&self, storage: &mut dyn Storage, bias: &Vector, out: Tensor) {
        self.then_pause(|inner| inner.add_bias(storage, bias, out));
    }
    fn multiply(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.then_pause(|inner| inner.multiply(storage, x, out));
    }
    fn scale(&self, storage: &mut dyn Storage, factor: f32, out: Tensor) {
        self.then_pause(|inner| inner.scale(storage, factor, out));
    }
    fn activate(&self, storage: &mut dyn Storage, activation: Activation, out: Tensor) {
        self.then_pause(|inner| inner.activate(storage, activation, out));
    }
    fn rms_norm(&self, storage: &mut dyn Storage, norm: RmsNorm<'_>) {
        self.then_pause(|inner| inner.rms_norm(storage, norm));
    }
    fn layer_norm(&self, storage: &mut dyn Storage, norm: LayerNorm<'_>) {
        self.then_pause(|inner| inner.layer_norm(storage, norm));
    }
    fn rope(&self, storage: &mut dyn Storage, rope: Rope) {
        self.then_pause(|inner| inner.rope(storage, rope));
    }
    fn write_kv(&self, storage: &dyn Storage, kv: &mut dyn KvStore, write: WriteKv<'_>) {
        self.inner.write_kv(storage, kv, write);
    }
    fn is_finite(&self, storage: &dyn Storage, x: Tensor) -> bool {
        self.inner.is_finite(storage, x)
    }
}
