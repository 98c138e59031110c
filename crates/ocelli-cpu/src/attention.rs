//! Attention cut into tiles of rows and key/value heads for the threads.

use std::ops::Range;

use ocelli_kernels::{Attention, Decode, KeyValues, Matrix, MatrixMut, Tile, Tiles, Workspace};
use ocelli_tensor::{Attend, AttentionPart, AttentionPlan, KvStore, Mask, Span, Storage, Within};

use crate::backend::CpuBackend;
use crate::kv::CpuKv;
use crate::memory::CpuStorage;
use crate::rows::RowKind;

/// Query rows (tokens times heads of a group) of a tile: enough to pay for turning keys into panels.
const TILE_QUERIES: usize = 192;

/// The same where keys and values are rounded too, and products are faster.
const TILE_QUERIES_OF_PAIRS: usize = 768;

/// The same on a matrix unit, which is faster again, beside a second-level cache of 2 MB.
const TILE_QUERIES_OF_TILES: usize = 1024;

/// Query rows of such a tile at least, where there are enough for all threads.
const LEAST_QUERIES_OF_PAIRS: usize = 384;

/// The part of a run of rows that lies in a tile, as rows of the tile.
fn inside(run: &Range<usize>, tile: &Range<usize>) -> Option<Range<usize>> {
    let start = run.start.max(tile.start);
    let end = run.end.min(tile.end);
    (start < end).then(|| start - tile.start..end - tile.start)
}

impl CpuBackend {
    pub(crate) fn attention_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        of: &AttentionPart,
    ) {
        let segments = within.segments;
        let covered: usize = segments.iter().map(ExactSizeIterator::len).sum();
        assert_eq!(covered, within.keys.rows(), "segments cover all rows");
        let read = [attend.queries, within.keys, within.values];
        let ([queries, keys, values], mut out) =
            CpuStorage::of_mut(storage).split(read, attend.out);
        let dim = attend.heads.dim;
        let width = attend.heads.query_columns() / attend.heads.key_value;
        let columns = of.heads.start * width..of.heads.end * width;
        let out = out.part(of.rows.clone(), columns.clone());
        let queries = queries.part(of.rows.clone(), columns);
        let whole = attend.heads.query / attend.heads.key_value;
        self.attention_tiles(&attend, whole, out, |tile, head, workspace| {
            let Tile {
                rows,
                columns,
                mut out,
            } = tile;
            let head = of.heads.start + head;
            let head = head * dim..(head + 1) * dim;
            let run = rows.start + of.rows.start..rows.end + of.rows.start;
            for segment in segments {
                let Some(part) = inside(segment, &run) else {
                    continue;
                };
                let keys_values = KeyValues::Rows {
                    keys: keys.part(segment.clone(), head.clone()),
                    values: values.part(segment.clone(), head.clone()),
                };
                let queries = queries.part(
                    part.start + rows.start..part.end + rows.start,
                    columns.clone(),
                );
                let visible = |_: usize| 0..segment.len();
                let kind = RowKind::Prompt;
                let attention = attention_of(&attend, kind, queries, keys_values, &visible);
                let out = out.part(part, 0..columns.len());
                self.attend_rows(kind, &attention, out, workspace);
            }
        });
    }

    pub(crate) fn attention_paged(
        &self,
        storage: &mut dyn Storage,
        kv: &dyn KvStore,
        attend: Attend,
        plan: AttentionPlan<'_>,
    ) {
        let AttentionPlan::Paged { layer, spans, mask } = plan else {
            panic!("paged attention needs a paged plan");
        };
        let kv = CpuKv::of(kv);
        let cache = kv.layout().layers[layer].cache;
        let ([queries], out) = CpuStorage::of_mut(storage).split([attend.queries], attend.out);
        let together = self.heads_together(&attend);
        self.attention_tiles(&attend, together, out, |tile, head, workspace| {
            let Tile {
                rows,
                columns,
                mut out,
            } = tile;
            let prompt = attend.queries.prompt_rows();
            let kinds = [
                (0..prompt, RowKind::Prompt),
                (prompt..attend.queries.rows(), RowKind::Generated),
            ];
            for (span, (of_kind, kind)) in spans
                .iter()
                .flat_map(|span| kinds.iter().map(move |kind| (span, kind)))
            {
                let span_rows = span.rows.start.max(of_kind.start)..span.rows.end.min(of_kind.end);
                let Some(part) = inside(&span_rows, &rows) else {
                    continue;
                };
                let first = part.start + rows.start;
                let queries = queries.part(first..part.end + rows.start, columns.clone());
                let pages = span.pages_in(cache);
                let page = |page: usize| pages[page].0 as usize;
                let keys_values = KeyValues::Paged(kv.head(layer, head, &page));
                let visible = |row: usize| visible(span, mask, first + row - span.rows.start);
                let attention = attention_of(&attend, *kind, queries, keys_values, &visible);
                let out = out.part(part, 0..columns.len());
                self.attend_rows(*kind, &attention, out, workspace);
            }
        });
    }

    /// Query heads of a tile: all that share a key/value head, or an even part of them where a
    /// generated row has fewer of those than there are threads. Then several threads read the same
    /// keys and values, of which memory is asked once.
    fn heads_together(&self, attend: &Attend) -> usize {
        let heads = attend.heads;
        let group = heads.query / heads.key_value;
        let (rows, threads) = (attend.queries.rows(), self.pool.threads());
        if attend.queries.prompt_rows() > 0 || rows * heads.key_value >= threads {
            return group;
        }
        let is_enough = |parts: &usize| {
            group.is_multiple_of(*parts) && rows * heads.key_value * parts >= threads
        };
        group / (1..group).find(is_enough).unwrap_or(group)
    }

    /// Calls `f` for tiles of rows and `together` query heads of one key/value head, whose index it
    /// gets.
    fn attention_tiles(
        &self,
        attend: &Attend,
        together: usize,
        out: MatrixMut<'_>,
        f: impl Fn(Tile<'_>, usize, &mut Workspace) + Sync,
    ) {
        let heads = attend.heads;
        let group = heads.query / heads.key_value;
        let width = together * heads.dim;
        let count = (out.columns() / width).max(1);
        // Rows of a tile if each thread gets so many tiles.
        let rows = |tiles: usize| {
            let bands = (tiles * self.pool.threads()).div_ceil(count);
            out.rows().div_ceil(bands)
        };
        let (least, most) = match self.arithmetic.attends_in_pairs {
            true if self.kernels.rates().tiles => (LEAST_QUERIES_OF_PAIRS, TILE_QUERIES_OF_TILES),
            true => (LEAST_QUERIES_OF_PAIRS, TILE_QUERIES_OF_PAIRS),
            false => (0, TILE_QUERIES),
        };
        // Many tiles share the work evenly, but not so many that making keys ready takes longer
        // than using them.
        let even = rows(4).max((least / group).min(rows(1)));
        let rows = (most / group).min(even).max(24_usize.div_ceil(group));
        let rows = self.shared_evenly(out.rows(), count, rows, most / group);
        // A low last tile would make keys ready for few queries, and be an uneven share of the
        // work. Tiles of whole windows, where those have 64 rows, make the keys of each ready once.
        let bands = out.rows().div_ceil(rows).max(1);
        let height = out.rows().div_ceil(bands).max(1);
        let rows = height.next_multiple_of(64).min(rows);
        self.pool
            .tiles(Tiles::new(out, rows, width), |tile, workspace| {
                let head = tile.columns.start / (group * heads.dim);
                f(tile, head, workspace);
            });
    }

    /// Rows of a tile, near `wanted` and at most `most`, so that few tiles are as many for each
    /// thread; there are `all` rows and `heads` tiles beside each other.
    fn shared_evenly(&self, all: usize, heads: usize, wanted: usize, most: usize) -> usize {
        let threads = self.pool.threads();
        let tiles = all.div_ceil(wanted) * heads;
        if tiles <= threads || tiles >= 4 * threads || tiles.is_multiple_of(threads) {
            return wanted;
        }
        let rows = |tiles: usize| all.div_ceil(tiles.div_ceil(heads)).max(1);
        let fewer = rows(tiles / threads * threads);
        if fewer <= most {
            fewer
        } else {
            rows(tiles.next_multiple_of(threads))
        }
    }

    /// Rows of one kind, in the arithmetic for them.
    fn attend_rows(
        &self,
        kind: RowKind,
        attention: &Attention<'_>,
        mut out: MatrixMut<'_>,
        workspace: &mut Workspace,
    ) {
        let kernels = &*self.kernels;
        let is_picture = matches!(attention.keys_values, KeyValues::Rows { .. });
        match kind {
            RowKind::Prompt if is_picture && self.arithmetic.attends_in_bytes => {
                kernels.attend_bytes(attention, &mut out, workspace);
            }
            RowKind::Prompt if self.arithmetic.attends_in_pairs => {
                kernels.attend_pairs(attention, &mut out, workspace);
            }
            RowKind::Prompt | RowKind::Generated => attention.run(kernels, &mut out, workspace),
        }
    }
}

/// Attention of some rows of one kind to one head's keys and values, of which each sees `visible`.
fn attention_of<'a>(
    attend: &Attend,
    kind: RowKind,
    queries: Matrix<'a>,
    keys_values: KeyValues<'a>,
    visible: &'a dyn Fn(usize) -> Range<usize>,
) -> Attention<'a> {
    Attention {
        queries,
        dim: attend.heads.dim,
        scale: attend.scale,
        keys_values,
        decode: match kind {
            RowKind::Prompt => Decode::Before,
            RowKind::Generated => Decode::Reading,
        },
        visible,
    }
}

/// Tokens that a row of a span sees.
fn visible(span: &Span<'_>, mask: Mask, row: usize) -> Range<usize> {
    let token = span.cached + row;
    let first = match mask {
        Mask::Causal => 0,
        Mask::Window(tokens) => (token + 1).saturating_sub(tokens),
    };
    let run = span.both_ways.iter().find(|run| run.contains(&token));
    let end = run.map_or(token + 1, |run| run.end.max(token + 1));
    first..end.min(span.cached + span.rows.len())
}
