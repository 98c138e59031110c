//! The key/value cache: pages in the order that attention reads them.

use std::any::Any;

use ocelli_kernels::{Element, Kernels, LANES, Matrix, MatrixMut, PagedHead, Tiles};
use ocelli_tensor::{KvElement, KvLayer, KvLayout, KvStore, LayerCache, PageId, Span, WriteKv};

use crate::memory::{Numbers, Pieces};
use crate::pool::Pool;

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
    fn zeros(element: KvElement, len: usize, memory: &Pieces) -> Self {
        match element {
            KvElement::F32 => Self::F32(Numbers::zeros_in(memory, len)),
            KvElement::F16 => Self::F16(Numbers::zeros_in(memory, len)),
        }
    }

    fn view(&self) -> Element<'_> {
        match self {
            Self::F32(values) => Element::F32(values.values()),
            Self::F16(values) => Element::F16(values.values()),
        }
    }

    /// Copies run number `from` of so many elements over run number `to`.
    fn copy_run(&mut self, from: usize, to: usize, elements: usize) {
        let (from, to) = (from * elements, to * elements);
        match self {
            Self::F32(values) => values.values_mut().copy_within(from..from + elements, to),
            Self::F16(values) => values.values_mut().copy_within(from..from + elements, to),
        }
    }
}

/// Elements of a cache.
trait Stored: Copy + Default + Send {
    /// `out = x`, rounded to nearest even.
    fn store(kernels: &dyn Kernels, x: &[f32], out: &mut [Self]);
}

impl Stored for f32 {
    fn store(_: &dyn Kernels, x: &[f32], out: &mut [Self]) {
        out.copy_from_slice(x);
    }
}

impl Stored for u16 {
    fn store(kernels: &dyn Kernels, x: &[f32], out: &mut [Self]) {
        kernels.narrow(x, out);
    }
}

/// Elements of a key that are rounded before each goes to its place.
const RUN: usize = 64;

/// Elements of a step below which one thread writes them.
const SMALL: usize = 1 << 14;

/// The order of elements in a head's part of a page.
#[derive(Clone, Copy)]
enum Order {
    /// `[panels][dim][16]`.
    Keys,
    /// `[page_tokens][width]`.
    Values,
}

/// A step's keys or values on their way into pages.
struct Rows<'a> {
    order: Order,
    layer: KvLayer,
    page_tokens: usize,
    spans: &'a [Span<'a>],
    /// `[rows, heads * dim]`.
    x: Matrix<'a>,
}

impl Rows<'_> {
    fn write(&self, pool: &Pool, kernels: &dyn Kernels, elements: &mut Elements) {
        match elements {
            Elements::F32(values) => self.write_to(pool, kernels, values.values_mut()),
            Elements::F16(values) => self.write_to(pool, kernels, values.values_mut()),
        }
    }

    /// `pages` is `[groups][heads][pages of a group][size]`. Threads share the heads.
    fn write_to<T: Stored>(&self, pool: &Pool, kernels: &dyn Kernels, pages: &mut [T]) {
        let KvLayer { heads, dim, .. } = self.layer;
        let size = match self.order {
            Order::Keys => PagedHead::key_elements(self.page_tokens, dim),
            Order::Values => PagedHead::value_elements(self.page_tokens, dim),
        };
        if pages.is_empty() {
            return;
        }
        let is_small = self.x.rows() * self.x.columns() < SMALL;
        let of_head = PagedHead::group_pages(self.page_tokens) * size;
        let width = if is_small { heads * of_head } else { of_head };
        let groups = pages.len() / (heads * of_head);
        let pages = MatrixMut::new(pages, groups, heads * of_head);
        pool.tiles(Tiles::new(pages, groups, width), |mut tile, _| {
            let first = tile.columns.start / of_head;
            for head in first..tile.columns.end / of_head {
                let inside = (head - first) * of_head..(head + 1 - first) * of_head;
                let part = tile.out.part(0..groups, inside);
                self.write_head(kernels, head, (part, size));
            }
        });
    }

    /// All rows of a head, whose parts of the pages of a group, of `size` elements each, are a row of `groups`.
    fn write_head<T: Stored>(
        &self,
        kernels: &dyn Kernels,
        head: usize,
        (mut groups, size): (MatrixMut<'_, T>, usize),
    ) {
        let KvLayer { dim, cache, .. } = self.layer;
        let pages = PagedHead::group_pages(self.page_tokens);
        for span in self.spans {
            let of_span = span.pages_in(cache);
            for row in span.rows.clone() {
                let token = span.cached + row - span.rows.start;
                let page = of_span[token / self.page_tokens].0 as usize;
                let page = &mut groups.row(page / pages)[page % pages * size..][..size];
                let x = &self.x.row(row)[head * dim..(head + 1) * dim];
                self.write_row(kernels, x, (page, token % self.page_tokens));
            }
        }
    }

    fn write_row<T: Stored>(
        &self,
        kernels: &dyn Kernels,
        x: &[f32],
        (page, token): (&mut [T], usize),
    ) {
        match self.order {
            Order::Values => {
                let start = token * x.len().next_multiple_of(LANES);
                T::store(kernels, x, &mut page[start..start + x.len()]);
            }
            Order::Keys => {
                let start = token / LANES * LANES * x.len() + token % LANES;
                let mut targets = page[start..].iter_mut().step_by(LANES);
                let mut rounded = [T::default(); RUN];
                for x in x.chunks(RUN) {
                    let rounded = &mut rounded[..x.len()];
                    T::store(kernels, x, rounded);
                    for (value, target) in rounded.iter().zip(targets.by_ref()) {
                        *target = *value;
                    }
                }
            }
        }
    }
}

impl CpuKv {
    pub(crate) fn new(layout: KvLayout) -> Self {
        let tokens = layout.page_tokens;
        let memory = Pieces::default();
        let layer = |layer: &KvLayer| {
            // Nobody touches the pages that are not there, so that they take no memory.
            let pages = layout.pages_of(layer);
            let pages = pages.next_multiple_of(PagedHead::group_pages(tokens));
            let zeros = |elements: usize| {
                Elements::zeros(layout.element, pages * layer.heads * elements, &memory)
            };
            Layer {
                keys: zeros(PagedHead::key_elements(tokens, layer.dim)),
                values: zeros(PagedHead::value_elements(tokens, layer.dim)),
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
        (pool, kernels): (&Pool, &dyn Kernels),
        write: &WriteKv<'_>,
        keys: Matrix<'_>,
        values: Matrix<'_>,
    ) {
        let layer = self.layout.layers[write.layer];
        let columns = layer.heads * layer.dim;
        assert_eq!(keys.columns(), columns, "keys of layer {}", write.layer);
        assert_eq!(values.columns(), columns, "values of layer {}", write.layer);
        let rows = |order, x| Rows {
            order,
            layer,
            page_tokens: self.layout.page_tokens,
            spans: write.spans,
            x,
        };
        let into = &mut self.layers[write.layer];
        rows(Order::Keys, keys).write(pool, kernels, &mut into.keys);
        rows(Order::Values, values).write(pool, kernels, &mut into.values);
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
            let keys = PagedHead::key_elements(tokens, dim);
            let values = PagedHead::value_elements(tokens, dim);
            let pages = PagedHead::group_pages(tokens);
            for head in 0..heads {
                let place = |page: PageId| {
                    let page = page.0 as usize;
                    (page / pages * heads + head) * pages + page % pages
                };
                layer.keys.copy_run(place(from), place(to), keys);
                layer.values.copy_run(place(from), place(to), values);
            }
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
