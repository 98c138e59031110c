//! The contract of `Backend`, for every instruction set of this machine, every precision and several numbers of threads.

use ocelli_cpu::{CpuBackend, CpuOptions, Isa, Precision};
use ocelli_tensor::conformance;

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
