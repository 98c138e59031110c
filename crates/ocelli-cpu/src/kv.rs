//! The key/value cache: pages in the order that attention reads them.

use std::any::Any;

use ocelli_kernels::{
    Element, KEPT_GROUP, Kept, Kernels, LANES, Matrix, MatrixMut, PagedHead, Tile, Tiles,
};
use ocelli_tensor::{KvElement, KvLayer, KvLayout, KvStore, LayerCache, PageId, Span, WriteKv};

use crate::kept::{Codes, Halves, Singles, Write};
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
    /// See [`Kept`].
    Q8(Numbers<u16>),
}

const _: () = assert!(KEPT_GROUP == KvElement::GROUP);

fn kept(element: KvElement) -> Kept {
    match element {
        KvElement::F32 => Kept::F32,
        KvElement::F16 => Kept::F16,
        KvElement::Q8 => Kept::Q8,
    }
}

impl Elements {
    fn zeros(element: KvElement, len: usize, memory: &Pieces) -> Self {
        match element {
            KvElement::F32 => Self::F32(Numbers::zeros_in(memory, len)),
            KvElement::F16 => Self::F16(Numbers::zeros_in(memory, len)),
            KvElement::Q8 => Self::Q8(Numbers::zeros_in(memory, len)),
        }
    }

    fn view(&self) -> Element<'_> {
        match self {
            Self::F32(values) => Element::F32(values.values()),
            Self::F16(values) => Element::F16(values.values()),
            Self::Q8(words) => Element::Q8(words.values()),
        }
    }

    /// Copies run number `from` of so many elements over run number `to`.
    fn copy_run(&mut self, from: usize, to: usize, elements: usize) {
        let (from, to) = (from * elements, to * elements);
        match self {
            Self::F32(values) => values.values_mut().copy_within(from..from + elements, to),
            Self::F16(values) | Self::Q8(values) => {
                values.values_mut().copy_within(from..from + elements, to);
            }
        }
    }
}

/// Elements of a step below which one thread writes them: for a few tokens, as keys of a token lie
/// in a line of each of their elements, none of which is in a cache.
const SMALL: usize = 1 << 12;

/// What a head's part of a page holds.
#[derive(Clone, Copy)]
enum Order {
    Keys,
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
    /// Parts of `pages`, which is `[groups][heads][pages of a group][size]`, that a thread writes,
    /// and the size of a head's part of a page.
    fn tiles<'a, W: Write>(&self, pages: &'a mut [W::Element]) -> (Tiles<'a, W::Element>, usize) {
        let KvLayer { heads, dim, .. } = self.layer;
        let size = match self.order {
            Order::Keys => W::KEPT.keys_of_page(self.page_tokens, dim),
            Order::Values => W::KEPT.values_of_page(self.page_tokens, dim),
        };
        let of_head = PagedHead::group_pages(self.page_tokens) * size;
        let groups = pages.len() / (heads * of_head);
        let pages = MatrixMut::new(pages, groups, heads * of_head);
        let is_small = self.x.rows() * self.x.columns() < SMALL;
        let width = if is_small { heads * of_head } else { of_head };
        (Tiles::new(pages, groups.max(1), width), size)
    }

    fn write_tile<W: Write>(
        &self,
        kernels: &dyn Kernels,
        mut tile: Tile<'_, W::Element>,
        size: usize,
    ) {
        let of_head = PagedHead::group_pages(self.page_tokens) * size;
        let first = tile.columns.start / of_head;
        for head in first..tile.columns.end / of_head {
            let inside = (head - first) * of_head..(head + 1 - first) * of_head;
            let part = tile.out.part(0..tile.rows.len(), inside);
            self.write_head::<W>(kernels, head, part, size);
        }
    }

    /// All rows of a head, whose parts of the pages of a group, of `size` elements each, are a row
    /// of `groups`.
    fn write_head<W: Write>(
        &self,
        kernels: &dyn Kernels,
        head: usize,
        mut groups: MatrixMut<'_, W::Element>,
        size: usize,
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
                self.write_row::<W>(kernels, x, page, token % self.page_tokens);
            }
        }
    }

    /// A head's row as token `token` of its part of a page.
    fn write_row<W: Write>(
        &self,
        kernels: &dyn Kernels,
        x: &[f32],
        page: &mut [W::Element],
        token: usize,
    ) {
        match self.order {
            Order::Values => W::value(kernels, x, page, token),
            Order::Keys => {
                let panel = W::KEPT.key_panel(x.len());
                let start = token / LANES * panel;
                W::key(kernels, x, &mut page[start..start + panel], token % LANES);
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
                keys: zeros(kept(layout.element).keys_of_page(tokens, layer.dim)),
                values: zeros(kept(layout.element).values_of_page(tokens, layer.dim)),
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
        pool: &Pool,
        kernels: &dyn Kernels,
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
        let rows = [rows(Order::Keys, keys), rows(Order::Values, values)];
        match (&mut into.keys, &mut into.values) {
            (Elements::F32(keys), Elements::F32(values)) => {
                write_to::<Singles>(pool, kernels, &rows, [keys, values]);
            }
            (Elements::F16(keys), Elements::F16(values)) => {
                write_to::<Halves>(pool, kernels, &rows, [keys, values]);
            }
            (Elements::Q8(keys), Elements::Q8(values)) => {
                write_to::<Codes>(pool, kernels, &rows, [keys, values]);
            }
            _ => unreachable!("keys and values of one cache are kept alike"),
        }
    }
}

/// Writes a step's keys and values. Threads share the heads of both.
fn write_to<W: Write>(
    pool: &Pool,
    kernels: &dyn Kernels,
    rows: &[Rows<'_>; 2],
    [keys, values]: [&mut Numbers<W::Element>; 2],
) {
    let (keys, values) = (keys.values_mut(), values.values_mut());
    if keys.is_empty() {
        return;
    }
    let [of_keys, of_values] = rows;
    let (keys, size_of_keys) = of_keys.tiles::<W>(keys);
    let (values, size_of_values) = of_values.tiles::<W>(values);
    let sizes = [size_of_keys, size_of_values];
    pool.tiles_of(&[keys, values], |which, tile, _| {
        rows[which].write_tile::<W>(kernels, tile, sizes[which]);
    });
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
            let kept = kept(self.layout.element);
            let keys = kept.keys_of_page(tokens, dim);
            let values = kept.values_of_page(tokens, dim);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(elements: &Elements) -> Vec<u32> {
        match elements {
            Elements::F32(values) => values.values().iter().map(|x| x.to_bits()).collect(),
            Elements::F16(values) | Elements::Q8(values) => {
                values.values().iter().map(|x| u32::from(*x)).collect()
            }
        }
    }

    fn count_up(elements: &mut Elements) {
        match elements {
            Elements::F32(values) => (0..)
                .zip(values.values_mut())
                .for_each(|(i, x)| *x = f32::from_bits(i)),
            Elements::F16(values) | Elements::Q8(values) => (0..)
                .zip(values.values_mut())
                .for_each(|(i, x): (u32, _)| *x = (i % 65_521) as u16),
        }
    }

    #[test]
    fn a_copied_page_is_the_same_for_every_head_and_no_other_page_changes() {
        let (heads, dim, page_tokens) = (3, 20, 16);
        for element in [KvElement::F32, KvElement::F16, KvElement::Q8] {
            let cache = LayerCache::Full;
            let mut kv = CpuKv::new(KvLayout {
                layers: vec![KvLayer { cache, heads, dim }],
                pages: 40,
                near_pages: 0,
                page_tokens,
                element,
            });
            let layer = &mut kv.layers[0];
            count_up(&mut layer.keys);
            count_up(&mut layer.values);
            let before = [numbers(&layer.keys), numbers(&layer.values)];
            kv.copy_page(PageId(3), PageId(21));
            let kept = kept(element);
            let sizes = [
                kept.keys_of_page(page_tokens, dim),
                kept.values_of_page(page_tokens, dim),
            ];
            let after = [numbers(&kv.layers[0].keys), numbers(&kv.layers[0].values)];
            for ((before, after), size) in before.iter().zip(&after).zip(sizes) {
                let group = PagedHead::group_pages(page_tokens);
                for (place, found) in after.chunks(size).enumerate() {
                    let (head, inside) = (place / group % heads, place % group);
                    let is_target = place / group / heads == 21 / group && inside == 21 % group;
                    let from = if is_target { head * group + 3 } else { place };
                    let wanted = &before[from * size..(from + 1) * size];
                    assert_eq!(found, wanted, "{element:?}, part {place}");
                }
            }
        }
    }
}
