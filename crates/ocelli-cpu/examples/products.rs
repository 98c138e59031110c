//! Rates of products against the machine's limits, measured in the same run:
//! `cargo run --release -p ocelli-cpu --example products [-- ISA [f32|bf16|int8|auto [THREADS]]]`.

#![allow(clippy::print_stdout, reason = "the table is the purpose")]

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use ocelli_cpu::{CpuBackend, CpuOptions, Isa, Precision};
use ocelli_quant::TensorType;
use ocelli_tensor::{Attend, Backend, Heads, Memory, Tensor, Use, Weight, WeightSource, Within};

const INPUTS: usize = 2048;
const OUTPUTS: usize = 6144;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let isa = std::env::args()
        .nth(1)
        .map(|name| name.parse::<Isa>())
        .transpose()?;
    let precision = match std::env::args().nth(2).as_deref() {
        Some("f32") => Precision::F32,
        Some("bf16") => Precision::Bf16,
        Some("int8") => Precision::Int8,
        Some("auto") | None => Precision::Auto,
        Some(other) => return Err(format!("precision {other}").into()),
    };
    let threads = std::env::args().nth(3).map(|n| n.parse()).transpose()?;
    for threads in threads.map_or(vec![1, 4], |n: usize| vec![n]) {
        let options = CpuOptions {
            threads: Some(threads),
            isa,
            precision,
        };
        let backend = CpuBackend::new(&options)?;
        println!("{}", backend.describe());
        let read = read_rate(threads);
        println!("  plain read {read:.1} GB/s");
        for ty in [
            TensorType::F32,
            TensorType::F16,
            TensorType::BF16,
            TensorType::Q8_0,
            TensorType::Q4_0,
            TensorType::Q4_K,
            TensorType::Q5_K,
            TensorType::Q6_K,
        ] {
            let weights = weights(&backend, ty)?;
            let prompt = seconds(5, || product(&backend, &weights[0], 1024, 1024));
            let flops = 2.0 * (1024 * INPUTS * OUTPUTS) as f64 / prompt;
            let bytes: usize = weights.iter().map(Weight::bytes).sum();
            let mut line = format!("  {ty:>5}: prompt {:7.1} GFLOP/s", flops / 1e9);
            for rows in [1, 4, 8] {
                let time = seconds(3, || {
                    weights
                        .iter()
                        .map(|weight| product(&backend, weight, rows, 0))
                        .sum()
                });
                let rate = bytes as f64 / time / 1e9;
                line += &format!(
                    ", {rows} generated {rate:5.1} GB/s ({:3.0} %)",
                    100.0 * rate / read
                );
            }
            println!("{line}");
        }
        attention(&backend);
    }
    Ok(())
}

/// Attention of a picture of 1024 x 1024 pixels: 4096 patches, 16 heads of 64.
fn attention(backend: &CpuBackend) {
    const PATCHES: usize = 4096;
    let heads = Heads {
        query: 16,
        key_value: 16,
        dim: 64,
    };
    let mut memory = Memory::reserve(backend, 1 << 25);
    let tensors: [Tensor; 4] =
        std::array::from_fn(|_| memory.take(PATCHES, heads.query_columns(), PATCHES));
    for (i, tensor) in tensors.iter().enumerate().take(3) {
        let values: Vec<f32> = (0..tensor.len())
            .map(|k| ((k * (31 + i)) % 97) as f32 / 48.0 - 1.0)
            .collect();
        backend.upload(memory.storage(), &values, *tensor);
    }
    let [queries, keys, values, out] = tensors;
    let attend = Attend {
        queries,
        heads,
        scale: 0.125,
        out,
    };
    let whole = [Range {
        start: 0,
        end: PATCHES,
    }];
    let time = seconds(3, || {
        let start = Instant::now();
        let within = Within {
            keys,
            values,
            segments: &whole,
        };
        backend.attend_within(memory.storage(), attend, within);
        start.elapsed().as_secs_f64()
    });
    let flops = 4.0 * (PATCHES * PATCHES * heads.query_columns()) as f64;
    println!("  attention {:7.1} GFLOP/s", flops / time / 1e9);
}

/// Enough weights that no cache holds them.
fn weights(
    backend: &CpuBackend,
    ty: TensorType,
) -> Result<Vec<Weight>, Box<dyn std::error::Error>> {
    let row_bytes = ty.row_bytes(INPUTS).ok_or("whole blocks")?;
    // Bytes whose halves are small numbers in every format.
    let data: Vec<u8> = (0..OUTPUTS * row_bytes)
        .map(|i| (i * 37 % 61) as u8)
        .collect();
    let count = (256 << 20) / data.len() + 1;
    let source = WeightSource {
        ty,
        data: &data,
        rows: OUTPUTS,
        columns: INPUTS,
    };
    Ok((0..count)
        .map(|_| backend.pack(&[source], Use::Product))
        .collect::<Result<_, _>>()?)
}

/// The least time of some runs, each given by `run`.
fn seconds(runs: usize, mut run: impl FnMut() -> f64) -> f64 {
    (0..runs).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Seconds of one product.
fn product(backend: &CpuBackend, weight: &Weight, rows: usize, prompt_rows: usize) -> f64 {
    thread_local! { static MEMORY: std::cell::RefCell<Option<Memory>> = const { std::cell::RefCell::new(None) }; }
    MEMORY.with_borrow_mut(|memory| {
        let memory = memory.get_or_insert_with(|| Memory::reserve(backend, 1 << 24));
        let mark = memory.mark();
        let x = memory.take(rows, INPUTS, prompt_rows);
        let out = memory.take(rows, OUTPUTS, prompt_rows);
        backend.upload(memory.storage(), &vec![0.5; rows * INPUTS], x);
        let start = Instant::now();
        backend.product(memory.storage(), x, weight, out);
        let time = start.elapsed().as_secs_f64();
        memory.release(mark);
        time
    })
}

/// GB/s of adding up memory on `threads` threads.
fn read_rate(threads: usize) -> f64 {
    let values = vec![1_u64; (512 << 20) / 8];
    let run = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in values.chunks(values.len().div_ceil(threads)) {
                scope.spawn(|| {
                    let sum = part.chunks_exact(64).fold([0_u64; 64], |mut sums, chunk| {
                        sums.iter_mut().zip(chunk).for_each(|(s, v)| *s |= v);
                        sums
                    });
                    black_box(sum);
                });
            }
        });
        start.elapsed().as_secs_f64()
    };
    values.len() as f64 * 8.0 / seconds(5, run) / 1e9
}
