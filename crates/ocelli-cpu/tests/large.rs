//! Results too large for a cache are written past it and are the same.

use ocelli_cpu::{CpuBackend, CpuOptions, Precision};
use ocelli_quant::TensorType;
use ocelli_tensor::{
    Activation, Backend as _, GatedMlp, Memory, Use, Vector, Weight, WeightSource,
};

const INPUTS: usize = 64;
const HIDDEN: usize = 3000;

/// Weights of both halves and their biases.
struct Layer {
    gate: Weight,
    up: Weight,
    bias: Vector,
}

impl Layer {
    fn new(backend: &CpuBackend) -> Self {
        let weight = |step: usize| {
            let values = (0..HIDDEN * INPUTS).map(|i| (i * step % 101) as f32 / 50.0 - 1.0);
            let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
            let source = WeightSource {
                ty: TensorType::F32,
                rows: HIDDEN,
                columns: INPUTS,
                data: &data,
            };
            backend.pack(&[source], Use::Product).expect("memory")
        };
        let bias: Vec<f32> = (0..HIDDEN).map(|i| (i % 7) as f32 / 4.0).collect();
        Self {
            gate: weight(37),
            up: weight(23),
            bias: backend.vector(&bias),
        }
    }

    /// `[rows, 3000]`.
    fn results(&self, backend: &CpuBackend, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / INPUTS;
        let mut memory = Memory::reserve(backend, rows * (INPUTS + 2 * HIDDEN) + 64);
        let input = memory.take(rows, INPUTS, rows);
        let out = memory.take(rows, HIDDEN, rows);
        let scratch = memory.take(rows, HIDDEN, rows);
        backend.upload(memory.storage(), x, input);
        let op = GatedMlp {
            x: input,
            gate: &self.gate,
            gate_bias: Some(&self.bias),
            up: &self.up,
            up_bias: None,
            activation: Activation::Silu,
            out,
        };
        backend.gated_mlp(memory.storage(), op, scratch);
        let mut values = vec![0.0; out.len()];
        backend.download(memory.storage(), out, &mut values);
        values
    }
}

#[test]
fn rows_of_a_large_result_have_the_bits_they_have_in_small_ones() {
    let rows = 400;
    let x: Vec<f32> = (0..rows * INPUTS)
        .map(|i| (i * 29 % 89) as f32 / 44.0 - 1.0)
        .collect();
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let options = CpuOptions {
            threads: Some(3),
            isa: None,
            precision,
        };
        let backend = CpuBackend::new(&options).expect("this machine's own set");
        let layer = Layer::new(&backend);
        let whole = layer.results(&backend, &x);
        let parts = x.chunks(100 * INPUTS);
        let parts: Vec<f32> = parts.flat_map(|x| layer.results(&backend, x)).collect();
        let differs = whole.iter().zip(&parts).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{precision:?}");
        assert!(whole.iter().any(|value| *value != 0.0));
    }
}
