//! Row kernels of every vector set against the scalar twin, on buffers that end where memory ends.

use crate::support::{all_sets, assert_close, assert_same, extremes, guarded, random, vector_sets};
use ocelli_kernels::{Activation, Kernels, RopeStyle, Scalar};

const LENGTHS: std::ops::Range<usize> = 0..70;

#[test]
fn sums_and_products_are_those_of_the_twin() {
    for kernels in vector_sets() {
        for len in LENGTHS {
            let x = guarded(&extremes(len));
            let start = random(2, len);
            for is_sum in [true, false] {
                let [found, wanted] = [&*kernels, &Scalar].map(|kernels: &dyn Kernels| {
                    let mut out = guarded(&start);
                    if is_sum {
                        kernels.add(&x, &mut out);
                    } else {
                        kernels.multiply(&x, &mut out);
                    }
                    out
                });
                let nan_as_one = |x: &f32| if x.is_nan() { 1.0 } else { *x };
                let [found, wanted] =
                    [&*found, &*wanted].map(|v| v.iter().map(nan_as_one).collect::<Vec<_>>());
                assert_same(&format!("{} of {len}", kernels.name()), &found, &wanted);
            }
        }
    }
}

#[test]
fn activations_are_within_a_millionth_of_the_twin() {
    let functions = [
        Activation::Silu,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::QuickGelu,
    ];
    for (kernels, function) in vector_sets().iter().flat_map(|k| functions.map(|f| (k, f))) {
        let values: Vec<f32> = (-60_000..60_000).map(|i| i as f32 * 2.5e-4).collect();
        let (mut found, mut wanted) = (guarded(&values), values.clone());
        kernels.activate(function, &mut found);
        Scalar.activate(function, &mut wanted);
        for ((x, found), wanted) in values.iter().zip(&*found).zip(&wanted) {
            let error = (found - wanted).abs();
            assert!(
                error <= 1e-6 * wanted.abs() + 1e-9,
                "{function:?}({x}): found {found}, wanted {wanted}"
            );
        }
        for len in LENGTHS {
            let mut found = guarded(&values[40_000..40_000 + len]);
            let mut wanted = values[40_000..40_000 + len].to_vec();
            kernels.activate(function, &mut found);
            Scalar.activate(function, &mut wanted);
            assert_close(
                &format!("{function:?} of {len}"),
                &found,
                &wanted,
                1e-6,
                1e-3,
            );
        }
        let mut special = [f32::NAN, f32::INFINITY, 0.0, -0.0, 1e38];
        kernels.activate(function, &mut special);
        assert!(
            special[0].is_nan(),
            "{function:?} keeps what is not a number"
        );
        assert_eq!(
            special[1..],
            [f32::INFINITY, 0.0, 0.0, 1e38],
            "{function:?}"
        );
    }
}

#[test]
fn norms_are_those_of_the_twin() {
    for kernels in vector_sets() {
        for len in LENGTHS.skip(1).chain([1000, 2048]) {
            let (x, weight, bias) = (
                random(1, len),
                guarded(&random(2, len)),
                guarded(&random(3, len)),
            );
            let name = format!("{} of {len}", kernels.name());
            let (mut found, mut wanted) = (guarded(&x), x.clone());
            kernels.rms_norm(&mut found, &weight, 1e-6);
            Scalar.rms_norm(&mut wanted, &weight, 1e-6);
            assert_close(&name, &found, &wanted, 2e-6, 1e-3);
            let (mut found, mut wanted) = (guarded(&x), x.clone());
            kernels.layer_norm(&mut found, &weight, Some(&bias), 1e-5);
            Scalar.layer_norm(&mut wanted, &weight, Some(&bias), 1e-5);
            assert_close(&name, &found, &wanted, 2e-6, 1.0);
        }
    }
}

#[test]
fn rotary_positions_leave_the_rest_of_a_head_alone() {
    for kernels in all_sets() {
        for (dim, turned) in [(2, 2), (7, 4), (18, 18), (72, 36), (80, 80), (128, 64)] {
            for style in [RopeStyle::Halves, RopeStyle::Pairs] {
                let head = random(5, dim);
                let angles = guarded(&random(6, turned));
                let mut found = guarded(&head);
                kernels.rope(&mut found, &angles, style);
                let (a, b) = match style {
                    RopeStyle::Halves => (0, turned / 2),
                    RopeStyle::Pairs => (0, 1),
                };
                let (cos, sin) = (angles[0], angles[turned / 2]);
                let wanted = [head[a] * cos - head[b] * sin, head[b] * cos + head[a] * sin];
                assert_close("the first pair", &[found[a], found[b]], &wanted, 1e-6, 1.0);
                assert_same("what is not turned", &found[turned..], &head[turned..]);
            }
        }
    }
}

#[test]
fn finite_means_every_element() {
    for kernels in all_sets() {
        for len in LENGTHS {
            let mut x = guarded(&random(1, len));
            assert!(kernels.is_finite(&x), "{} of {len}", kernels.name());
            for (place, value) in [
                (0, f32::NAN),
                (len / 2, f32::INFINITY),
                (len.max(1) - 1, f32::NEG_INFINITY),
            ] {
                if let Some(element) = x.get_mut(place) {
                    let kept = std::mem::replace(element, value);
                    assert!(
                        !kernels.is_finite(&x),
                        "{} of {len}, {value} at {place}",
                        kernels.name()
                    );
                    x[place] = kept;
                }
            }
        }
        assert!(kernels.is_finite(&[f32::MAX; 40]));
    }
}

#[test]
fn halves_are_rounded_to_even_and_widened_exactly() {
    for kernels in vector_sets() {
        for len in LENGTHS.chain([1000]) {
            let x = guarded(&extremes(len));
            let (mut found, mut wanted) = (guarded(&vec![1_u16; len]), vec![0; len]);
            kernels.narrow(&x, &mut found);
            Scalar.narrow(&x, &mut wanted);
            for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let both_nan = found & 0x7FFF > 0x7C00 && wanted & 0x7FFF > 0x7C00;
                assert!(
                    found == wanted || both_nan,
                    "{}: {} is {found:x}, not {wanted:x}",
                    kernels.name(),
                    x[i]
                );
            }
        }
        let all: Vec<u16> = (0..=u16::MAX)
            .filter(|bits| bits & 0x7FFF <= 0x7C00)
            .collect();
        for x in [&all[..], &all[1..], &all[..5], &[]] {
            let x = guarded(x);
            let (mut found, mut wanted) = (guarded(&vec![0.0; x.len()]), vec![0.0; x.len()]);
            kernels.widen(&x, &mut found);
            Scalar.widen(&x, &mut wanted);
            assert_same(kernels.name(), &found, &wanted);
        }
    }
}
