//! A backend that computes nothing but counts what a pass would compute: the work behind a share of a machine's limit.
//!
//! As with [`crate::Measure`], the model's own forward pass runs on it, so that no second formula can drift away
//! from the code.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    Activation, Attend, AttentionPlan, Backend, KvLayout, KvStore, LayerNorm, Mask, Measure,
    PackError, RmsNorm, Rope, Storage, Tensor, Use, Vector, Weight, WeightSource, WriteKv,
};

/// See the module. Weights packed by any backend will do: their sizes are all that is looked at.
#[derive(Debug, Default)]
pub struct Count {
    operations: AtomicU64,
    attention: AtomicU64,
    cached: AtomicU64,
}

impl Count {
    /// Multiplications and additions of all products and attentions. Norms, activations, exponentials and other work
    /// on single elements are not counted: they are no part of what a matrix unit does.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Those of attention alone.
    pub fn attention(&self) -> u64 {
        self.attention.load(Ordering::Relaxed)
    }

    /// Elements of keys and values that were read from the cache, each once for every sequence of a step.
    pub fn cached_elements(&self) -> u64 {
        self.cached.load(Ordering::Relaxed)
    }

    fn add_attention(&self, attend: &Attend, pairs: u64) {
        // Two operations for the score and two for the weighted sum, for each element of a head.
        let operations = 4 * pairs * attend.heads.query_columns() as u64;
        self.attention.fetch_add(operations, Ordering::Relaxed);
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }
}

impl Backend for Count {
    fn describe(&self) -> String {
        "count".to_owned()
    }
    fn storage(&self, len: usize) -> Box<dyn Storage> {
        Measure.storage(len)
    }
    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore> {
        Measure.kv_store(layout)
    }
    fn pack(&self, sources: &[WeightSource<'_>], purpose: Use) -> Result<Weight, PackError> {
        Measure.pack(sources, purpose)
    }
    fn vector(&self, values: &[f32]) -> Vector {
        Measure.vector(values)
    }
    fn upload(&self, _: &mut dyn Storage, _: &[f32], _: Tensor) {}
    fn download(&self, _: &dyn Storage, _: Tensor, values: &mut [f32]) {
        values.fill(0.0);
    }
    fn copy(&self, _: &mut dyn Storage, _: Tensor, _: Tensor) {}
    fn embed(&self, _: &mut dyn Storage, _: &Weight, _: &[u32], _: Tensor) {}
    fn gather(&self, _: &mut dyn Storage, _: Tensor, _: &[usize], _: Tensor) {}
    fn scatter(&self, _: &mut dyn Storage, _: Tensor, _: &[usize], _: Tensor) {}
    fn product(&self, _: &mut dyn Storage, x: Tensor, weight: &Weight, _: Tensor) {
        let operations = 2 * x.rows() * weight.inputs() * weight.outputs();
        self.operations
            .fetch_add(operations as u64, Ordering::Relaxed);
    }
    fn add(&self, _: &mut dyn Storage, _: Tensor, _: Tensor) {}
    fn scatter_add(&self, _: &mut dyn Storage, _: Tensor, _: &[usize], _: Tensor) {}
    fn add_bias(&self, _: &mut dyn Storage, _: &Vector, _: Tensor) {}
    fn multiply(&self, _: &mut dyn Storage, _: Tensor, _: Tensor) {}
    fn scale(&self, _: &mut dyn Storage, _: f32, _: Tensor) {}
    fn activate(&self, _: &mut dyn Storage, _: Activation, _: Tensor) {}
    fn rms_norm(&self, _: &mut dyn Storage, _: RmsNorm<'_>) {}
    fn layer_norm(&self, _: &mut dyn Storage, _: LayerNorm<'_>) {}
    fn rope(&self, _: &mut dyn Storage, _: Rope) {}
    fn write_kv(&self, _: &dyn Storage, _: &mut dyn KvStore, _: WriteKv<'_>) {}
    fn attend_run_within(
        &self,
        _: &mut dyn Storage,
        attend: Attend,
        _: (Tensor, Tensor),
        segments: &[Range<usize>],
        first: usize,
    ) {
        let end = first + attend.queries.rows();
        let pairs = segments.iter().map(|rows| {
            let queries = rows.end.min(end).saturating_sub(rows.start.max(first));
            (queries * rows.len()) as u64
        });
        self.add_attention(&attend, pairs.sum());
    }
    fn attend_paged(
        &self,
        _: &mut dyn Storage,
        _: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        let AttentionPlan::Paged { spans, mask, .. } = plan else {
            return;
        };
        for span in spans {
            let seen = |tokens: usize| match mask {
                Mask::Causal => tokens,
                Mask::Window(width) => tokens.min(width),
            };
            let pairs = (1..=span.rows.len()).map(|row| seen(span.cached + row) as u64);
            self.add_attention(&attend, pairs.sum());
            // A window reaches back from each row: all rows together read the window before the first row too.
            let tokens = match mask {
                Mask::Causal => span.cached + span.rows.len(),
                Mask::Window(width) => span.cached.min(width - 1) + span.rows.len(),
            };
            let elements = 2 * tokens * attend.heads.key_value_columns();
            self.cached.fetch_add(elements as u64, Ordering::Relaxed);
        }
    }
    fn is_finite(&self, _: &dyn Storage, _: Tensor) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Heads, Memory, Pass, Probe, Span};

    const HEADS: Heads = Heads {
        query: 4,
        key_value: 2,
        dim: 8,
    };

    /// Attention of so many rows, counted.
    fn attended(rows: usize, plan: AttentionPlan<'_>) -> Count {
        let count = Count::default();
        let mut memory = Memory::reserve(&count, usize::MAX);
        let mut kv = count.kv_store(KvLayout {
            layers: Vec::new(),
            pages: 1,
            near_pages: 1,
            page_tokens: 64,
            element: crate::KvElement::F32,
        });
        let mut pass = Pass::new(&count, &mut memory, Probe::Off).with_kv(kv.as_mut());
        let queries = pass.take(rows, HEADS.query_columns());
        let keys = pass.take(rows, HEADS.key_value_columns());
        pass.attend((&queries, &keys, &keys), HEADS, 1.0, plan);
        count
    }

    #[test]
    fn a_product_counts_each_multiplication_and_addition() {
        let count = Count::default();
        let weight = Weight::new(7, 5, 0, std::sync::Arc::new(()));
        let mut memory = Memory::reserve(&count, usize::MAX);
        let mut pass = Pass::new(&count, &mut memory, Probe::Off);
        let x = pass.take(3, 5);
        pass.linear(&x, &weight, None, None);
        pass.gated_mlp(&x, (&weight, None), (&weight, None), Activation::Silu);
        assert_eq!(count.operations(), 3 * 2 * 3 * 5 * 7);
    }

    #[test]
    fn windows_count_their_own_rows_only() {
        let within = |segments: &[Range<usize>]| {
            attended(12, AttentionPlan::Within { segments }).attention()
        };
        assert_eq!(within(std::slice::from_ref(&(0..12))), 4 * 144 * 32);
        assert_eq!(within(&[0..4, 4..8, 8..12]), 4 * 48 * 32);
    }

    #[test]
    fn causal_rows_count_what_they_see_and_cached_elements_count_once() {
        let pages = [crate::PageId(0)];
        let spans = [Span {
            rows: 0..3,
            cached: 10,
            pages: &pages,
            near_pages: &pages,
            both_ways: &[],
        }];
        let paged = |mask| AttentionPlan::Paged {
            layer: 0,
            spans: &spans,
            mask,
        };
        let causal = attended(3, paged(Mask::Causal));
        assert_eq!(causal.attention(), 4 * (11 + 12 + 13) * 32);
        assert_eq!(causal.cached_elements(), 2 * 13 * 16);
        let window = attended(3, paged(Mask::Window(4)));
        assert_eq!(window.attention(), 4 * 12 * 32);
        assert_eq!(window.cached_elements(), 2 * 6 * 16);
    }
}
