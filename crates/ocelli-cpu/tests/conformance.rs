//! The contract of `Backend`, for every instruction set of this machine and 1, 2 and 4 threads.

use ocelli_cpu::{CpuBackend, CpuOptions, Isa};
use ocelli_tensor::conformance;

fn backend(isa: Isa, threads: usize) -> CpuBackend {
    let options = CpuOptions {
        threads: Some(threads),
        isa: Some(isa),
        ..CpuOptions::default()
    };
    CpuBackend::new(&options).expect("the set is available")
}

/// Instruction sets that this machine can run; says which it cannot.
fn isas() -> Vec<Isa> {
    let (usable, absent): (Vec<_>, Vec<_>) =
        Isa::ALL.into_iter().partition(|isa| isa.is_available());
    eprintln!("not tested, absent here or not written: {absent:?}");
    assert!(usable.contains(&Isa::Scalar));
    usable
}

#[test]
fn every_operation_holds_the_contract_on_one_thread() {
    for isa in isas() {
        conformance::check_all(&backend(isa, 1));
    }
}

#[test]
fn every_operation_holds_the_contract_on_two_threads() {
    for isa in isas() {
        conformance::check_all(&backend(isa, 2));
    }
}

#[test]
fn every_operation_holds_the_contract_on_four_threads() {
    for isa in isas() {
        conformance::check_all(&backend(isa, 4));
    }
}

#[test]
fn numbers_of_threads_give_the_same_bits() {
    for isa in isas() {
        conformance::same_bits(&backend(isa, 1), &backend(isa, 3));
    }
}

#[test]
fn an_absent_or_unwritten_set_is_an_error_that_names_it() {
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
