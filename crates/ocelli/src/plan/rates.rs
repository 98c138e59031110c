//! How fast this machine is: products and attention such as the model's, on invented values, for
//! some hundredths of a second each.

use std::time::{Duration, Instant};

use ocelli_engine::{text_work, vision_work};
use ocelli_gguf::{Gguf, TensorInfo};
use ocelli_models::{TextModel, VisionModel};
use ocelli_quant::TensorType;
use ocelli_tensor::{
    AttentionPlan, Backend, Heads, KvElement, KvLayer, KvLayout, LayerCache, Mask, Memory, PageId,
    Pass, Probe, QueryKeyValue, Span, Tensor, Use, WeightSource, Work,
};

use crate::Error;

/// Least time of a measurement, and least number of runs, after one to warm up.
const LEAST_MEASURED: Duration = Duration::from_millis(20);
const RUNS: usize = 5;
/// Rows of a measured product or attention.
const ROWS: usize = 512;
/// Most rows of a measured weight: more would only take longer.
const OUTPUTS: usize = 2048;
const PAGE_TOKENS: usize = 16;

/// Speeds with one part of a model, in operations a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    products: f64,
    attention: f64,
}

impl Rate {
    /// How long so much takes.
    pub(super) fn time(&self, work: &Work) -> Duration {
        let seconds = work.products as f64 / self.products + work.attention as f64 / self.attention;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// Speeds with a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) text: Rate,
    pub(super) vision: Rate,
}

impl Rates {
    pub(super) fn measure(
        backend: &dyn Backend,
        (text_file, text): (&Gguf, &dyn TextModel),
        (vision_file, vision): (&Gguf, &dyn VisionModel),
    ) -> Result<Self, Error> {
        let small = vision.grid(64, 64, &vision.budget());
        let work = small.map(|grid| vision_work(vision, grid, vision.patch_elements()));
        let vision_heads = work.ok().and_then(|work| work.heads);
        let text_heads = text_work(text, 0, 1).heads;
        Ok(Self {
            text: Rate {
                products: products(backend, text_file, "blk.")?,
                attention: text_heads.map_or(f64::INFINITY, |heads| paged(backend, heads)),
            },
            vision: Rate {
                products: products(backend, vision_file, "v.blk.")?,
                attention: vision_heads.map_or(f64::INFINITY, |heads| within(backend, heads)),
            },
        })
    }
}

/// Products with a weight of the type and width that most bytes of the layers have.
fn products(backend: &dyn Backend, file: &Gguf, layers: &str) -> Result<f64, Error> {
    let largest = |info: &&TensorInfo| info.bytes();
    let of_layers = |info: &&TensorInfo| info.name().starts_with(layers) && info.ty().is_runnable();
    let found = file.tensors().iter().filter(of_layers).max_by_key(largest);
    let (ty, columns, rows) = match found {
        Some(info) => (
            info.ty(),
            info.row_elements(),
            (info.elements() / info.row_elements().max(1)).min(OUTPUTS),
        ),
        None => (TensorType::F16, 1024, OUTPUTS),
    };
    // All zero bits are zeros in every type.
    let data = vec![0; ty.row_bytes(columns).unwrap_or(0) * rows];
    let source = WeightSource {
        ty,
        data: &data,
        rows,
        columns,
    };
    let weight = backend
        .pack(&[source], Use::Product)
        .map_err(|error| Error::Backend(error.to_string()))?;
    let mut memory = Memory::reserve(backend, ROWS * (columns + rows) + 1024);
    let mut pass = Pass::new(backend, &mut memory, Probe::Off);
    let x = pass.upload(&vec![0.5; ROWS * columns], columns, ROWS);
    let out = pass.take(ROWS, rows);
    let operations = 2 * ROWS * columns * rows;
    Ok(rate(operations, || {
        pass.linear_into(&x, &weight, None, &out)
    }))
}

/// Attention inside one picture.
fn within(backend: &dyn Backend, heads: Heads) -> f64 {
    let mut memory = reserve(backend, heads);
    let mut pass = Pass::new(backend, &mut memory, Probe::Off);
    let (queries, keys) = operands(&mut pass, heads);
    rate(4 * heads.query_columns() * ROWS * ROWS, || {
        let mark = pass.mark();
        let whole = 0..ROWS;
        let plan = AttentionPlan::Within {
            segments: std::slice::from_ref(&whole),
        };
        let rows = QueryKeyValue {
            queries,
            keys,
            values: keys,
        };
        pass.attend(rows, heads, 0.1, plan);
        pass.release(mark);
    })
}

/// Attention of a step's rows to a cache that is as long.
fn paged(backend: &dyn Backend, heads: Heads) -> f64 {
    let layer = KvLayer {
        cache: LayerCache::Full,
        heads: heads.key_value,
        dim: heads.dim,
    };
    let pages: Vec<PageId> = (0..ROWS / PAGE_TOKENS).map(|i| PageId(i as u32)).collect();
    let mut kv = backend.kv_store(KvLayout {
        layers: vec![layer],
        pages: pages.len(),
        near_pages: 0,
        page_tokens: PAGE_TOKENS,
        element: KvElement::F16,
    });
    let spans = [Span {
        rows: 0..ROWS,
        cached: 0,
        pages: &pages,
        near_pages: &[],
        both_ways: &[],
    }];
    let mut memory = reserve(backend, heads);
    let mut pass = Pass::new(backend, &mut memory, Probe::Off).with_kv(kv.as_mut());
    let (queries, keys) = operands(&mut pass, heads);
    rate(2 * heads.query_columns() * ROWS * (ROWS + 1), || {
        let mark = pass.mark();
        let plan = AttentionPlan::Paged {
            layer: 0,
            spans: &spans,
            mask: Mask::Causal,
        };
        let rows = QueryKeyValue {
            queries,
            keys,
            values: keys,
        };
        pass.attend(rows, heads, 0.1, plan);
        pass.release(mark);
    })
}

fn reserve(backend: &dyn Backend, heads: Heads) -> Memory {
    let columns = 2 * heads.query_columns() + heads.key_value_columns();
    Memory::reserve(backend, ROWS * columns + 1024)
}

fn operands(pass: &mut Pass<'_>, heads: Heads) -> (Tensor, Tensor) {
    let (wide, narrow) = (heads.query_columns(), heads.key_value_columns());
    let queries = pass.upload(&vec![0.5; ROWS * wide], wide, ROWS);
    let keys = pass.upload(&vec![0.25; ROWS * narrow], narrow, ROWS);
    (queries, keys)
}

/// Operations a second of what `run` does: the best run, since others of this machine may have been
/// in the way.
fn rate(operations: usize, mut run: impl FnMut()) -> f64 {
    run();
    let begun = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while begun.elapsed() < LEAST_MEASURED || runs < RUNS {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
        runs += 1;
    }
    operations as f64 / best.as_secs_f64().max(1e-9)
}
