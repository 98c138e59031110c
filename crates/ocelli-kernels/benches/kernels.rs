//! Hot kernels of every instruction set of this machine, on one thread and on data that a
//! second-level cache holds: `cargo bench -p ocelli-kernels [-- avx512vnni/product/Q4_K]`.
//!
//! A name is `set/kernel/what`; rates are multiplications and additions (products, attention) or
//! elements (rows) a second. What all threads and memory make of them: `cargo run --release -p
//! ocelli-cpu --example products`.
#![allow(
    missing_docs,
    reason = "the macros of criterion make undocumented items"
)]
#![allow(clippy::expect_used, reason = "a benchmark may panic")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ocelli_kernels::{
    Activation, Attention, Decode, Element, Finish, Kernels, KeyValues, LANES, Matrix, MatrixMut,
    Operand, PagedHead, PanelFormat, Panels, Product, RopeStyle, Scalar, Workspace,
};
use ocelli_quant::TensorType;

/// Inputs and outputs of a weight: 1 MiB of four-bit codes.
const SHAPE: (usize, usize) = (2048, 1024);

/// Rows of a prompt's product.
const PROMPT_ROWS: usize = 192;

/// The sets of this machine.
fn sets() -> Vec<Box<dyn Kernels>> {
    let mut sets: Vec<Box<dyn Kernels>> = vec![Box::new(Scalar)];
    #[cfg(target_arch = "x86_64")]
    {
        use ocelli_kernels::{Avx2, Avx512, Avx512Vnni};
        sets.extend(Avx2::detect().map(|set| Box::new(set) as Box<dyn Kernels>));
        sets.extend(Avx512::detect().map(|set| Box::new(set) as Box<dyn Kernels>));
        sets.extend(Avx512Vnni::detect().map(|set| Box::new(set) as Box<dyn Kernels>));
        sets.extend(Avx512Vnni::detect_amx().map(|set| Box::new(set) as Box<dyn Kernels>));
    }
    #[cfg(target_arch = "aarch64")]
    sets.extend(ocelli_kernels::Neon::detect().map(|set| Box::new(set) as Box<dyn Kernels>));
    sets
}

/// Numbers between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i * 37 % 97) as f32 / 48.0 - 1.0)
        .collect()
}

/// A weight of [`SHAPE`] in panels.
struct Weight {
    format: PanelFormat,
    bytes: Vec<u8>,
}

impl Weight {
    fn new(ty: TensorType) -> Self {
        let (inputs, outputs) = SHAPE;
        let format = PanelFormat::for_type(ty).expect("a type that runs");
        let row_bytes = ty.row_bytes(inputs).expect("whole blocks");
        // Bytes whose halves are small numbers in every format.
        let rows: Vec<u8> = (0..LANES * row_bytes)
            .map(|i| (i * 37 % 61) as u8)
            .collect();
        let panel_bytes = format.panel_bytes(inputs).expect("a panel in memory");
        let mut bytes = vec![0; panel_bytes * outputs / LANES];
        for panel in bytes.chunks_exact_mut(panel_bytes) {
            format.pack(&rows, row_bytes, panel);
        }
        Self { format, bytes }
    }

    fn panels(&self) -> Panels<'_> {
        Panels::new(self.format, SHAPE.1, SHAPE.0, &self.bytes)
    }
}

/// Rows rounded for a product.
fn rounded(kernels: &dyn Kernels, operand: Operand, rows: usize) -> Vec<f32> {
    let words = operand.row_words(SHAPE.0);
    let x = numbers(rows * SHAPE.0);
    let mut out = vec![0.0; rows * words];
    for (x, out) in x.chunks_exact(SHAPE.0).zip(out.chunks_exact_mut(words)) {
        kernels.round(operand, x, out);
    }
    out
}

fn products(criterion: &mut Criterion) {
    for kernels in sets() {
        let cases = [
            (TensorType::F32, Operand::F32),
            (TensorType::BF16, Operand::Bf16),
            (TensorType::Q8_0, Operand::Int8Groups),
            (TensorType::Q4_0, Operand::Int8Groups),
            (TensorType::Q4_K, Operand::F32),
            (TensorType::Q4_K, Operand::Bf16),
            (TensorType::Q4_K, Operand::Int8Chunks),
            (TensorType::Q4_K, Operand::Int8Groups),
            (TensorType::Q6_K, Operand::Int8Groups),
        ];
        for (ty, operand) in cases {
            let weight = Weight::new(ty);
            let mut group = criterion.benchmark_group(format!("{}/product", kernels.name()));
            for rows in [1, 8, PROMPT_ROWS] {
                let is_prompt = rows == PROMPT_ROWS;
                // Each operand is for one kind of work, or for both.
                let fits = match operand {
                    Operand::F32 | Operand::Int8Groups => true,
                    Operand::Bf16 | Operand::Int8Chunks => is_prompt,
                };
                if !fits {
                    continue;
                }
                let x = rounded(&*kernels, operand, rows);
                let mut out = vec![0.0; rows * SHAPE.1];
                let mut workspace = Workspace::new();
                group.throughput(Throughput::Elements((2 * rows * SHAPE.0 * SHAPE.1) as u64));
                group.bench_function(format!("{ty}, {operand:?}, {rows} rows"), |bench| {
                    bench.iter(|| {
                        let product = Product {
                            operand,
                            x: Matrix::new(black_box(&x), rows, operand.row_words(SHAPE.0)),
                            weight: weight.panels(),
                            bias: None,
                            finish: Finish::Store,
                            out: MatrixMut::new(&mut out, rows, SHAPE.1),
                        };
                        if is_prompt {
                            kernels.product(product, &mut workspace);
                        } else {
                            kernels.product_few(product, &mut workspace);
                        }
                    });
                });
            }
        }
    }
}

/// Attention of a tile of queries to the keys of one head, for the head sizes of published models.
fn attention(criterion: &mut Criterion) {
    const QUERIES: usize = 192;
    const KEYS: usize = 1024;
    for kernels in sets() {
        let mut group = criterion.benchmark_group(format!("{}/attention", kernels.name()));
        for dim in [64, 72, 80, 128] {
            let (queries, keys) = (numbers(QUERIES * dim), numbers(KEYS * dim));
            let mut out = vec![0.0; QUERIES * dim];
            let mut workspace = Workspace::new();
            group.throughput(Throughput::Elements((4 * QUERIES * KEYS * dim) as u64));
            for in_pairs in [false, true] {
                let name = if in_pairs { "bf16" } else { "f32" };
                group.bench_function(format!("{name}, heads of {dim}"), |bench| {
                    bench.iter(|| {
                        let attention = Attention {
                            queries: Matrix::new(black_box(&queries), QUERIES, dim),
                            dim,
                            scale: 0.125,
                            keys_values: KeyValues::Rows {
                                keys: Matrix::new(&keys, KEYS, dim),
                                values: Matrix::new(&keys, KEYS, dim),
                            },
                            decode: Decode::Reading,
                            visible: &|_| 0..KEYS,
                        };
                        let mut out = MatrixMut::new(&mut out, QUERIES, dim);
                        if in_pairs {
                            kernels.attend_pairs(&attention, &mut out, &mut workspace);
                        } else {
                            attention.run(&*kernels, &mut out, &mut workspace);
                        }
                    });
                });
            }
        }
    }
}

/// Attention of one generated token to a long context in pages, behind the caches: what counts is
/// how near it comes to reading.
fn generated(criterion: &mut Criterion) {
    const TOKENS: usize = 8192;
    const PAGE: usize = 16;
    const HEADS: usize = 8;
    const DIM: usize = 128;
    /// Layers, so that one is not in a cache when its turn comes again.
    const LAYERS: usize = 12;
    let elements = 2 * LAYERS * TOKENS * HEADS * DIM;
    // Halves of 1/16 to 1/8, so that nothing is slow for being denormal.
    let halves: Vec<u16> = (0..elements).map(|i| 0x2C00 + (i % 997) as u16).collect();
    let (keys, values) = halves.split_at(elements / 2);
    for kernels in sets() {
        let mut group = criterion.benchmark_group(format!("{}/generated", kernels.name()));
        for queries in [2, 8] {
            let x = numbers(queries * DIM);
            let mut out = vec![0.0; queries * DIM];
            let mut workspace = Workspace::new();
            let mut head = (0..LAYERS * HEADS).cycle();
            group.throughput(Throughput::Bytes((2 * 2 * TOKENS * DIM) as u64));
            group.bench_function(format!("{queries} heads, {TOKENS} tokens"), |bench| {
                bench.iter(|| {
                    let head = head.next().unwrap_or_default();
                    let first = head / HEADS * (TOKENS / PAGE);
                    let attention = Attention {
                        queries: Matrix::new(black_box(&x), 1, queries * DIM),
                        dim: DIM,
                        scale: 0.125,
                        keys_values: KeyValues::Paged(PagedHead {
                            keys: Element::F16(keys),
                            values: Element::F16(values),
                            page: &|page| first + page,
                            heads: HEADS,
                            head: head % HEADS,
                            page_tokens: PAGE,
                        }),
                        decode: Decode::Reading,
                        visible: &|_| 0..TOKENS,
                    };
                    let mut out = MatrixMut::new(&mut out, 1, queries * DIM);
                    attention.run(&*kernels, &mut out, &mut workspace);
                });
            });
        }
    }
}

/// Operations on rows of a hidden state.
fn rows(criterion: &mut Criterion) {
    const COLUMNS: usize = 2048;
    for kernels in sets() {
        let mut group = criterion.benchmark_group(format!("{}/rows", kernels.name()));
        group.throughput(Throughput::Elements(COLUMNS as u64));
        let (mut x, weight) = (numbers(COLUMNS), numbers(COLUMNS));
        group.bench_function("rms_norm", |bench| {
            bench.iter(|| kernels.rms_norm(black_box(&mut x), &weight, 1e-6));
        });
        group.bench_function("layer_norm", |bench| {
            bench.iter(|| kernels.layer_norm(black_box(&mut x), &weight, None, 1e-6));
        });
        for function in [Activation::Silu, Activation::GeluTanh] {
            group.bench_function(format!("{function:?}"), |bench| {
                bench.iter(|| kernels.activate(function, black_box(&mut x)));
            });
        }
        let angles = numbers(COLUMNS);
        group.bench_function("rope", |bench| {
            bench.iter(|| kernels.rope(black_box(&mut x), &angles, RopeStyle::Halves));
        });
        for operand in [Operand::Bf16, Operand::Int8Chunks, Operand::Int8Groups] {
            let mut out = vec![0.0; operand.row_words(COLUMNS)];
            group.bench_function(format!("round to {operand:?}"), |bench| {
                bench.iter(|| kernels.round(operand, black_box(&weight), &mut out));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(800));
    targets = products, attention, generated, rows
}
criterion_main!(benches);
