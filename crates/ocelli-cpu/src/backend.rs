//! The `Backend` of this crate: each operation in one line, the work in the modules beside it.

use std::fmt;
use std::sync::{Arc, Mutex};

use ocelli_kernels::{Finish, Kernels};
use ocelli_tensor::{
    Activation, Attend, AttentionPart, AttentionPlan, Backend, GatedMlp, KvLayout, KvStore,
    LayerNorm, Linear, PackError, RmsNorm, Rope, Storage, Tensor, Use, Vector, Weight,
    WeightSource, Within, WriteKv,
};

use crate::arithmetic::Arithmetic;
use crate::kv::CpuKv;
use crate::memory::{CpuStorage, Numbers, Pieces};
use crate::pool::Pool;
use crate::product::{Multiplier, Multiply};
use crate::rows::activation;
use crate::upcoming::Order;
use crate::weight::{CpuWeight, Packer};
use crate::{CpuError, CpuOptions, Isa, Precision};

/// Most threads that can be asked for.
const MOST_THREADS: usize = 1024;

/// Runs models on the processors of this machine.
pub struct CpuBackend {
    pub(crate) kernels: Arc<dyn Kernels>,
    pub(crate) pool: Arc<Pool>,
    precision: Precision,
    pub(crate) arithmetic: Arithmetic,
    rounded: Mutex<Numbers<f32>>,
    order: Mutex<Order>,
    /// Where weights are put.
    weights: Pieces,
    /// Why a faster set than the chosen one is not used, though the processor has it.
    refused: Option<String>,
}

impl fmt::Debug for CpuBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpuBackend").field(&self.describe()).finish()
    }
}

impl CpuBackend {
    /// Starts the threads.
    ///
    /// # Errors
    /// An instruction set that is absent or has no kernels, a number of threads that cannot be.
    pub fn new(options: &CpuOptions) -> Result<Self, CpuError> {
        let (kernels, refused) = match options.isa {
            Some(isa) => (isa.kernels()?, None),
            None => Isa::fastest(),
        };
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(available);
        if threads == 0 || threads > MOST_THREADS {
            return Err(CpuError::BadThreads {
                threads,
                most: MOST_THREADS,
            });
        }
        let arithmetic = Arithmetic::new(options.precision, kernels.rates());
        Ok(Self {
            arithmetic,
            rounded: Mutex::new(Numbers::zeros(0)),
            order: Mutex::default(),
            weights: Pieces::default(),
            refused,
            kernels: Arc::from(kernels),
            pool: Arc::new(Pool::new(threads)?),
            precision: options.precision,
        })
    }

    /// Name of the instruction set in use.
    pub fn isa(&self) -> &'static str {
        self.kernels.name()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Arithmetic that was asked for.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    fn multiply_into(&self, storage: &mut dyn Storage, products: &[Multiply<'_>]) {
        let multiplier = Multiplier {
            kernels: &*self.kernels,
            pool: &self.pool,
            arithmetic: self.arithmetic,
            rounded: &self.rounded,
            order: &self.order,
        };
        multiplier.run(storage, products);
    }
}

impl Backend for CpuBackend {
    fn describe(&self) -> String {
        let mut line = format!("cpu, {}, {} threads", self.isa(), self.threads());
        if let Some(refused) = &self.refused {
            line += &format!(" ({refused})");
        }
        line
    }

    fn exact(&self) -> Option<Arc<dyn Backend>> {
        if !self.arithmetic.rounds() {
            return None;
        }
        Some(Arc::new(Self {
            kernels: Arc::clone(&self.kernels),
            pool: Arc::clone(&self.pool),
            precision: Precision::F32,
            arithmetic: Arithmetic::new(Precision::F32, self.kernels.rates()),
            rounded: Mutex::new(Numbers::zeros(0)),
            order: Mutex::default(),
            weights: Pieces::default(),
            refused: self.refused.clone(),
        }))
    }

    fn pace(&self) -> u64 {
        // A matrix unit does in five times what others do in one, and starting its threads costs a
        // larger part of it.
        if self.kernels.rates().tiles { 5 } else { 1 }
    }

    fn storage(&self, len: usize) -> Box<dyn Storage> {
        Box::new(CpuStorage::zeros(len))
    }

    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore> {
        Box::new(CpuKv::new(layout))
    }

    fn pack(&self, sources: &[WeightSource<'_>], purpose: Use) -> Result<Weight, PackError> {
        let packer = Packer {
            pool: &self.pool,
            memory: &self.weights,
            arithmetic: self.arithmetic,
        };
        CpuWeight::pack(packer, sources, purpose)
    }

    fn vector(&self, values: &[f32]) -> Vector {
        Vector::new(values.len(), Arc::new(values.to_vec()))
    }

    fn upload(&self, storage: &mut dyn Storage, values: &[f32], out: Tensor) {
        CpuStorage::of_mut(storage)
            .values_of(out)
            .copy_from_slice(values);
    }

    fn download(&self, storage: &dyn Storage, x: Tensor, values: &mut [f32]) {
        values.copy_from_slice(CpuStorage::of(storage).read(x).values());
    }

    fn copy(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        assert_eq!(x.rows(), out.rows(), "rows of a copy");
        self.copy_rows(storage, x, out, |row| row);
    }

    fn embed(&self, storage: &mut dyn Storage, weight: &Weight, ids: &[u32], out: Tensor) {
        self.embed_rows(storage, weight, ids, out);
    }

    fn gather(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        assert_eq!(
            rows.len(),
            out.rows(),
            "one row of the result per chosen row"
        );
        self.copy_rows(storage, x, out, |row| rows[row]);
    }

    fn scatter(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.scatter_rows(storage, x, rows, out, |out, x| out.copy_from_slice(x));
    }

    fn product(&self, storage: &mut dyn Storage, x: Tensor, weight: &Weight, out: Tensor) {
        let product = Multiply {
            x,
            weight,
            bias: None,
            finish: Finish::Store,
            out,
        };
        self.multiply_into(storage, &[product]);
    }

    fn add(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.elements(storage, x, out, |x, out| self.kernels.add(x, out));
    }

    fn scatter_add(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.scatter_rows(storage, x, rows, out, |out, x| self.kernels.add(x, out));
    }

    fn add_bias(&self, storage: &mut dyn Storage, bias: &Vector, out: Tensor) {
        let bias = crate::rows::vector(bias);
        self.in_place(storage, out, out, |_, row, kernels| kernels.add(bias, row));
    }

    fn multiply(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.elements(storage, x, out, |x, out| self.kernels.multiply(x, out));
    }

    fn scale(&self, storage: &mut dyn Storage, factor: f32, out: Tensor) {
        self.in_place(storage, out, out, |_, row, _| {
            row.iter_mut().for_each(|value| *value *= factor);
        });
    }

    fn activate(&self, storage: &mut dyn Storage, function: Activation, out: Tensor) {
        let function = activation(function);
        self.in_place(storage, out, out, |_, row, kernels| {
            kernels.activate(function, row)
        });
    }

    fn rms_norm(&self, storage: &mut dyn Storage, norm: RmsNorm<'_>) {
        self.rms_norm_rows(storage, norm);
    }

    fn layer_norm(&self, storage: &mut dyn Storage, norm: LayerNorm<'_>) {
        self.layer_norm_rows(storage, norm);
    }

    fn rope(&self, storage: &mut dyn Storage, rope: Rope) {
        self.rope_rows(storage, rope);
    }

    fn write_kv(&self, storage: &dyn Storage, kv: &mut dyn KvStore, write: WriteKv<'_>) {
        let storage = CpuStorage::of(storage);
        let (keys, values) = (storage.read(write.keys), storage.read(write.values));
        CpuKv::of_mut(kv).write(&self.pool, &*self.kernels, &write, keys, values);
    }

    fn attend_part_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        part: &AttentionPart,
    ) {
        self.attention_within(storage, attend, within, part);
    }

    fn attend_paged(
        &self,
        storage: &mut dyn Storage,
        kv: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        self.attention_paged(storage, kv, attend, plan);
    }

    fn is_finite(&self, storage: &dyn Storage, x: Tensor) -> bool {
        self.all_finite(storage, x)
    }

    fn linear(&self, storage: &mut dyn Storage, op: Linear<'_>, _scratch: Tensor) {
        self.multiply_into(storage, &[op.into()]);
    }

    fn linears(&self, storage: &mut dyn Storage, ops: &[Linear<'_>; 3]) {
        self.multiply_into(storage, &ops.map(Multiply::from));
    }

    fn gated_mlp(&self, storage: &mut dyn Storage, op: GatedMlp<'_>, _scratch: Tensor) {
        let gate = Multiply {
            x: op.x,
            weight: op.gate,
            bias: op.gate_bias,
            finish: Finish::Activate(activation(op.activation)),
            out: op.out,
        };
        let up = Multiply {
            x: op.x,
            weight: op.up,
            bias: op.up_bias,
            finish: Finish::Multiply,
            out: op.out,
        };
        self.multiply_into(storage, &[gate, up]);
    }
}
