//! A backend that passes everything on to another and keeps how long each kind of operation took.
//!
//! What is not here: time between operations, which is the difference to what a stage took as a whole.

mod done;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ocelli_quant::TensorType;

use crate::measure::{attention_operations, pairs_paged, pairs_within};
use crate::{
    Activation, Attend, AttentionPart, AttentionPlan, Backend, GatedMlp, KvLayout, KvStore,
    LayerNorm, Linear, PackError, RmsNorm, Rope, Storage, Tensor, Use, Vector, Weight,
    WeightSource, Within, WriteKv,
};
use done::{Done, work};

/// A kind of operation: what a line of a table of times is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Products with one weight.
    Product(WeightShape),
    /// Both products of the first half of a gated MLP.
    GatedProducts(WeightShape),
    /// Three products of the same rows, by the first weight and the outputs of all.
    ThreeProducts(WeightShape),
    /// Attention inside segments, pictures or windows of them, of at most so many rows.
    AttentionWithin(usize),
    /// Attention over cached pages.
    AttentionPaged,
    /// Norms of rows and of heads.
    Norm,
    /// Rotations by positions.
    Rotation,
    /// Keys and values into their pages.
    WriteKv,
    /// Additions, multiplications and functions of elements.
    Elements,
    /// Rows of an embedding looked up.
    Embedding,
    /// Rows moved, copies in and out.
    Rows,
    /// Looking for values that are not finite.
    Check,
}

/// A weight's sizes, and its type if a [`Timed`] backend packed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightShape {
    /// As it is stored in the file.
    pub stored: Option<TensorType>,
    /// Columns of what comes in.
    pub inputs: usize,
    /// Columns of what comes out.
    pub outputs: usize,
}

impl From<&Weight> for WeightShape {
    fn from(weight: &Weight) -> Self {
        Self {
            stored: weight.stored(),
            inputs: weight.inputs(),
            outputs: weight.outputs(),
        }
    }
}

impl fmt::Display for WeightShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stored) = self.stored {
            write!(f, "{stored} ")?;
        }
        write!(f, "{} to {}", self.inputs, self.outputs)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Product(shape) => return write!(f, "product {shape}"),
            Self::GatedProducts(shape) => return write!(f, "gate and up {shape}"),
            Self::ThreeProducts(shape) => return write!(f, "queries, keys and values {shape}"),
            Self::AttentionWithin(rows) => return write!(f, "attention in segments of {rows}"),
            Self::AttentionPaged => "attention to the cache",
            Self::Norm => "norm",
            Self::Rotation => "rotation",
            Self::WriteKv => "write of keys and values",
            Self::Elements => "elements",
            Self::Embedding => "embedding",
            Self::Rows => "rows",
            Self::Check => "check",
        })
    }
}

/// What a kind of operation took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperationTime {
    /// The kind.
    pub operation: Operation,
    /// How often it was called.
    pub calls: u64,
    /// All calls together.
    pub time: Duration,
    /// Multiplications and additions of products and attention, as [`crate::Work`] counts them.
    pub operations: u64,
    /// Bytes of the weights that were used, as packed, once for each call.
    pub weight_bytes: u64,
}

impl OperationTime {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            calls: 0,
            time: Duration::ZERO,
            operations: 0,
            weight_bytes: 0,
        }
    }

    /// Adds times to a list with one entry for each kind, in the order of their first calls.
    pub fn merge(all: &mut Vec<Self>, more: impl IntoIterator<Item = Self>) {
        for one in more {
            let known = all.iter_mut().find(|own| own.operation == one.operation);
            let Some(own) = known else {
                all.push(one);
                continue;
            };
            own.calls += one.calls;
            own.time += one.time;
            own.operations += one.operations;
            own.weight_bytes += one.weight_bytes;
        }
    }
}

/// Times by kind, in the order of first calls.
#[derive(Default)]
struct Times {
    /// Until rows of an embedding were looked up.
    before_text: Vec<OperationTime>,
    /// From then on.
    of_text: Vec<OperationTime>,
    has_text: bool,
}

/// See the module.
pub struct Timed {
    inner: Arc<dyn Backend>,
    times: Arc<Mutex<Times>>,
}

impl Timed {
    /// Times what `inner` does.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            times: Arc::default(),
        }
    }

    /// What was called since the last time, in the order of first calls.
    pub fn take(&self) -> Vec<OperationTime> {
        let times = std::mem::take(&mut *self.locked());
        let mut all = times.before_text;
        OperationTime::merge(&mut all, times.of_text);
        all
    }

    /// The same, but nothing from the first lookup in an embedding on: a picture's encoding without
    /// the text's pass behind it.
    pub fn take_before_text(&self) -> Vec<OperationTime> {
        std::mem::take(&mut self.locked().before_text)
    }

    fn locked(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time<T>(&self, operation: Operation, run: impl FnOnce(&dyn Backend) -> T) -> T {
        self.time_work(operation, Done::default(), run)
    }

    /// Times an operation of which it is known how much it does.
    fn time_work<T>(
        &self,
        operation: Operation,
        done: Done,
        run: impl FnOnce(&dyn Backend) -> T,
    ) -> T {
        let start = Instant::now();
        let result = run(self.inner.as_ref());
        let call = OperationTime {
            calls: 1,
            time: start.elapsed(),
            operations: done.operations,
            weight_bytes: done.weight_bytes,
            ..OperationTime::new(operation)
        };
        let mut times = self.locked();
        times.has_text |= operation == Operation::Embedding;
        let list = match times.has_text {
            true => &mut times.of_text,
            false => &mut times.before_text,
        };
        OperationTime::merge(list, [call]);
        result
    }
}

impl Backend for Timed {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn exact(&self) -> Option<Arc<dyn Backend>> {
        let inner = self.inner.exact()?;
        let times = Arc::clone(&self.times);
        Some(Arc::new(Self { inner, times }))
    }
    fn pace(&self) -> u64 {
        self.inner.pace()
    }
    fn storage(&self, len: usize) -> Box<dyn Storage> {
        self.inner.storage(len)
    }
    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore> {
        self.inner.kv_store(layout)
    }
    fn pack(&self, sources: &[WeightSource<'_>], purpose: Use) -> Result<Weight, PackError> {
        let weight = self.inner.pack(sources, purpose)?;
        Ok(match sources.first() {
            Some(source) => weight.stored_as(source.ty),
            None => weight,
        })
    }
    fn vector(&self, values: &[f32]) -> Vector {
        self.inner.vector(values)
    }

    fn product(&self, storage: &mut dyn Storage, x: Tensor, weight: &Weight, out: Tensor) {
        let operation = Operation::Product(weight.into());
        self.time_work(operation, work(x, &[weight]), |inner| {
            inner.product(storage, x, weight, out);
        });
    }
    fn linear(&self, storage: &mut dyn Storage, op: Linear<'_>, scratch: Tensor) {
        let operation = Operation::Product(op.weight.into());
        self.time_work(operation, work(op.x, &[op.weight]), |inner| {
            inner.linear(storage, op, scratch);
        });
    }
    fn linears(&self, storage: &mut dyn Storage, ops: &[Linear<'_>; 3]) {
        let [first, second, third] = ops.map(|op| op.weight);
        let shape = WeightShape {
            outputs: first.outputs() + second.outputs() + third.outputs(),
            ..first.into()
        };
        let done = work(ops[0].x, &[first, second, third]);
        self.time_work(Operation::ThreeProducts(shape), done, |inner| {
            inner.linears(storage, ops);
        });
    }
    fn gated_mlp(&self, storage: &mut dyn Storage, op: GatedMlp<'_>, scratch: Tensor) {
        let operation = Operation::GatedProducts(op.gate.into());
        self.time_work(operation, work(op.x, &[op.gate, op.up]), |inner| {
            inner.gated_mlp(storage, op, scratch);
        });
    }
    fn attend_part_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        part: &AttentionPart,
    ) {
        let pairs = pairs_within(within.segments, part);
        let done =
            Done::without_weights(attention_operations(attend.heads, part.heads.len(), pairs));
        let longest = within.segments.iter().map(ExactSizeIterator::len).max();
        let operation = Operation::AttentionWithin(longest.unwrap_or(0));
        self.time_work(operation, done, |inner| {
            inner.attend_part_within(storage, attend, within, part);
        });
    }
    fn attend_paged(
        &self,
        storage: &mut dyn Storage,
        kv: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        let pairs = match plan {
            AttentionPlan::Paged { spans, mask, .. } => pairs_paged(spans, mask),
            AttentionPlan::Within { .. } => 0,
        };
        let operations = attention_operations(attend.heads, attend.heads.key_value, pairs);
        self.time_work(
            Operation::AttentionPaged,
            Done::without_weights(operations),
            |inner| {
                inner.attend_paged(storage, kv, attend, plan);
            },
        );
    }

    fn upload(&self, storage: &mut dyn Storage, values: &[f32], out: Tensor) {
        self.time(Operation::Rows, |inner| inner.upload(storage, values, out));
    }
    fn download(&self, storage: &dyn Storage, x: Tensor, values: &mut [f32]) {
        self.time(Operation::Rows, |inner| inner.download(storage, x, values));
    }
    fn copy(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.time(Operation::Rows, |inner| inner.copy(storage, x, out));
    }
    fn embed(&self, storage: &mut dyn Storage, weight: &Weight, ids: &[u32], out: Tensor) {
        self.time(Operation::Embedding, |inner| {
            inner.embed(storage, weight, ids, out)
        });
    }
    fn gather(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.time(Operation::Rows, |inner| inner.gather(storage, x, rows, out));
    }
    fn scatter(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.time(Operation::Rows, |inner| {
            inner.scatter(storage, x, rows, out)
        });
    }
    fn add(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.time(Operation::Elements, |inner| inner.add(storage, x, out));
    }
    fn scatter_add(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.time(Operation::Elements, |inner| {
            inner.scatter_add(storage, x, rows, out);
        });
    }
    fn add_bias(&self, storage: &mut dyn Storage, bias: &Vector, out: Tensor) {
        self.time(Operation::Elements, |inner| {
            inner.add_bias(storage, bias, out)
        });
    }
    fn multiply(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.time(Operation::Elements, |inner| inner.multiply(storage, x, out));
    }
    fn scale(&self, storage: &mut dyn Storage, factor: f32, out: Tensor) {
        self.time(Operation::Elements, |inner| {
            inner.scale(storage, factor, out)
        });
    }
    fn activate(&self, storage: &mut dyn Storage, activation: Activation, out: Tensor) {
        self.time(Operation::Elements, |inner| {
            inner.activate(storage, activation, out);
        });
    }
    fn rms_norm(&self, storage: &mut dyn Storage, norm: RmsNorm<'_>) {
        self.time(Operation::Norm, |inner| inner.rms_norm(storage, norm));
    }
    fn layer_norm(&self, storage: &mut dyn Storage, norm: LayerNorm<'_>) {
        self.time(Operation::Norm, |inner| inner.layer_norm(storage, norm));
    }
    fn rope(&self, storage: &mut dyn Storage, rope: Rope) {
        self.time(Operation::Rotation, |inner| inner.rope(storage, rope));
    }
    fn write_kv(&self, storage: &dyn Storage, kv: &mut dyn KvStore, write: WriteKv<'_>) {
        self.time(Operation::WriteKv, |inner| {
            inner.write_kv(storage, kv, write)
        });
    }
    fn is_finite(&self, storage: &dyn Storage, x: Tensor) -> bool {
        self.time(Operation::Check, |inner| inner.is_finite(storage, x))
    }
}

#[cfg(test)]
mod tests;
