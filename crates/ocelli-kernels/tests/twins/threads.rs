//! Products on threads that take turns: registers that the system keeps for a thread only when it
//! has asked for them, as it does the tiles of a matrix unit, are there for each and stay each
//! one's own.

use std::sync::{Barrier, OnceLock};

use crate::products::Weight;
use crate::rounded::run;
use crate::support::{assert_same, random, vector_sets};
use ocelli_kernels::{Kernels, Operand};
use ocelli_quant::TensorType;

const THREADS: usize = 3;

/// Enough for a system to interrupt each thread within a product, even on one core.
const ROUNDS: usize = 12;

#[test]
fn threads_that_were_there_before_a_set_was_detected_compute_what_one_alone_does() {
    let sets: OnceLock<Vec<Box<dyn Kernels>>> = OnceLock::new();
    let started = Barrier::new(THREADS + 1);
    let detected = Barrier::new(THREADS + 1);
    let weight = Weight::new(TensorType::Q8_0, 64, 256);
    let inputs: [Vec<f32>; THREADS] = std::array::from_fn(|t| random(t as u64, 37 * 256));
    let (sets, started, detected, weight) = (&sets, &started, &detected, &weight);
    let results = |x: &[f32]| -> Vec<Vec<f32>> {
        let sets = sets.get().expect("sets were detected");
        sets.iter()
            .flat_map(|set| [Operand::Bf16, Operand::Int8Chunks].map(|o| run(&**set, weight, x, o)))
            .collect()
    };
    std::thread::scope(|scope| {
        let handles = inputs.each_ref().map(|x| {
            scope.spawn(move || {
                started.wait();
                detected.wait();
                [(); ROUNDS].map(|()| results(x))
            })
        });
        started.wait();
        assert!(sets.set(vector_sets()).is_ok());
        detected.wait();
        for (x, handle) in inputs.iter().zip(handles) {
            let wanted = results(x);
            for found in handle.join().expect("no thread panics") {
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert_same("a thread's product", found, wanted);
                }
            }
        }
    });
}
