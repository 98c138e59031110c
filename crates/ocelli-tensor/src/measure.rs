//! A backend that computes nothing, to find out how much memory a pass takes.
//!
//! Running a model's own forward pass on it gives the exact peak, so that no second formula can
//! drift away from the code.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use crate::{
    Activation, Attend, AttentionPlan, Backend, KvLayout, KvStore, LayerNorm, PackError, RmsNorm,
    Rope, Storage, Tensor, Use, Vector, Weight, WeightSource, WriteKv,
};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure;

struct Nothing;

impl Storage for Nothing {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct NoKv(KvLayout);

impl KvStore for NoKv {
    fn layout(&self) -> &KvLayout {
        &self.0
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Backend for Measure {
    fn describe(&self) -> String {
        "measure".to_owned()
    }
    fn storage(&self, _len: usize) -> Box<dyn Storage> {
        Box::new(Nothing)
    }
    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore> {
        Box::new(NoKv(layout))
    }
    fn pack(&self, sources: &[WeightSource<'_>], _purpose: Use) -> Result<Weight, PackError> {
        let outputs = sources.iter().map(|s| s.rows).sum();
        let inputs = sources.first().map_or(0, |s| s.columns);
        let bytes = sources.iter().map(|s| s.data.len()).sum();
        Ok(Weight::new(outputs, inputs, bytes, Arc::new(())))
    }
    fn vector(&self, values: &[f32]) -> Vector {
        Vector::new(values.len(), Arc::new(()))
    }
    fn upload(&self, _: &mut dyn Storage, _: &[f32], _: Tensor) {}
    fn download(&self, _: &dyn Storage, _: Tensor, values: &mut [f32]) {
        values.fill(0.0);
    }
    fn copy(&self, _: &mut dyn Storage, _: Tensor, _: Tensor) {}
    fn embed(&self, _: &mut dyn Storage, _: &Weight, _: &[u32], _: Tensor) {}
    fn gather(&self, _: &mut dyn Storage, _: Tensor, _: &[usize], _: Tensor) {}
    fn scatter(&self, _: &mut dyn Storage, _: Tensor, _: &[usize], _: Tensor) {}
    fn columns(&self, _: &mut dyn Storage, _: Tensor, _: Range<usize>, _: Tensor) {}
    fn product(&self, _: &mut dyn Storage, _: Tensor, _: &Weight, _: Tensor) {}
    fn add(&self, _: &mut dyn Storage, _: Tensor, _: Tensor) {}
    fn scatter_add(&self, _: &mut dyn Storage, _: Tensor, _: &[usize], _: Tensor) {}
    fn add_bias(&self, _: &mut dyn Storage, _: &Vector, _: Tensor) {}
    fn multiply(&self, _: &mut dyn Storage, _: Tensor, _: Tensor) {}
    fn activate(&self, _: &mut dyn Storage, _: Activation, _: Tensor) {}
    fn rms_norm(&self, _: &mut dyn Storage, _: RmsNorm<'_>) {}
    fn layer_norm(&self, _: &mut dyn Storage, _: LayerNorm<'_>) {}
    fn rope(&self, _: &mut dyn Storage, _: Rope) {}
    fn write_kv(&self, _: &dyn Storage, _: &mut dyn KvStore, _: WriteKv<'_>) {}
    fn attend_run_within(
        &self,
        _: &mut dyn Storage,
        _: Attend,
        _: (Tensor, Tensor),
        _: &[Range<usize>],
        _: usize,
    ) {
    }
    fn attend_paged(&self, _: &mut dyn Storage, _: &dyn KvStore, _: Attend, _: AttentionPlan<'_>) {}
    fn is_finite(&self, _: &dyn Storage, _: Tensor) -> bool {
        true
    }
}
