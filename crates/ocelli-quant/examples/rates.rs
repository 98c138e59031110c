//! How long quantising takes: nanoseconds an element on one thread, for each type or those that are named.
//!
//! `cargo run --release -p ocelli-quant --example rates -- Q3_K Q4_K`

#![allow(clippy::print_stdout, reason = "its purpose")]

use std::time::Instant;

use ocelli_quant::{QuantError, TensorType, is_quantizable, quantize_into};

/// Elements that are quantised at once: rows of a small layer.
const ELEMENTS: usize = 1 << 20;
/// Runs of which the fastest counts.
const RUNS: usize = 5;

fn main() -> Result<(), QuantError> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let values = bell_shaped();
    for ty in TensorType::ALL.into_iter().filter(|&ty| is_quantizable(ty)) {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == ty.name()) {
            continue;
        }
        let mut out = vec![0; ty.row_bytes(ELEMENTS).unwrap_or(0)];
        let mut least = f64::INFINITY;
        for _ in 0..RUNS {
            let start = Instant::now();
            quantize_into(ty, &values, &mut out)?;
            least = least.min(start.elapsed().as_secs_f64());
        }
        println!("{:5} {:7.2} ns", ty.name(), least * 1e9 / ELEMENTS as f64);
    }
    Ok(())
}

/// Sums of uniform numbers: distributed much like weights.
fn bell_shaped() -> Vec<f32> {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..ELEMENTS)
        .map(|_| 0.05 * (0..6).map(|_| uniform()).sum::<f32>())
        .collect()
}
