//! Weights of 16 bits in `int8`: held as bytes, multiplied as bytes.

use ocelli_cpu::{CpuBackend, CpuOptions, Isa, Precision};
use ocelli_quant::TensorType;
use ocelli_tensor::{Backend as _, Memory, Use, Weight, WeightSource};

const INPUTS: usize = 600;
const OUTPUTS: usize = 300;

fn backend(precision: Precision, isa: Option<Isa>, threads: usize) -> CpuBackend {
    let options = CpuOptions {
        threads: Some(threads),
        isa,
        precision,
    };
    CpuBackend::new(&options).expect("the set is available")
}

/// Numbers of a fixed sequence, in -1..1.
fn random(count: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn pack(backend: &CpuBackend, ty: TensorType, purpose: Use) -> Weight {
    let mut data = vec![0; OUTPUTS * INPUTS * ty.block_bytes()];
    let values = random(OUTPUTS * INPUTS, 5);
    ocelli_quant::quantize_into(ty, &values, &mut data).expect("a type of numbers");
    let source = WeightSource {
        ty,
        rows: OUTPUTS,
        columns: INPUTS,
        data: &data,
    };
    backend.pack(&[source], purpose).expect("memory")
}

/// Results of some rows, of which so many are of a prompt.
fn product(backend: &CpuBackend, weight: &Weight, x: &[f32], prompt_rows: usize) -> Vec<f32> {
    let rows = x.len() / INPUTS;
    let mut memory = Memory::reserve(backend, 1 << 17);
    let input = memory.take(rows, INPUTS, prompt_rows);
    let out = memory.take(rows, OUTPUTS, prompt_rows);
    backend.upload(memory.storage(), x, input);
    backend.product(memory.storage(), input, weight, out);
    let mut values = vec![0.0; out.len()];
    backend.download(memory.storage(), out, &mut values);
    values
}

/// `sqrt(sum (a - b)^2 / sum b^2)`.
fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
    let error = squares(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    (error / squares(&mut wanted.iter().copied())).sqrt()
}

#[test]
fn weights_of_16_bits_take_half_the_memory() {
    for ty in [TensorType::F16, TensorType::BF16] {
        let bytes = |precision| pack(&backend(precision, None, 2), ty, Use::Product).bytes();
        let (pairs, int8) = (bytes(Precision::Bf16), bytes(Precision::Int8));
        assert!(
            int8 * 100 < pairs * 54,
            "{ty}: {int8} bytes, {pairs} before"
        );
    }
}

#[test]
fn results_differ_from_those_of_unrounded_weights_by_a_percent() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for ty in [TensorType::F16, TensorType::BF16] {
            let x = random(9 * INPUTS, 7);
            let exact = backend(Precision::F32, Some(isa), 1);
            let wanted = product(&exact, &pack(&exact, ty, Use::Product), &x, 5);
            let rounding = backend(Precision::Int8, Some(isa), 2);
            let found = product(&rounding, &pack(&rounding, ty, Use::Product), &x, 5);
            let error = difference(&found, &wanted);
            let name = isa.name();
            assert!((1e-3..1.2e-2).contains(&error), "{name}, {ty}: {error}");
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others_whatever_the_threads() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let one = backend(Precision::Int8, Some(isa), 1);
        let weight = pack(&one, TensorType::F16, Use::Product);
        let x = random(60 * INPUTS, 7);
        for prompt_rows in [0, 60] {
            let all = product(&one, &weight, &x, prompt_rows);
            let three = backend(Precision::Int8, Some(isa), 3);
            assert_eq!(
                all,
                product(&three, &weight, &x, prompt_rows),
                "{}",
                isa.name()
            );
            for (row, wanted) in all.chunks_exact(OUTPUTS).enumerate().step_by(7) {
                let x = &x[row * INPUTS..][..INPUTS];
                let found = product(&one, &weight, x, prompt_rows.min(1));
                assert_eq!(found, wanted, "{}, row {row}", isa.name());
            }
        }
    }
}

#[test]
fn rows_that_are_looked_up_and_weights_of_32_bits_are_not_rounded_to_bytes() {
    let int8 = backend(Precision::Int8, None, 1);
    for ty in [TensorType::F16, TensorType::BF16] {
        assert_eq!(
            pack(&int8, ty, Use::Both).bytes(),
            pack(&backend(Precision::F32, None, 1), ty, Use::Both).bytes()
        );
    }
    let pairs = backend(Precision::Bf16, None, 1);
    let x = random(3 * INPUTS, 7);
    let [found, wanted] = [&int8, &pairs].map(|backend| {
        product(
            backend,
            &pack(backend, TensorType::F32, Use::Product),
            &x,
            3,
        )
    });
    assert_eq!(found, wanted);
}
