//! Products with weights of every type, embeddings, fused operations.

use ocelli_quant::{TensorType, dequantize, is_quantizable, quantize};

use super::{COUNTS, Kind, Lab, ROWS, Random, RowOperation, assert_close, assert_same, check_rows};
use crate::{Activation, After, Backend, GatedMlp, Linear, Use, Weight, WeightSource};

/// A weight in a file's form, with the values that it stands for.
#[derive(Clone)]
struct Source {
    ty: TensorType,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Source {
    fn new(ty: TensorType, rows: usize, columns: usize) -> Self {
        let mut random = Random::new((rows * columns) as u64 + u64::from(ty.gguf_id()));
        let mut bytes = Vec::new();
        if is_quantizable(ty) {
            quantize(ty, &random.values(rows * columns), &mut bytes).expect("whole blocks");
        } else {
            bytes = random_blocks(ty, rows * columns, &mut random);
        }
        let mut values = vec![0.0; rows * columns];
        dequantize(ty, &bytes, &mut values).expect("whole blocks");
        Self {
            ty,
            rows,
            columns,
            bytes,
            values,
        }
    }

    fn source(&self) -> WeightSource<'_> {
        WeightSource {
            ty: self.ty,
            data: &self.bytes,
            rows: self.rows,
            columns: self.columns,
        }
    }

    /// Size of the sum of the terms of a product, were they of random sign.
    fn terms(&self) -> f64 {
        let square: f32 = self.values.iter().map(|w| w * w).sum();
        f64::from(square / self.rows as f32).sqrt()
    }

    fn product(&self, x: &[f32]) -> Vec<f64> {
        let dot = |row: &[f32]| {
            row.iter()
                .zip(x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum()
        };
        self.values.chunks_exact(self.columns).map(dot).collect()
    }
}

/// Random bytes with a scale near 1 in each block, for types that are never written.
fn random_blocks(ty: TensorType, elements: usize, random: &mut Random) -> Vec<u8> {
    let len = ty.row_bytes(elements).expect("whole blocks");
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| (random.value() * 128.0) as i8 as u8)
        .collect();
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        match ty {
            TensorType::MXFP4 => block[0] = 120 + block[0] % 8,
            // The scale's four nibbles are the upper ones of four bytes at the end: 0x2400, as below.
            TensorType::IQ1_M => {
                for (at, nibble) in [(49, 0x00), (51, 0x00), (53, 0x40), (55, 0x20)] {
                    block[at] = nibble | (block[at] & 0x0f);
                }
            }
            // The scale is the first half.
            _ => block[..2].copy_from_slice(&[0x00, 0x24]),
        }
    }
    bytes
}

fn runnable_types() -> impl Iterator<Item = TensorType> {
    TensorType::ALL.into_iter().filter(|ty| ty.is_runnable())
}

/// Outputs and inputs that are ragged for every vector length, chunk and panel.
fn shapes(ty: TensorType) -> Vec<(usize, usize)> {
    match ty.block_elements() {
        1 => vec![(1, 1), (3, 5), (16, 16), (17, 255), (33, 257), (130, 600)],
        32 => vec![(1, 32), (17, 96), (33, 288), (130, 544)],
        _ => vec![(1, 256), (17, 512), (130, 768)],
    }
}

fn pack(backend: &dyn Backend, sources: &[&Source], purpose: Use) -> Weight {
    let sources: Vec<_> = sources.iter().map(|source| source.source()).collect();
    let weight = backend
        .pack(&sources, purpose)
        .expect("the type can be run");
    let rows: usize = sources.iter().map(|source| source.rows).sum();
    assert_eq!(
        (weight.outputs(), weight.inputs()),
        (rows, sources[0].columns)
    );
    weight
}

/// Products with every type of weight, alone and stacked, to an error of `tolerance`.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_products(backend: &dyn Backend, tolerance: f64) {
    for ty in runnable_types() {
        for (index, (rows, columns)) in shapes(ty).into_iter().enumerate() {
            let source = Source::new(ty, rows, columns);
            let purpose = [Use::Product, Use::Both][index % 2];
            let weight = pack(backend, &[&source], purpose);
            let name = format!("product with {ty} [{rows}, {columns}] for {purpose:?}");
            let reference = |x: &[f32]| source.product(x);
            check_product(
                backend,
                &name,
                &weight,
                source.terms(),
                tolerance,
                &reference,
            );
        }
    }
    let parts =
        [TensorType::Q4_K, TensorType::Q6_K, TensorType::Q4_K].map(|ty| Source::new(ty, 24, 256));
    let weight = pack(backend, &[&parts[0], &parts[1], &parts[2]], Use::Product);
    check_product(
        backend,
        "product with a stack",
        &weight,
        parts[0].terms(),
        tolerance,
        &|x| parts.iter().flat_map(|part| part.product(x)).collect(),
    );
}

fn check_product(
    backend: &dyn Backend,
    name: &str,
    weight: &Weight,
    terms: f64,
    tolerance: f64,
    reference: &dyn Fn(&[f32]) -> Vec<f64>,
) {
    check_rows(
        backend,
        &RowOperation {
            name,
            columns: (weight.inputs(), weight.outputs()),
            run: &|lab, x, _| {
                let out = lab.junk(x.rows(), weight.outputs(), x.prompt_rows());
                lab.backend.product(lab.memory.storage(), x, weight, out);
                out
            },
            reference: &|_, x| reference(x),
            tolerance,
            terms,
        },
    );
}

/// Rows of weights of every type.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_embedding(backend: &dyn Backend) {
    for ty in runnable_types() {
        let (rows, columns) = (37, 3 * ty.block_elements().max(64));
        let source = Source::new(ty, rows, columns);
        for purpose in [Use::Rows, Use::Both] {
            let weight = pack(backend, &[&source], purpose);
            let mut lab = Lab::new(backend);
            let ids = [36, 0, 17, 17, 1];
            let out = lab.junk(ids.len(), columns, 3);
            backend.embed(lab.memory.storage(), &weight, &ids, out);
            let wanted: Vec<f32> = ids
                .iter()
                .flat_map(|id| source.values[*id as usize * columns..][..columns].to_vec())
                .collect();
            assert_same(
                &format!("embed with {ty} for {purpose:?}"),
                &lab.get(out),
                &wanted,
            );
        }
    }
}

/// `linear` with every epilogue, `linears` and `gated_mlp` agree with primitives within `tolerance`.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_fused(backend: &dyn Backend, tolerance: f64) {
    let fused = Fused {
        gate: Source::new(TensorType::Q8_0, OUTPUTS, INPUTS),
        up: Source::new(TensorType::F16, OUTPUTS, INPUTS),
        bias: Random::new(3).values(OUTPUTS),
    };
    for after in [After::Store, After::Activate(Activation::Silu), After::Add] {
        fused.check_linear(backend, after, tolerance);
    }
    fused.check_gated(backend, tolerance);
    check_three(backend);
}

/// Three products of the same rows have the bits of each alone: of one or several types, in parts.
fn check_three(backend: &dyn Backend) {
    let source = |ty, outputs| Source::new(ty, outputs, 512);
    let wide = source(TensorType::Q4_K, 300);
    let sources = [
        [
            wide.clone(),
            source(TensorType::Q4_K, 130),
            source(TensorType::Q6_K, 200),
        ],
        [
            wide.clone(),
            source(TensorType::F16, 16),
            source(TensorType::F32, 7),
        ],
    ];
    for (sources, in_parts) in sources.iter().zip([false, true]) {
        let mut weights = sources
            .each_ref()
            .map(|of| pack(backend, &[of], Use::Product));
        if in_parts {
            weights[1] = pack(backend, &[&sources[1], &wide], Use::Product);
        }
        let bias = backend.vector(&Random::new(4).values(weights[0].outputs()));
        for (kind, rows) in Kind::ALL
            .into_iter()
            .flat_map(|kind| [1, 7, ROWS].map(|rows| (kind, rows)))
        {
            let mut lab = Lab::new(backend);
            let x = lab.put(
                &Random::new(5).values(rows * 512),
                512,
                kind.prompt_rows(rows),
            );
            let ops = |lab: &mut Lab<'_>| {
                std::array::from_fn(|index| Linear {
                    x,
                    weight: &weights[index],
                    bias: (index == 0).then_some(&bias),
                    after: After::Store,
                    out: lab.junk(rows, weights[index].outputs(), x.prompt_rows()),
                })
            };
            let (together, alone): ([_; 3], [_; 3]) = (ops(&mut lab), ops(&mut lab));
            backend.linears(lab.memory.storage(), &together);
            for (together, alone) in together.into_iter().zip(alone) {
                backend.linear(lab.memory.storage(), alone, alone.out);
                let name = format!("{:?} of three, {rows} rows, {kind:?}", together.weight);
                assert_same(&name, &lab.get(together.out), &lab.get(alone.out));
            }
        }
    }
}

const OUTPUTS: usize = 53;
const INPUTS: usize = 96;

/// Operands of the fused operations.
struct Fused {
    gate: Source,
    up: Source,
    bias: Vec<f32>,
}

impl Fused {
    /// `x W^T + b` with the first weight.
    fn sum(&self, x: &[f32]) -> Vec<f64> {
        let product = self.gate.product(x).into_iter();
        product
            .zip(&self.bias)
            .map(|(y, b)| y + f64::from(*b))
            .collect()
    }

    fn check_linear(&self, backend: &dyn Backend, after: After, tolerance: f64) {
        let weight = pack(backend, &[&self.gate], Use::Product);
        let bias = backend.vector(&self.bias);
        check_rows(
            backend,
            &RowOperation {
                name: &format!("linear, {after:?}"),
                columns: (INPUTS, OUTPUTS),
                run: &|lab, x, _| {
                    let out = lab.put(&vec![0.5; x.rows() * OUTPUTS], OUTPUTS, x.prompt_rows());
                    let scratch = lab.junk(x.rows(), OUTPUTS, x.prompt_rows());
                    let scratch = if after == After::Add { scratch } else { out };
                    let op = Linear {
                        x,
                        weight: &weight,
                        bias: Some(&bias),
                        after,
                        out,
                    };
                    lab.backend.linear(lab.memory.storage(), op, scratch);
                    out
                },
                reference: &|_, x| match after {
                    After::Store => self.sum(x),
                    After::Add => self.sum(x).iter().map(|y| y + 0.5).collect(),
                    After::Activate(_) => self.sum(x).iter().map(|y| silu(*y)).collect(),
                },
                tolerance,
                terms: 5.0,
            },
        );
    }

    fn check_gated(&self, backend: &dyn Backend, tolerance: f64) {
        // The product of two sums has the errors of both, each times the other sum.
        let tolerance = if tolerance == super::EXACT {
            tolerance
        } else {
            3.0 * tolerance
        };
        let gate = pack(backend, &[&self.gate], Use::Product);
        let up = pack(backend, &[&self.up], Use::Product);
        let bias = backend.vector(&self.bias);
        check_rows(
            backend,
            &RowOperation {
                name: "gated_mlp",
                columns: (INPUTS, OUTPUTS),
                run: &|lab, x, _| {
                    let out = lab.junk(x.rows(), OUTPUTS, x.prompt_rows());
                    let scratch = lab.junk(x.rows(), OUTPUTS, x.prompt_rows());
                    let op = GatedMlp {
                        x,
                        gate: &gate,
                        gate_bias: Some(&bias),
                        up: &up,
                        up_bias: None,
                        activation: Activation::Silu,
                        out,
                    };
                    lab.backend.gated_mlp(lab.memory.storage(), op, scratch);
                    out
                },
                reference: &|_, x| {
                    let gate = self.sum(x).into_iter();
                    gate.zip(self.up.product(x))
                        .map(|(g, u)| silu(g) * u)
                        .collect()
                },
                tolerance,
                terms: 5.0,
            },
        );
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// See [`super::same_bits`].
pub(super) fn same_bits(one: &dyn Backend, other: &dyn Backend, tolerance: f64) {
    for ty in runnable_types() {
        let source = Source::new(ty, 200, 512);
        for (kind, rows) in Kind::ALL
            .into_iter()
            .flat_map(|kind| COUNTS.map(|count| (kind, count)))
        {
            let values = Random::new(9).values(rows * 512);
            let run = |backend: &dyn Backend| {
                let weight = pack(backend, &[&source], Use::Product);
                let mut lab = Lab::new(backend);
                let x = lab.put(&values, 512, kind.prompt_rows(rows));
                let out = lab.junk(rows, 200, kind.prompt_rows(rows));
                backend.product(lab.memory.storage(), x, &weight, out);
                lab.get(out)
            };
            let (one, other) = (run(one), run(other));
            assert_same(&format!("{ty}, {kind:?}, {rows} rows"), &one, &other);
            let wanted: Vec<f64> = values.chunks(512).flat_map(|x| source.product(x)).collect();
            assert_close("the same product", &one, &wanted, tolerance, source.terms());
        }
    }
}
