//! Elements, norms, rotary positions.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{Kind, Lab, ROWS, Random, RowOperation, assert_same, check_rows};
use crate::{Activation, Backend, LayerNorm, RmsNorm, Rope, RopeStyle, Tensor, Vector};

/// Widths that are no multiple of a vector, and one that is.
const WIDTHS: [usize; 4] = [1, 36, 77, 512];

/// Sums, products, activations, norms and rotary positions.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_row_operations(backend: &dyn Backend) {
    for columns in WIDTHS {
        check_elements(backend, columns);
        check_scale(backend, columns);
        check_norms(backend, columns);
    }
    for activation in [
        Activation::Silu,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::QuickGelu,
    ] {
        check_activation(backend, activation);
    }
    for (heads, dim, turned) in [
        (1, 2, 2),
        (3, 12, 12),
        (2, 80, 40),
        (2, 128, 128),
        (5, 18, 18),
    ] {
        for style in [RopeStyle::Halves, RopeStyle::Pairs] {
            check_rope(backend, heads, dim, turned, style);
        }
    }
}

/// A second operand with one row for each row of the largest run.
fn other(columns: usize) -> Vec<f32> {
    Random::new(1000 + columns as u64).values(ROWS * columns)
}

/// Rows of the second operand that go with `x`, whose first row is row `first` of the largest run.
fn beside(lab: &mut Lab<'_>, x: Tensor, first: usize, values: &[f32], columns: usize) -> Tensor {
    let part = &values[first * columns..(first + x.rows()) * columns];
    lab.put(part, columns, x.prompt_rows())
}

fn check_elements(backend: &dyn Backend, columns: usize) {
    let second = other(columns);
    let pair = |row: usize, x: &[f32], f: fn(f64, f64) -> f64| -> Vec<f64> {
        let second = &second[row * columns..];
        x.iter()
            .zip(second)
            .map(|(x, y)| f(f64::from(*x), f64::from(*y)))
            .collect()
    };
    let check = |name: &str, run: &dyn Fn(&mut Lab<'_>, Tensor, Tensor), f: fn(f64, f64) -> f64| {
        check_rows(
            backend,
            &RowOperation {
                name: &format!("{name} of {columns} columns"),
                columns: (columns, columns),
                run: &|lab, x, first| {
                    let out = beside(lab, x, first, &second, columns);
                    run(lab, x, out);
                    out
                },
                reference: &|row, x| pair(row, x, f),
                tolerance: 1e-6,
                terms: 1e-3,
            },
        );
    };
    check(
        "add",
        &|lab, x, out| lab.backend.add(lab.memory.storage(), x, out),
        |x, y| x + y,
    );
    check(
        "multiply",
        &|lab, x, out| lab.backend.multiply(lab.memory.storage(), x, out),
        |x, y| x * y,
    );
    let bias = backend.vector(&second[..columns]);
    check_rows(
        backend,
        &RowOperation {
            name: "add_bias",
            columns: (columns, columns),
            run: &|lab, x, _| {
                lab.backend.add_bias(lab.memory.storage(), &bias, x);
                x
            },
            reference: &|_, x| pair(0, x, |x, y| x + y),
            tolerance: 1e-6,
            terms: 1e-3,
        },
    );
}

fn check_scale(backend: &dyn Backend, columns: usize) {
    check_rows(
        backend,
        &RowOperation {
            name: "scale",
            columns: (columns, columns),
            run: &|lab, x, _| {
                lab.backend.scale(lab.memory.storage(), -2.5, x);
                x
            },
            reference: &|_, x| x.iter().map(|x| f64::from(*x) * -2.5).collect(),
            tolerance: 1e-6,
            terms: 1e-3,
        },
    );
}

fn check_norms(backend: &dyn Backend, columns: usize) {
    let weights = other(columns);
    let weight = backend.vector(&weights[..columns]);
    let bias = backend.vector(&weights[columns..2 * columns]);
    for in_place in [false, true] {
        let out = |lab: &mut Lab<'_>, x: Tensor| {
            if in_place {
                x
            } else {
                lab.junk(x.rows(), columns, x.prompt_rows())
            }
        };
        check_rms_norm(backend, columns, &weight, &|lab, x| out(lab, x), &weights);
        check_rows(
            backend,
            &RowOperation {
                name: &format!("layer_norm of {columns}, in place: {in_place}"),
                columns: (columns, columns),
                run: &|lab, x, _| {
                    let out = out(lab, x);
                    let norm = LayerNorm {
                        x,
                        weight: &weight,
                        bias: Some(&bias),
                        eps: 1e-5,
                        out,
                    };
                    lab.backend.layer_norm(lab.memory.storage(), norm);
                    out
                },
                reference: &|_, x| {
                    let normed = standardised(x, true, 1e-5);
                    let terms = normed.iter().zip(weights.iter().zip(&weights[columns..]));
                    terms
                        .map(|(x, (w, b))| x * f64::from(*w) + f64::from(*b))
                        .collect()
                },
                tolerance: 1e-5,
                terms: 1e-3,
            },
        );
    }
}

fn check_rms_norm(
    backend: &dyn Backend,
    columns: usize,
    weight: &Vector,
    out: &dyn Fn(&mut Lab<'_>, Tensor) -> Tensor,
    weights: &[f32],
) {
    check_rows(
        backend,
        &RowOperation {
            name: &format!("rms_norm of {columns}"),
            columns: (columns, columns),
            run: &|lab, x, _| {
                let out = out(lab, x);
                lab.backend.rms_norm(
                    lab.memory.storage(),
                    RmsNorm {
                        x,
                        weight,
                        eps: 1e-6,
                        out,
                    },
                );
                out
            },
            reference: &|_, x| {
                let normed = standardised(x, false, 1e-6);
                normed
                    .iter()
                    .zip(weights)
                    .map(|(x, w)| x * f64::from(*w))
                    .collect()
            },
            tolerance: 1e-6,
            terms: 1e-3,
        },
    );
    check_head_norm(backend, columns, weight, weights);
}

/// Each head on its own.
fn check_head_norm(backend: &dyn Backend, columns: usize, weight: &Vector, weights: &[f32]) {
    check_rows(
        backend,
        &RowOperation {
            name: &format!("rms_norm of 3 heads of {columns}"),
            columns: (3 * columns, 3 * columns),
            run: &|lab, x, _| {
                lab.backend.rms_norm(
                    lab.memory.storage(),
                    RmsNorm {
                        x,
                        weight,
                        eps: 1e-6,
                        out: x,
                    },
                );
                x
            },
            reference: &|_, x| {
                let heads = x
                    .chunks(columns)
                    .map(|head| standardised(head, false, 1e-6));
                heads
                    .flat_map(|head| {
                        head.into_iter()
                            .zip(weights)
                            .map(|(x, w)| x * f64::from(*w))
                    })
                    .collect()
            },
            tolerance: 1e-6,
            terms: 1e-3,
        },
    );
}

/// A row over its root mean square, with the mean taken off first if `centred`.
fn standardised(x: &[f32], centred: bool, eps: f64) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = if centred {
        x.iter().map(|x| f64::from(*x)).sum::<f64>() / count
    } else {
        0.0
    };
    let square = x
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>()
        / count;
    x.iter()
        .map(|x| (f64::from(*x) - mean) / (square + eps).sqrt())
        .collect()
}

fn check_activation(backend: &dyn Backend, activation: Activation) {
    let mut lab = Lab::new(backend);
    let mut values: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.005).collect();
    values.extend([
        0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 88.0, -88.0, 104.0, -104.0, 1e-6, -1e-6,
    ]);
    let alone = |lab: &mut Lab<'_>, values: &[f32], kind: Kind| {
        let out = lab.put(values, values.len(), kind.prompt_rows(1));
        lab.backend.activate(lab.memory.storage(), activation, out);
        lab.get(out)
    };
    let found = alone(&mut lab, &values, Kind::Prompt);
    for (x, found) in values.iter().zip(&found) {
        let wanted = activated(activation, f64::from(*x));
        let error = (f64::from(*found) - wanted).abs();
        assert!(
            error <= 1e-6 * wanted.abs() + 1e-9,
            "{activation:?}({x}): found {found}, wanted {wanted}"
        );
    }
    assert_same(
        "activation of a generated row",
        &alone(&mut lab, &values, Kind::Generated),
        &found,
    );
    for first in [1, 3, 4001] {
        assert_same(
            "activation elsewhere in a row",
            &alone(&mut lab, &values[first..], Kind::Prompt),
            &found[first..],
        );
    }
}

fn activated(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Silu => x * sigmoid(x),
        Activation::GeluErf => x * normal_cdf(x),
        Activation::GeluTanh => {
            x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3)))
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
    }
}

/// `erfc(-x / sqrt(2)) / 2` by series near 0 and by continued fraction further out.
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() * FRAC_1_SQRT_2;
    let tail = if z < 2.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..60 {
            term *= 2.0 * z * z / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 - 0.5 * FRAC_2_SQRT_PI * (-z * z).exp() * sum
    } else {
        let fraction = (1..120)
            .rev()
            .fold(z, |fraction, n| z + f64::from(n) / 2.0 / fraction);
        0.25 * FRAC_2_SQRT_PI * (-z * z).exp() / fraction
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

fn check_rope(backend: &dyn Backend, heads: usize, dim: usize, turned: usize, style: RopeStyle) {
    let all_angles: Vec<f32> = other(turned / 2)
        .chunks(turned / 2)
        .flat_map(|row| {
            [
                row.iter().map(|a| a.cos()).collect::<Vec<_>>(),
                row.iter().map(|a| a.sin()).collect(),
            ]
            .concat()
        })
        .collect();
    let columns = heads * dim;
    check_rows(
        backend,
        &RowOperation {
            name: &format!("rope of {heads} heads of {dim}, {turned} turned, {style:?}"),
            columns: (columns, columns),
            run: &|lab, x, first| {
                let angles = beside(lab, x, first, &all_angles, turned);
                lab.backend.rope(
                    lab.memory.storage(),
                    Rope {
                        x,
                        angles,
                        dim,
                        style,
                    },
                );
                x
            },
            reference: &|row, x| {
                let angles = &all_angles[row * turned..][..turned];
                let mut out: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                for (head, j) in (0..heads).flat_map(|head| (0..turned / 2).map(move |j| (head, j)))
                {
                    let (a, b) = match style {
                        RopeStyle::Halves => (head * dim + j, head * dim + j + turned / 2),
                        RopeStyle::Pairs => (head * dim + 2 * j, head * dim + 2 * j + 1),
                    };
                    let (cos, sin) = (f64::from(angles[j]), f64::from(angles[turned / 2 + j]));
                    out[a] = f64::from(x[a]) * cos - f64::from(x[b]) * sin;
                    out[b] = f64::from(x[b]) * cos + f64::from(x[a]) * sin;
                }
                out
            },
            tolerance: 1e-6,
            terms: 1e-3,
        },
    );
}
