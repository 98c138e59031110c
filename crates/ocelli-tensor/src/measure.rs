//! A backend that computes nothing, to find out how much memory and arithmetic a pass takes.
//!
//! Running a model's own forward pass on it gives the exact peak and the exact count, so that no second
//! formula can drift away from the code.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use crate::{
    Activation, Attend, AttentionPart, AttentionPlan, Backend, Heads, KvLayout, KvStore, LayerNorm,
    Mask, Memory, PackError, PageId, RmsNorm, Rope, Span, Storage, Tensor, Use, Vector, Weight,
    WeightSource, Within, WriteKv,
};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure;

/// Multiplications and additions of a pass, each counted as one. Everything else (norms, rotations,
/// activations) is linear in the rows and small beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Of products with weights: `2 * rows * inputs * outputs` each.
    pub products: u64,
    /// Of attention: `4 * query columns` for each pair of a query and a key that it sees.
    pub attention: u64,
    /// Heads of the last attention.
    pub heads: Option<Heads>,
    /// Elements of keys and values that were read from the cache, each once for every sequence of a step.
    pub cached_elements: u64,
}

impl Work {
    /// All of it.
    pub fn operations(&self) -> u64 {
        self.products + self.attention
    }

    /// What the passes over a [`Measure`]d memory took so far; nothing for another backend's.
    pub fn of(memory: &mut Memory) -> Self {
        let storage = memory.storage().as_any().downcast_ref::<Self>();
        storage.copied().unwrap_or_default()
    }

    fn count(storage: &mut dyn Storage) -> Option<&mut Self> {
        storage.as_any_mut().downcast_mut()
    }
}

impl Storage for Work {
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
    fn copy_page(&mut self, _from: PageId, _to: PageId) {}
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
        Box::new(Work::default())
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
    fn product(&self, storage: &mut dyn Storage, x: Tensor, weight: &Weight, _: Tensor) {
        let each = 2 * weight.inputs() as u64 * weight.outputs() as u64;
        if let Some(work) = Work::count(storage) {
            work.products += each * x.rows() as u64;
        }
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
    fn attend_part_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        part: &AttentionPart,
    ) {
        count_pairs(
            storage,
            attend,
            part.heads.len(),
            pairs_within(within.segments, part),
        );
    }
    fn attend_paged(
        &self,
        storage: &mut dyn Storage,
        _: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        let AttentionPlan::Paged { spans, mask, .. } = plan else {
            return;
        };
        let pairs = pairs_paged(spans, mask);
        count_pairs(storage, attend, attend.heads.key_value, pairs);
        let tokens: usize = spans.iter().map(|span| read_tokens(span, mask)).sum();
        if let Some(work) = Work::count(storage) {
            work.cached_elements += 2 * (tokens * attend.heads.key_value_columns()) as u64;
        }
    }
    fn is_finite(&self, _: &dyn Storage, _: Tensor) -> bool {
        true
    }
}

/// Notes pairs of a query and a key for some key/value heads.
fn count_pairs(storage: &mut dyn Storage, attend: Attend, heads: usize, pairs: u64) {
    if let Some(work) = Work::count(storage) {
        work.attention += attention_operations(attend.heads, heads, pairs);
        work.heads = Some(attend.heads);
    }
}

/// Multiplications and additions for pairs of a query and a key, in some of the key/value heads.
pub(crate) fn attention_operations(all: Heads, key_value: usize, pairs: u64) -> u64 {
    4 * (key_value * all.query / all.key_value.max(1) * all.dim) as u64 * pairs
}

/// Pairs of a row of a part and a row of its segment.
pub(crate) fn pairs_within(segments: &[Range<usize>], part: &AttentionPart) -> u64 {
    let pairs = segments.iter().map(|segment| {
        let end = segment.end.min(part.rows.end);
        let seeing = end.saturating_sub(segment.start.max(part.rows.start));
        (seeing * segment.len()) as u64
    });
    pairs.sum()
}

/// Pairs of a row and a token that it sees, of all sequences.
pub(crate) fn pairs_paged(spans: &[Span<'_>], mask: Mask) -> u64 {
    spans.iter().map(|span| paged_pairs(span, mask)).sum()
}

/// Tokens of a sequence that a step reads from the cache. A window reaches back from each row: all
/// rows together read the window before the first row too.
fn read_tokens(span: &Span<'_>, mask: Mask) -> usize {
    match mask {
        Mask::Causal => span.cached + span.rows.len(),
        Mask::Window(width) => span.cached.min(width - 1) + span.rows.len(),
    }
}

/// Pairs of a row and a token that it sees. Tokens behind a row that see both ways are left out:
/// they are few.
fn paged_pairs(span: &Span<'_>, mask: Mask) -> u64 {
    let (rows, cached) = (span.rows.len() as u64, span.cached as u64);
    match mask {
        Mask::Causal => rows * cached + rows * (rows + 1) / 2,
        Mask::Window(window) => {
            let seen = |row: u64| (cached + row + 1).min(window as u64);
            (0..rows).map(seen).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Affine, Pass, Probe, QueryKeyValue};

    const HEADS: Heads = Heads {
        query: 2,
        key_value: 1,
        dim: 4,
    };

    /// What attention of 6 rows under `plan` takes, the first of which is token 10 of its sequence.
    fn attended(plan: AttentionPlan<'_>) -> Work {
        let mut memory = Memory::reserve(&Measure, 1 << 20);
        let mut kv = Measure.kv_store(KvLayout {
            layers: Vec::new(),
            pages: 1,
            near_pages: 1,
            page_tokens: 1,
            element: crate::KvElement::F32,
        });
        let mut pass = Pass::new(&Measure, &mut memory, Probe::Off).with_kv(kv.as_mut());
        let (queries, keys) = (pass.take(6, 8), pass.take(6, 4));
        let rows = QueryKeyValue {
            queries,
            keys,
            values: keys,
        };
        pass.attend(rows, HEADS, 1.0, plan);
        Work::of(&mut memory)
    }

    #[test]
    fn a_product_counts_each_multiplication_and_addition() {
        let weight = Weight::new(7, 5, 0, Arc::new(()));
        let mut memory = Memory::reserve(&Measure, 1 << 20);
        let mut pass = Pass::new(&Measure, &mut memory, Probe::Off);
        let x = pass.take(3, 5);
        pass.linear(&x, &weight, None, None);
        let affine = Affine {
            weight: &weight,
            bias: None,
        };
        pass.gated_mlp(&x, affine, affine, Activation::Silu);
        assert_eq!(Work::of(&mut memory).operations(), 3 * 2 * 3 * 5 * 7);
    }

    #[test]
    fn attention_counts_the_keys_that_each_row_sees() {
        let windows = [0..4, 4..6];
        let within = AttentionPlan::Within { segments: &windows };
        assert_eq!(attended(within).attention, 4 * 8 * (16 + 4));
        let spans = [Span {
            rows: 0..6,
            cached: 10,
            pages: &[PageId(0)],
            near_pages: &[PageId(0)],
            both_ways: &[],
        }];
        let paged = |mask| AttentionPlan::Paged {
            layer: 0,
            spans: &spans,
            mask,
        };
        let seen: u64 = (11..=16).sum();
        let causal = attended(paged(Mask::Causal));
        assert_eq!(causal.attention, 4 * 8 * seen);
        assert_eq!(causal.cached_elements, 2 * 16 * 4);
        let window = attended(paged(Mask::Window(13)));
        assert_eq!(window.attention, 4 * 8 * (11 + 12 + 4 * 13));
        assert_eq!(window.cached_elements, 2 * 16 * 4);
        let window = attended(paged(Mask::Window(4)));
        assert_eq!(window.cached_elements, 2 * (3 + 6) * 4);
    }
}
