//! The steps of attention of every set against the scalar twin, on buffers that end where memory ends.

use std::ops::Range;

use crate::support::{
    all_sets, assert_close, assert_same, guarded, halves, random, scores, vector_sets,
};
use ocelli_kernels::Kernels;
use ocelli_kernels::{
    Attention, Decode, Element, KeyValues, LANES, Matrix, MatrixMut, Scalar, Softmax, ValueRows,
    Workspace,
};

const DIMS: [usize; 8] = [1, 7, 12, 18, 64, 72, 80, 300];

#[test]
fn keys_become_panels_with_zeros_behind_the_last() {
    for kernels in all_sets() {
        for (tokens, dim) in [(1, 1), (15, 7), (16, 12), (17, 18), (40, 80)] {
            let x = guarded(&random(1, tokens * dim));
            let mut out = guarded(&vec![f32::NAN; tokens.div_ceil(LANES) * LANES * dim]);
            kernels.transpose(Matrix::new(&x, tokens, dim), &mut out);
            for (i, found) in out.iter().enumerate() {
                let (panel, d, lane) = (i / (LANES * dim), i / LANES % dim, i % LANES);
                let token = panel * LANES + lane;
                let wanted = if token < tokens {
                    x[token * dim + d]
                } else {
                    0.0
                };
                assert_eq!(
                    *found,
                    wanted,
                    "{}, token {token}, element {d}",
                    kernels.name()
                );
            }
        }
    }
}

#[test]
fn scores_are_those_of_the_twin() {
    for kernels in vector_sets() {
        for (dim, rows, panels) in DIMS
            .iter()
            .flat_map(|d| [(*d, 1, 1), (*d, 5, 3), (*d, 12, 8), (*d, 13, 2)])
        {
            let queries = guarded(&random(1, rows * dim));
            let keys = random(2, panels * dim * LANES);
            let half_keys = guarded(&halves(&keys));
            let keys = guarded(&keys);
            for keys in [Element::F32(&keys), Element::F16(&half_keys)] {
                let queries = Matrix::new(&queries, rows, dim);
                let [found, wanted] = [&*kernels, &Scalar]
                    .map(|kernels: &dyn Kernels| scores(kernels, queries, keys, panels));
                let name = format!(
                    "{}, dim {dim}, {rows} rows, {panels} panels",
                    kernels.name()
                );
                assert_close(&name, &found, &wanted, 2e-6, (dim as f32).sqrt());
            }
        }
    }
}

#[test]
fn softmax_steps_are_those_of_the_twin() {
    for kernels in vector_sets() {
        let (rows, tokens, width) = (5, 48, 32);
        let mut states = [&*kernels, &Scalar].map(|kernels: &dyn Kernels| {
            let state = (
                vec![f32::NEG_INFINITY; rows],
                vec![0.0; rows],
                random(4, rows * width),
            );
            (kernels, state)
        });
        for step in 0..4 {
            let visible = [0..tokens, 0..0, 3..4, 17..48, step..step + 1];
            let scores: Vec<f32> = random(step as u64, rows * tokens)
                .iter()
                .map(|x| 40.0 * x)
                .collect();
            let [found, wanted] = states.each_mut().map(|(kernels, (largest, total, sums))| {
                let mut scores = guarded(&scores);
                let (stride, visible) = (tokens, &visible[..]);
                kernels.softmax(Softmax {
                    scores: &mut scores,
                    stride,
                    tokens,
                    visible,
                    largest,
                    total,
                    sums,
                });
                scores.to_vec()
            });
            let name = format!("{}, step {step}", kernels.name());
            assert_close(&name, &found, &wanted, 1e-6, 1e-3);
            let [(_, (largest, total, sums)), (_, wanted)] = &states;
            assert_same(&name, largest, &wanted.0);
            assert_close(&name, total, &wanted.1, 1e-6, 1e-3);
            assert_close(&name, sums, &wanted.2, 1e-6, 1e-3);
        }
    }
}

#[test]
fn weighted_sums_are_those_of_the_twin() {
    for kernels in vector_sets() {
        for (width, rows, tokens) in [
            (16, 1, 1),
            (16, 3, 7),
            (32, 12, 128),
            (80, 6, 100),
            (128, 13, 33),
            (16, 2, 0),
        ] {
            let stride = width + 16;
            let weights = guarded(&random(1, rows * 128));
            let values = random(2, (tokens.max(1) - 1) * stride + width);
            let half_values = guarded(&halves(&values));
            let values = guarded(&values);
            for values in [Element::F32(&values), Element::F16(&half_values)] {
                let [found, wanted] = [&*kernels, &Scalar].map(|kernels: &dyn Kernels| {
                    let mut sums = guarded(&random(3, rows * width));
                    let weights = Matrix::new(&weights, rows, 128);
                    kernels.weigh(
                        weights,
                        ValueRows {
                            values,
                            tokens,
                            stride,
                            before: 0,
                            ahead: values,
                        },
                        &mut sums,
                    );
                    sums.to_vec()
                });
                let name = format!(
                    "{}, width {width}, {rows} rows, {tokens} tokens",
                    kernels.name()
                );
                assert_close(&name, &found, &wanted, 3e-6, 3.0);
            }
        }
    }
}

#[test]
fn attention_is_that_of_the_twin_reads_nothing_behind_its_rows_and_rows_stand_alone() {
    for (dim, rows, tokens) in [
        (12, 1, 1),
        (18, 3, 129),
        (64, 30, 300),
        (72, 7, 17),
        (7, 5, 260),
    ] {
        let visible = |row: usize| 0..(row + 1).max(tokens / 2).min(tokens);
        check_attention(
            Operands::Singles,
            Sizes { dim, rows, tokens },
            &visible,
            3e-6,
        );
    }
}

#[test]
fn attention_in_pairs_is_near_that_of_the_twin_and_rows_stand_alone() {
    for (dim, rows, tokens) in [
        (7, 5, 260),
        (12, 1, 1),
        (18, 3, 129),
        (64, 61, 300),
        (72, 7, 17),
        (80, 50, 128),
        (128, 17, 150),
    ] {
        let visible = |row: usize| row % 3 * tokens / 5..(row + 1).max(tokens / 2).min(tokens);
        check_attention(Operands::Pairs, Sizes { dim, rows, tokens }, &visible, 2e-2);
    }
}

#[test]
fn attention_in_bytes_is_near_that_of_the_twin_and_rows_stand_alone() {
    // Too few keys and too wide heads among them, which are not rounded so.
    for (dim, rows, tokens) in [
        (7, 5, 260),
        (64, 61, 300),
        (64, 3, 255),
        (72, 7, 256),
        (80, 50, 517),
        (128, 17, 385),
        (264, 2, 300),
    ] {
        check_attention(
            Operands::Bytes,
            Sizes { dim, rows, tokens },
            &|_| 0..tokens,
            3e-2,
        );
    }
}

/// Sizes of an attention: elements of a head, rows of queries, keys.
#[derive(Clone, Copy)]
struct Sizes {
    dim: usize,
    rows: usize,
    tokens: usize,
}

/// Holds each set to the twin within `bound` (see `assert_close`), and some of its rows alone to
/// the same among others.
fn check_attention(
    operands: Operands,
    Sizes { dim, rows, tokens }: Sizes,
    visible: &(dyn Fn(usize) -> Range<usize> + Sync),
    bound: f32,
) {
    let [queries, keys, values] =
        [rows, tokens, tokens].map(|n| guarded(&random(n as u64, n * dim)));
    let run = |kernels: &dyn Kernels, which: Range<usize>| {
        let count = which.len();
        let mut out = guarded(&vec![f32::NAN; count * dim]);
        let queries = guarded(&queries[which.start * dim..which.end * dim]);
        let attention = Attention {
            queries: Matrix::new(&queries, count, dim),
            dim,
            scale: 0.5,
            keys_values: KeyValues::Rows {
                keys: Matrix::new(&keys, tokens, dim),
                values: Matrix::new(&values, tokens, dim),
            },
            decode: Decode::Before,
            visible: &|row| visible(which.start + row),
        };
        operands.attend(
            kernels,
            &attention,
            &mut MatrixMut::new(&mut out, count, dim),
        );
        out.to_vec()
    };
    for kernels in vector_sets() {
        let name = format!("{}, {operands:?}, dim {dim}", kernels.name());
        let found = run(&*kernels, 0..rows);
        assert_close(&name, &found, &run(&Scalar, 0..rows), bound, 1.0);
        for which in [0..1, rows - 1..rows, rows / 3..rows / 3 + rows.div_ceil(2)] {
            let part = run(&*kernels, which.clone());
            let whole = &found[which.start * dim..which.end * dim];
            assert_same(&format!("{name}, rows {which:?}"), &part, whole);
        }
    }
}

/// What attention multiplies: numbers as they are, or rounded.
#[derive(Clone, Copy, Debug)]
enum Operands {
    Singles,
    Pairs,
    Bytes,
}

impl Operands {
    fn attend(self, kernels: &dyn Kernels, attention: &Attention<'_>, out: &mut MatrixMut<'_>) {
        let workspace = &mut Workspace::new();
        match self {
            Self::Singles => attention.run(kernels, out, workspace),
            Self::Pairs => kernels.attend_pairs(attention, out, workspace),
            Self::Bytes => kernels.attend_bytes(attention, out, workspace),
        }
    }
}

/// Attention of one row of ones to keys whose elements are all the same, which makes a key its score.
fn attend_to_scores(
    kernels: &dyn Kernels,
    operands: Operands,
    scores: &[f32],
    values: &[f32],
) -> Vec<f32> {
    const DIM: usize = 32;
    let queries = [1.0; DIM];
    let spread = |of: &[f32]| of.iter().flat_map(|x| [*x; DIM]).collect::<Vec<f32>>();
    let (keys, values) = (spread(scores), spread(values));
    let mut out = vec![0.0; DIM];
    let attention = Attention {
        queries: Matrix::new(&queries, 1, DIM),
        dim: DIM,
        scale: 1.0 / DIM as f32,
        keys_values: KeyValues::Rows {
            keys: Matrix::new(&keys, scores.len(), DIM),
            values: Matrix::new(&values, scores.len(), DIM),
        },
        decode: Decode::Before,
        visible: &|_| 0..scores.len(),
    };
    operands.attend(kernels, &attention, &mut MatrixMut::new(&mut out, 1, DIM));
    out
}

/// Vector sets, each with every way to round.
fn rounding_sets() -> impl Iterator<Item = (Box<dyn Kernels>, Operands)> {
    let pairs = vector_sets().into_iter().map(|set| (set, Operands::Pairs));
    let bytes = vector_sets().into_iter().map(|set| (set, Operands::Bytes));
    pairs.chain(bytes)
}

#[test]
fn rounded_attention_follows_scores_that_grow_and_fall() {
    for (kernels, operands) in rounding_sets() {
        // Steps below and above what weights may grow by, in blocks of 128 and inside of them.
        for (step, run) in [(4.0, 128), (8.0, 128), (24.0, 128), (24.0, 50), (300.0, 40)] {
            let rising: Vec<f32> = (0..600).map(|t| step * (t / run) as f32).collect();
            let falling: Vec<f32> = rising.iter().rev().copied().collect();
            let values = random(7, rising.len());
            for scores in [&rising, &falling] {
                let found = attend_to_scores(&*kernels, operands, scores, &values);
                let wanted = attend_to_scores(&Scalar, operands, scores, &values);
                let set = kernels.name();
                let name = format!("{set}, {operands:?}, steps of {step} after {run}");
                assert_close(&name, &found, &wanted, 2e-2, 1.0);
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_in_rounded_attention() {
    for (kernels, operands) in rounding_sets() {
        let (scores, values) = (random(1, 300), random(2, 300));
        for bad in [f32::NAN, f32::INFINITY] {
            for token in [0, 17, 130, 299] {
                let (mut bad_scores, mut bad_values) = (scores.clone(), values.clone());
                bad_scores[token] = bad;
                bad_values[token] = bad;
                for (scores, values) in [(&bad_scores, &values), (&scores, &bad_values)] {
                    let found = attend_to_scores(&*kernels, operands, scores, values);
                    assert!(
                        found.iter().all(|x| !x.is_finite()),
                        "{}, {operands:?}, {bad} at token {token}: {found:?}",
                        kernels.name()
                    );
                }
            }
        }
    }
}
