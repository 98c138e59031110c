//! The key/value cache: pages in the order that attention reads them.

use std::any::Any;

use half::f16;
use ocelli_kernels::{Element, Kernels, LANES, Matrix, PagedHead};
use ocelli_tensor::{KvElement, KvLayer, KvLayout, KvStore, LayerCache, PageId, Span, WriteKv};

use crate::memory::Numbers;

/// See [`PagedHead`] for the order of elements.
pub(crate) struct CpuKv {
    layout: KvLayout,
    layers: Vec<Layer>,
}

struct Layer {
    keys: Elements,
    values: Elements,
}

enum Elements {
    F32(Numbers<f32>),
    F16(Numbers<u16>),
}

impl Elements {
    fn zeros(element: KvElement, len: usize) -> Self {
        match element {
            KvElement::F32 => Self::F32(Numbers::zeros(len)),
            KvElement::F16 => Self::F16(Numbers::zeros(len)),
        }
    }

    fn view(&self) -> Element<'_> {
        match self {
            Self::F32(values) => Element::F32(values.values()),
            Self::F16(values) => Element::F16(values.values()),
        }
    }

    /// Copies run number `from` of so many elements over run number `to`.
    fn copy_run(&mut self, from: PageId, to: PageId, elements: usize) {
        let (from, to) = (from.0 as usize * elements, to.0 as usize * elements);
        match self {
            Self::F32(values) => values.values_mut().copy_within(from..from + elements, to),
            Self::F16(values) => values.values_mut().copy_within(from..from + elements, to),
        }
    }

    /// Writes `row` to `start`, `start + step`, ...
    fn write(&mut self, kernels: &dyn Kernels, row: &[f32], start: usize, step: usize) {
        match self {
            Self::F32(values) if step == 1 => {
                values.values_mut()[start..start + row.len()].copy_from_slice(row);
            }
            Self::F16(values) if step == 1 => {
                kernels.narrow(row, &mut values.values_mut()[start..start + row.len()]);
            }
            Self::F32(values) => {
                for (target, value) in values.values_mut()[start..]
                    .iter_mut()
                    .step_by(step)
                    .zip(row)
                {
                    *target = *value;
                }
            }
            Self::F16(values) => {
                for (target, value) in values.values_mut()[start..]
                    .iter_mut()
                    .step_by(step)
                    .zip(row)
                {
                    *target = f16::from_f32(*value).to_bits();
                }
            }
        }
    }
}

impl CpuKv {
    pub(crate) fn new(layout: KvLayout) -> Self {
        let tokens = layout.page_tokens;
        let layer = |layer: &KvLayer| {
            let heads = layout.pages_of(layer) * layer.heads;
            Layer {
                keys: Elements::zeros(
                    layout.element,
                    heads * PagedHead::key_elements(tokens, layer.dim),
                ),
                values: Elements::zeros(
                    layout.element,
                    heads * PagedHead::value_elements(tokens, layer.dim),
                ),
            }
        };
        let layers = layout.layers.iter().map(layer).collect();
        Self { layout, layers }
    }

    /// The backend's own type back.
    pub(crate) fn of(kv: &dyn KvStore) -> &Self {
        kv.as_any()
            .downcast_ref()
            .expect("the cache was made by this backend")
    }

    /// The backend's own type back.
    pub(crate) fn of_mut(kv: &mut dyn KvStore) -> &mut Self {
        kv.as_any_mut()
            .downcast_mut()
            .expect("the cache was made by this backend")
    }

    /// One head of a layer, for a sequence whose pages `page` names.
    pub(crate) fn head<'a>(
        &'a self,
        layer: usize,
        head: usize,
        page: &'a (dyn Fn(usize) -> usize + Sync),
    ) -> PagedHead<'a> {
        PagedHead {
            keys: self.layers[layer].keys.view(),
            values: self.layers[layer].values.view(),
            page,
            heads: self.layout.layers[layer].heads,
            head,
            page_tokens: self.layout.page_tokens,
        }
    }

    /// Writes a step's keys and values, `[rows, heads * dim]` each.
    pub(crate) fn write(
        &mut self,
        kernels: &dyn Kernels,
        write: &WriteKv<'_>,
        keys: Matrix<'_>,
        values: Matrix<'_>,
    ) {
        let layer = self.layout.layers[write.layer];
        assert_eq!(
            keys.columns(),
            layer.heads * layer.dim,
            "keys of layer {}",
            write.layer
        );
        for span in write.spans {
            for row in span.rows.clone() {
                self.write_token(
                    kernels,
                    (write.layer, span, row),
                    keys.row(row),
                    values.row(row),
                );
            }
        }
    }

    fn write_token(
        &mut self,
        kernels: &dyn Kernels,
        (layer, span, row): (usize, &Span<'_>, usize),
        keys: &[f32],
        values: &[f32],
    ) {
        let KvLayer { heads, dim, cache } = self.layout.layers[layer];
        let page_tokens = self.layout.page_tokens;
        let Layer {
            keys: all_keys,
            values: all_values,
        } = &mut self.layers[layer];
        let token = span.cached + row - span.rows.start;
        let (page, inside) = (
            span.pages_in(cache)[token / page_tokens].0 as usize,
            token % page_tokens,
        );
        for (head, (key, value)) in keys
            .chunks_exact(dim)
            .zip(values.chunks_exact(dim))
            .enumerate()
        {
            let start = (page * heads + head) * PagedHead::key_elements(page_tokens, dim);
            let lane = start + inside / LANES * LANES * dim + inside % LANES;
            all_keys.write(kernels, key, lane, LANES);
            let start = (page * heads + head) * PagedHead::value_elements(page_tokens, dim);
            all_values.write(
                kernels,
                value,
                start + inside * dim.next_multiple_of(LANES),
                1,
            );
        }
    }
}

impl KvStore for CpuKv {
    fn layout(&self) -> &KvLayout {
        &self.layout
    }

    fn copy_page(&mut self, from: PageId, to: PageId) {
        let tokens = self.layout.page_tokens;
        for (shape, layer) in self.layout.layers.iter().zip(&mut self.layers) {
            if shape.cache != LayerCache::Full {
                continue;
            }
            let KvLayer { heads, dim, .. } = *shape;
            let keys = heads * PagedHead::key_elements(tokens, dim);
            let values = heads * PagedHead::value_elements(tokens, dim);
            layer.keys.copy_run(from, to, keys);
            layer.values.copy_run(from, to, values);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
