//! The contract of `Backend`, for every instruction set of this machine, every precision and
//! several numbers of threads.

use ocelli_cpu::{CpuBackend, CpuOptions, Isa, Precision};
use ocelli_quant::TensorType;
use ocelli_tensor::conformance;
use ocelli_tensor::{Backend as _, Memory, Use, WeightSource};

/// Error that a precision may have, relative to the terms of a sum.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => conformance::EXACT,
        Precision::Bf16 | Precision::Int8 | Precision::Auto => 2e-2,
    }
}

fn backend(isa: Isa, precision: Precision, threads: usize) -> CpuBackend {
    let options = CpuOptions {
        threads: Some(threads),
        isa: Some(isa),
        precision,
    };
    CpuBackend::new(&options).expect("the set is available")
}

/// Calls `f` for each set of this machine, on the threads that are given.
fn for_each_set(precision: Precision, threads: usize, f: impl Fn(&CpuBackend)) {
    for isa in isas() {
        f(&backend(isa, precision, threads));
    }
}

/// Instruction sets that this machine can run; says which it cannot.
fn isas() -> Vec<Isa> {
    let (usable, absent): (Vec<_>, Vec<_>) =
        Isa::ALL.into_iter().partition(|isa| isa.is_available());
    eprintln!("not tested, absent here: {absent:?}");
    assert!(usable.contains(&Isa::Scalar));
    usable
}

fn check(precision: Precision, threads: usize) {
    for_each_set(precision, threads, |backend| {
        conformance::check_all_within(backend, tolerance(precision));
    });
}

#[test]
fn every_operation_holds_the_contract_in_f32_on_one_thread() {
    check(Precision::F32, 1);
}

#[test]
fn every_operation_holds_the_contract_in_f32_on_four_threads() {
    check(Precision::F32, 4);
}

#[test]
fn every_operation_holds_the_contract_in_bf16() {
    check(Precision::Bf16, 2);
}

#[test]
fn every_operation_holds_the_contract_in_int8() {
    check(Precision::Int8, 2);
}

#[test]
fn every_operation_holds_the_contract_in_what_is_chosen() {
    check(Precision::Auto, 3);
}

#[test]
fn numbers_of_threads_give_the_same_bits() {
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        for isa in isas() {
            let [one, other] = [1, 3].map(|threads| backend(isa, precision, threads));
            conformance::same_bits(&one, &other, tolerance(precision));
        }
    }
}

#[test]
fn an_absent_set_is_an_error_that_names_it() {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let options = CpuOptions {
            isa: Some(isa),
            ..CpuOptions::default()
        };
        let error = CpuBackend::new(&options).unwrap_err().to_string();
        assert!(error.contains(isa.name()), "{error}");
    }
    let error = "sse9".parse::<Isa>().unwrap_err().to_string();
    assert!(
        error.contains("sse9") && error.contains("avx512vnni"),
        "{error}"
    );
}

#[test]
fn no_threads_and_too_many_are_errors() {
    for threads in [0, 1_000_000] {
        let options = CpuOptions {
            threads: Some(threads),
            ..CpuOptions::default()
        };
        let error = CpuBackend::new(&options).unwrap_err().to_string();
        assert!(error.contains(&threads.to_string()), "{error}");
    }
}

/// The largest number rounds to infinity; without rounding its product with a small one is a
/// number, whatever the weight was packed for.
#[test]
fn the_exact_twin_multiplies_packed_weights_with_what_rounding_cannot_hold() {
    let options = |precision| CpuOptions {
        threads: Some(1),
        isa: None,
        precision,
    };
    assert!(
        CpuBackend::new(&options(Precision::F32))
            .unwrap()
            .exact()
            .is_none()
    );
    for precision in [Precision::Bf16, Precision::Int8] {
        let rounding = CpuBackend::new(&options(precision)).unwrap();
        let exact = rounding.exact().unwrap();
        assert!(exact.exact().is_none());
        let columns = 64;
        let data: Vec<u8> = (0..16 * columns)
            .flat_map(|_| 1e-30_f32.to_le_bytes())
            .collect();
        let source = WeightSource {
            ty: TensorType::F32,
            rows: 16,
            columns,
            data: &data,
        };
        let weight = rounding.pack(&[source], Use::Product).unwrap();
        let mut memory = Memory::reserve(&rounding, 4096);
        let (x, out) = (memory.take(1, columns, 1), memory.take(1, 16, 1));
        let mut values = vec![0.0; columns];
        values[3] = f32::MAX;
        rounding.upload(memory.storage(), &values, x);
        rounding.product(memory.storage(), x, &weight, out);
        assert!(!rounding.is_finite(memory.storage(), out), "{precision:?}");
        exact.product(memory.storage(), x, &weight, out);
        let mut found = vec![0.0; 16];
        exact.download(memory.storage(), out, &mut found);
        assert!(
            found.iter().all(|y| (y / 3.4e8 - 1.0).abs() < 0.01),
            "{found:?}"
        );
    }
}
