//! Pages of a cache for the checks of attention.

use super::Lab;
use crate::{Backend, Heads, KvStore, PageId, Span, WriteKv};

/// Pages of two sequences that lie between each other, those of the first the last one first.
pub(super) fn woven_pages(pages: usize, extra: usize) -> [Vec<PageId>; 2] {
    let own: Vec<PageId> = (0..pages).rev().map(|i| PageId(2 * i as u32)).collect();
    let taken = |id: &PageId| !own.contains(id);
    let all = (0..(pages + extra) as u32).map(PageId);
    let other = all.filter(taken).collect();
    [own, other]
}

/// Fills a page of layer 1 with what is no number.
pub(super) fn fill_with_nan(
    backend: &dyn Backend,
    kv: &mut dyn KvStore,
    heads: Heads,
    page: PageId,
    tokens: usize,
) {
    let columns = heads.key_value_columns();
    let mut lab = Lab::with_room(backend, tokens * columns + 64);
    let values = lab.put(&vec![f32::NAN; tokens * columns], columns, tokens);
    let pages = [page];
    let spans = [Span {
        rows: 0..tokens,
        cached: 0,
        pages: &pages,
        near_pages: &pages,
        both_ways: &[],
    }];
    let write = WriteKv {
        layer: 1,
        spans: &spans,
        keys: values,
        values,
    };
    backend.write_kv(lab.memory.storage(), kv, write);
}
