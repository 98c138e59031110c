//! Attention inside segments and over cached pages.

use std::ops::Range;

use super::pages::{fill_with_nan, woven_pages};
use super::sequence::Sequence;
use super::{Kind, Lab, assert_close, assert_same};
use crate::{
    Attend, AttentionPart, AttentionPlan, Backend, Heads, KvElement, KvLayer, KvLayout, LayerCache,
    Mask, PageId, Span, Within, WriteKv,
};

/// Query heads, key/value heads, size.
const HEADS: [(usize, usize, usize); 9] = [
    (1, 1, 64),
    (4, 2, 32),
    (6, 2, 12),
    (2, 2, 18),
    (3, 1, 72),
    (4, 4, 80),
    (8, 2, 128),
    (2, 1, 7),
    (1, 1, 256),
];

/// Attention inside segments: values to an error of `tolerance`, and that a segment is the same
/// alone and among others.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_segment_attention(backend: &dyn Backend, tolerance: f64) {
    for (query, key_value, dim) in HEADS {
        let heads = Heads {
            query,
            key_value,
            dim,
        };
        let tokens = 300;
        let sequence = Sequence::new(heads, tokens, dim as u64);
        let segments = [0..1, 1..3, 3..64, 64..299, 299..300];
        let together = run_segments(backend, &sequence, 0..tokens, &segments);
        let columns = heads.query_columns();
        for (row, found) in together.chunks(columns).enumerate() {
            let segment = segments
                .iter()
                .find(|segment| segment.contains(&row))
                .expect("segments cover all rows");
            let wanted = sequence.reference(row, &|token| segment.contains(&token));
            assert_close(
                &format!("segments, {heads:?}, row {row}"),
                found,
                &wanted,
                tolerance,
                1.0,
            );
        }
        for segment in segments {
            let one = [Range {
                start: 0,
                end: segment.len(),
            }];
            let alone = run_segments(backend, &sequence, segment.clone(), &one);
            let name = format!("segment {segment:?} alone, {heads:?}");
            assert_same(&name, &alone, Sequence::rows(&together, columns, segment));
        }
    }
}

fn run_segments(
    backend: &dyn Backend,
    s: &Sequence,
    rows: Range<usize>,
    segments: &[Range<usize>],
) -> Vec<f32> {
    let mut lab = Lab::with_room(backend, 1 << 21);
    let (wide, narrow) = (s.heads.query_columns(), s.heads.key_value_columns());
    let count = rows.len();
    let queries = lab.put(Sequence::rows(&s.queries, wide, rows.clone()), wide, count);
    let keys = lab.put(Sequence::rows(&s.keys, narrow, rows.clone()), narrow, count);
    let values = lab.put(Sequence::rows(&s.values, narrow, rows), narrow, count);
    let out = lab.junk(count, wide, count);
    let attend = Attend {
        queries,
        heads: s.heads,
        scale: s.scale(),
        out,
    };
    let within = Within {
        keys,
        values,
        segments,
    };
    backend.attend_within(lab.memory.storage(), attend, within);
    let whole = lab.get(out);
    // Parts give what the whole gives, wherever they are cut.
    let out = lab.junk(count, wide, count);
    let attend = Attend { out, ..attend };
    let mut first = 0;
    while first < count {
        let run = first..count.min(2 * first + 1);
        first = run.end;
        let middle = s.heads.key_value / 2;
        for heads in [middle..s.heads.key_value, 0..middle] {
            let rows = run.clone();
            let part = AttentionPart { rows, heads };
            let storage = lab.memory.storage();
            backend.attend_part_within(storage, attend, within, &part);
        }
    }
    let name = format!("within {segments:?}, in parts");
    assert_same(&name, &lab.get(out), &whole);
    whole
}

/// How a cache is laid out and what is masked, for one run.
#[derive(Clone, Debug)]
struct Case {
    element: KvElement,
    page_tokens: usize,
    mask: Mask,
    both_ways: Vec<Range<usize>>,
}

impl Case {
    fn cache(&self) -> LayerCache {
        match self.mask {
            Mask::Causal => LayerCache::Full,
            Mask::Window(tokens) => LayerCache::Window(tokens),
        }
    }

    /// The first token that row `row` or a later one sees.
    fn seen_from(&self, row: usize) -> usize {
        match self.mask {
            Mask::Causal => 0,
            Mask::Window(tokens) => (row + 1).saturating_sub(tokens),
        }
    }
}

/// Attention over pages: values to an error of `tolerance`, and that a row is the same however its
/// prompt was cut, whoever stands beside it, and whatever stands in pages that no row of the step
/// sees.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_paged_attention(backend: &dyn Backend, tolerance: f64) {
    let plain = |element, page_tokens, mask| Case {
        element,
        page_tokens,
        mask,
        both_ways: Vec::new(),
    };
    let cases = [
        plain(KvElement::F32, 16, Mask::Causal),
        plain(KvElement::F16, 32, Mask::Causal),
        plain(KvElement::F16, 256, Mask::Causal),
        plain(KvElement::F32, 5, Mask::Window(17)),
        plain(KvElement::F16, 16, Mask::Window(130)),
        plain(KvElement::Q8, 16, Mask::Causal),
        plain(KvElement::Q8, 256, Mask::Window(41)),
        plain(KvElement::Q8, 5, Mask::Window(17)),
        Case {
            both_ways: vec![3..40, 40..45, 150..160],
            ..plain(KvElement::F16, 64, Mask::Causal)
        },
    ];
    for (query, key_value, dim) in HEADS {
        for case in &cases {
            check_paged_case(
                backend,
                Heads {
                    query,
                    key_value,
                    dim,
                },
                case,
                tolerance,
            );
        }
    }
}

fn check_paged_case(backend: &dyn Backend, heads: Heads, case: &Case, tolerance: f64) {
    let tokens = 170;
    let name = format!("paged, {heads:?}, {case:?}");
    let sequence = Sequence::new(heads, tokens, 7);
    let whole = Kind::ALL.map(|kind| run_steps(backend, &sequence, case, kind, &[tokens]));
    let columns = heads.query_columns();
    let tolerance = match case.element {
        KvElement::F32 => tolerance,
        KvElement::F16 => tolerance.max(3e-3),
        KvElement::Q8 => tolerance.max(3e-2),
    };
    // Some rows: the formula is slow, and each row is compared with itself below.
    let rows = whole[0].chunks(columns).enumerate();
    for (row, found) in rows.filter(|(row, _)| row % 6 == 0 || row % 16 > 13) {
        let wanted = sequence.reference(row, &|token| is_visible(case, row, token));
        assert_close(
            &format!("{name}, row {row}"),
            found,
            &wanted,
            tolerance,
            1.0,
        );
    }
    let cuts: [&[usize]; 3] = [&[1, 2, 42, 115, 10], &[47, 103, 20], &[45, 115, 9, 1]];
    for (kind, whole) in Kind::ALL.into_iter().zip(&whole) {
        for cut in cuts {
            // A run that attends both ways is never cut.
            let ends = cut.iter().scan(0, |end, rows| {
                *end += rows;
                Some(*end)
            });
            if ends.clone().any(|end| {
                case.both_ways
                    .iter()
                    .any(|run| run.start < end && end < run.end)
            }) {
                continue;
            }
            let parts = run_steps(backend, &sequence, case, kind, cut);
            assert_same(
                &format!("{name}, {kind:?}, in steps of {cut:?}"),
                &parts,
                whole,
            );
        }
    }
    let single = vec![1; tokens];
    if case.both_ways.is_empty() {
        let parts = run_steps(backend, &sequence, case, Kind::Generated, &single);
        assert_same(&format!("{name}, token by token"), &parts, &whole[1]);
    }
}

fn is_visible(case: &Case, row: usize, token: usize) -> bool {
    let near = match case.mask {
        Mask::Causal => true,
        Mask::Window(window) => row < token + window,
    };
    let together = case
        .both_ways
        .iter()
        .any(|run| run.contains(&row) && run.contains(&token));
    near && token <= row || together && token > row
}

/// Runs a sequence in steps, beside another sequence whose steps are one token longer.
fn run_steps(
    backend: &dyn Backend,
    sequence: &Sequence,
    case: &Case,
    kind: Kind,
    steps: &[usize],
) -> Vec<f32> {
    let heads = sequence.heads;
    let layer = KvLayer {
        cache: case.cache(),
        heads: heads.key_value,
        dim: heads.dim,
    };
    let pages = sequence.tokens.div_ceil(case.page_tokens);
    let extra = (sequence.tokens + steps.len()).div_ceil(case.page_tokens);
    let layout = KvLayout {
        layers: vec![layer; 2],
        pages: pages + extra,
        near_pages: pages + extra + 1,
        page_tokens: case.page_tokens,
        element: case.element,
    };
    let mut kv = backend.kv_store(layout);
    let [own, other] = woven_pages(pages, extra);
    let junk = PageId((pages + extra) as u32);
    if let Mask::Window(_) = case.mask {
        fill_with_nan(backend, &mut *kv, heads, junk, case.page_tokens);
    }
    let mut out = Vec::new();
    let (mut cached, mut other_cached) = (0, 0);
    for rows in steps {
        // What lies behind every row's window is others' by now.
        let gone = case.seen_from(cached) / case.page_tokens;
        let near: Vec<PageId> = (own.iter().enumerate())
            .map(|(page, id)| if page < gone { junk } else { *id })
            .collect();
        let neighbour = Sequence::new(heads, rows + 1, 99);
        let spans = [
            Span {
                rows: 0..rows + 1,
                cached: other_cached,
                pages: &other,
                near_pages: &other,
                both_ways: &[],
            },
            Span {
                rows: rows + 1..2 * rows + 1,
                cached,
                pages: &own,
                near_pages: &near,
                both_ways: &case.both_ways,
            },
        ];
        let step = Step {
            neighbour: &neighbour,
            sequence,
            tokens: cached..cached + rows,
            spans: &spans,
            mask: case.mask,
            kind,
        };
        let found = run_step(backend, &mut *kv, &step);
        out.extend_from_slice(&found[(rows + 1) * heads.query_columns()..]);
        cached += rows;
        other_cached += rows + 1;
    }
    out
}

/// Tokens of a sequence that are computed together, behind the first of a neighbour: one more.
struct Step<'a> {
    neighbour: &'a Sequence,
    sequence: &'a Sequence,
    tokens: Range<usize>,
    spans: &'a [Span<'a>],
    mask: Mask,
    kind: Kind,
}

fn run_step(backend: &dyn Backend, kv: &mut dyn crate::KvStore, step: &Step<'_>) -> Vec<f32> {
    let Step {
        neighbour,
        sequence,
        spans,
        mask,
        kind,
        ..
    } = *step;
    let rows = step.tokens.len();
    let heads = sequence.heads;
    let (wide, narrow) = (heads.query_columns(), heads.key_value_columns());
    let mut lab = Lab::with_room(backend, (2 * rows + 1) * 2 * (wide + narrow) + 64);
    let prompt_rows = kind.prompt_rows(2 * rows + 1);
    let mut put = |first: &[f32], second: &[f32], columns: usize| {
        let values = [first, Sequence::rows(second, columns, step.tokens.clone())].concat();
        lab.put(&values, columns, prompt_rows)
    };
    let queries = put(&neighbour.queries, &sequence.queries, wide);
    let keys = put(&neighbour.keys, &sequence.keys, narrow);
    let values = put(&neighbour.values, &sequence.values, narrow);
    let out = lab.junk(2 * rows + 1, wide, prompt_rows);
    let attend = Attend {
        queries,
        heads,
        scale: sequence.scale(),
        out,
    };
    backend.write_kv(
        lab.memory.storage(),
        kv,
        WriteKv {
            layer: 1,
            spans,
            keys,
            values,
        },
    );
    backend.attend_paged(
        lab.memory.storage(),
        kv,
        attend,
        AttentionPlan::Paged {
            layer: 1,
            spans,
            mask,
        },
    );
    lab.get(out)
}
