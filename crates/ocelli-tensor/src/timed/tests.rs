//! Operations are timed under their names, and change nothing.

use super::*;
use crate::{Affine, Measure, Memory, Pass, Probe, Work};

#[test]
fn calls_are_kept_by_kind_with_the_work_that_is_counted_for_a_pass() {
    let timed = Timed::new(Arc::new(Measure));
    let source = WeightSource {
        ty: TensorType::F16,
        data: &[0; 70],
        rows: 7,
        columns: 5,
    };
    let weight = timed.pack(&[source], Use::Product).unwrap();
    let mut memory = Memory::reserve(&timed, 1 << 10);
    let mut pass = Pass::new(&timed, &mut memory, Probe::Off);
    let x = pass.take(3, 5);
    pass.linear(&x, &weight, None, None);
    pass.linear(&x, &weight, None, None);
    let affine = Affine {
        weight: &weight,
        bias: None,
    };
    pass.gated_mlp(&x, affine, affine, Activation::Silu);
    pass.linears(&x, [affine; 3]);
    pass.scale(2.0, &x);
    let times = timed.take();
    let shape = WeightShape {
        stored: Some(TensorType::F16),
        inputs: 5,
        outputs: 7,
    };
    let three = WeightShape {
        outputs: 21,
        ..shape
    };
    let found: Vec<_> = times
        .iter()
        .map(|time| {
            (
                time.operation,
                time.calls,
                time.operations,
                time.weight_bytes,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (Operation::Product(shape), 2, 2 * 210, 2 * 70),
            (Operation::GatedProducts(shape), 1, 2 * 210, 2 * 70),
            (Operation::ThreeProducts(three), 1, 3 * 210, 3 * 70),
            (Operation::Elements, 1, 0, 0),
        ]
    );
    assert_eq!(shape.to_string(), "F16 5 to 7");
    let sum: u64 = times.iter().map(|time| time.operations).sum();
    // `Measure` counts the default bodies of fused operations.
    assert_eq!(sum, Work::of(&mut memory).operations());
    assert_eq!(timed.take(), [], "taken once");
}

#[test]
fn what_comes_before_the_text_can_be_taken_alone() {
    let timed = Timed::new(Arc::new(Measure));
    let source = WeightSource {
        ty: TensorType::F32,
        data: &[0; 8],
        rows: 1,
        columns: 2,
    };
    let weight = timed.pack(&[source], Use::Both).unwrap();
    let mut memory = Memory::reserve(&timed, 1 << 10);
    let mut pass = Pass::new(&timed, &mut memory, Probe::Off);
    let x = pass.take(1, 2);
    pass.scale(2.0, &x);
    let x = pass.embed(&weight, &[0], 1);
    pass.scale(2.0, &x);
    let names = |times: Vec<OperationTime>| -> Vec<_> {
        times.into_iter().map(|time| time.operation).collect()
    };
    assert_eq!(names(timed.take_before_text()), [Operation::Elements]);
    assert_eq!(
        names(timed.take()),
        [Operation::Embedding, Operation::Elements]
    );
    pass.scale(2.0, &x);
    assert_eq!(names(timed.take_before_text()), [Operation::Elements]);
}
