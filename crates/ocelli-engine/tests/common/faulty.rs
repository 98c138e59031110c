//! The CPU backend with a fault: it panics, or computes what is not finite, for one token or picture.

use std::sync::{Arc, Mutex};

use ocelli_cpu::{CpuBackend, CpuOptions, Precision};
use ocelli_tensor::{
    Activation, Attend, AttentionPart, AttentionPlan, Backend, GatedMlp, KvLayout, KvStore,
    LayerNorm, Linear, PackError, RmsNorm, Rope, Storage, Tensor, Use, Vector, Weight,
    WeightSource, Within, WriteKv,
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// The step panics.
    Panic,
    /// The token's or picture's rows are not numbers.
    NotFinite,
}

/// When something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A prompt has this token.
    Token(u32, Harm),
    /// A picture has so many patches.
    Patches(usize, Harm),
    /// Rows of this token are not numbers where products round.
    RoundedToken(u32),
    /// A step with this token does not end before the fault does.
    Stuck(u32),
    /// A picture has so many patches: rounded products are not numbers, exact ones are.
    Rounding(usize),
}

/// See the module.
pub(crate) struct Faulty {
    cpu: CpuBackend,
    fault: Arc<Mutex<Option<Fault>>>,
    is_exact: bool,
}

impl Faulty {
    /// Without a fault yet.
    pub(crate) fn new(cpu: CpuBackend) -> Self {
        Self {
            cpu,
            fault: Arc::default(),
            is_exact: false,
        }
    }

    /// From now on.
    pub(crate) fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Option<Fault> {
        *self.fault.lock().unwrap()
    }

    fn spoil(&self, storage: &mut dyn Storage, out: Tensor) {
        let values = vec![f32::NAN; out.len()];
        self.cpu.upload(storage, &values, out);
    }
}

impl Backend for Faulty {
    fn describe(&self) -> String {
        self.cpu.describe()
    }

    fn embed(&self, storage: &mut dyn Storage, weight: &Weight, ids: &[u32], out: Tensor) {
        self.cpu.embed(storage, weight, ids, out);
        for (row, id) in ids.iter().enumerate() {
            match self.fault() {
                Some(Fault::Token(token, Harm::Panic)) if token == *id => {
                    panic!("injected: token {token}")
                }
                Some(Fault::Token(token, Harm::NotFinite)) if token == *id => {
                    self.spoil(storage, out.slice_rows(row..row + 1));
                }
                Some(Fault::RoundedToken(token)) if token == *id && !self.is_exact => {
                    self.spoil(storage, out.slice_rows(row..row + 1));
                }
                fault @ Some(Fault::Stuck(token)) if token == *id => {
                    while self.fault() == fault {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                }
                _ => {}
            }
        }
    }

    fn attend_part_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        part: &AttentionPart,
    ) {
        self.cpu.attend_part_within(storage, attend, within, part);
        match self.fault() {
            Some(Fault::Patches(patches, harm)) if within.keys.rows() == patches => match harm {
                Harm::Panic => panic!("injected: {patches} patches"),
                Harm::NotFinite => self.spoil(storage, attend.out),
            },
            Some(Fault::Rounding(patches)) if !self.is_exact && within.keys.rows() == patches => {
                self.spoil(storage, attend.out);
            }
            _ => {}
        }
    }

    fn exact(&self) -> Option<Arc<dyn Backend>> {
        let options = CpuOptions {
            threads: Some(1),
            precision: Precision::F32,
            ..CpuOptions::default()
        };
        Some(Arc::new(Self {
            cpu: CpuBackend::new(&options).unwrap(),
            fault: Arc::clone(&self.fault),
            is_exact: true,
        }))
    }

    fn storage(&self, len: usize) -> Box<dyn Storage> {
        self.cpu.storage(len)
    }
    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore> {
        self.cpu.kv_store(layout)
    }
    fn pack(&self, sources: &[WeightSource<'_>], purpose: Use) -> Result<Weight, PackError> {
        self.cpu.pack(sources, purpose)
    }
    fn vector(&self, values: &[f32]) -> Vector {
        self.cpu.vector(values)
    }
    fn upload(&self, storage: &mut dyn Storage, values: &[f32], out: Tensor) {
        self.cpu.upload(storage, values, out);
    }
    fn download(&self, storage: &dyn Storage, x: Tensor, values: &mut [f32]) {
        self.cpu.download(storage, x, values);
    }
    fn copy(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.cpu.copy(storage, x, out);
    }
    fn gather(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.cpu.gather(storage, x, rows, out);
    }
    fn scatter(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.cpu.scatter(storage, x, rows, out);
    }
    fn product(&self, storage: &mut dyn Storage, x: Tensor, weight: &Weight, out: Tensor) {
        self.cpu.product(storage, x, weight, out);
    }
    fn add(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.cpu.add(storage, x, out);
    }
    fn scatter_add(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor) {
        self.cpu.scatter_add(storage, x, rows, out);
    }
    fn add_bias(&self, storage: &mut dyn Storage, bias: &Vector, out: Tensor) {
        self.cpu.add_bias(storage, bias, out);
    }
    fn multiply(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor) {
        self.cpu.multiply(storage, x, out);
    }
    fn scale(&self, storage: &mut dyn Storage, factor: f32, out: Tensor) {
        self.cpu.scale(storage, factor, out);
    }
    fn activate(&self, storage: &mut dyn Storage, activation: Activation, out: Tensor) {
        self.cpu.activate(storage, activation, out);
    }
    fn rms_norm(&self, storage: &mut dyn Storage, norm: RmsNorm<'_>) {
        self.cpu.rms_norm(storage, norm);
    }
    fn layer_norm(&self, storage: &mut dyn Storage, norm: LayerNorm<'_>) {
        self.cpu.layer_norm(storage, norm);
    }
    fn rope(&self, storage: &mut dyn Storage, rope: Rope) {
        self.cpu.rope(storage, rope);
    }
    fn write_kv(&self, storage: &dyn Storage, kv: &mut dyn KvStore, write: WriteKv<'_>) {
        self.cpu.write_kv(storage, kv, write);
    }
    fn attend_paged(
        &self,
        storage: &mut dyn Storage,
        kv: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        self.cpu.attend_paged(storage, kv, attend, plan);
    }
    fn is_finite(&self, storage: &dyn Storage, x: Tensor) -> bool {
        self.cpu.is_finite(storage, x)
    }
    fn linear(&self, storage: &mut dyn Storage, op: Linear<'_>, scratch: Tensor) {
        self.cpu.linear(storage, op, scratch);
    }
    fn gated_mlp(&self, storage: &mut dyn Storage, op: GatedMlp<'_>, scratch: Tensor) {
        self.cpu.gated_mlp(storage, op, scratch);
    }
}
