//! Products of rounded rows: rounding bit for bit, products against the twin and against `f32`,
//! rows against themselves.

use crate::products::{BYTES, Kind, Weight, kinds, shapes};
use crate::support::{all_sets, assert_close, assert_same, extremes, guarded, random, vector_sets};
use ocelli_kernels::{
    Finish, Kernels, Matrix, MatrixMut, Operand, PanelFormat, Product, Scalar, Workspace,
};
use ocelli_quant::TensorType;

const ROUNDED: [Operand; 3] = [Operand::Bf16, Operand::Int8Chunks, Operand::Int8Groups];

/// Operands that products with a weight take.
fn operands(format: PanelFormat) -> &'static [Operand] {
    match format {
        PanelFormat::Coded(_) | PanelFormat::Bytes => &ROUNDED,
        _ => &ROUNDED[..1],
    }
}

/// Rounded rows that end where memory ends.
fn round(
    kernels: &dyn Kernels,
    operand: Operand,
    x: &[f32],
    inputs: usize,
) -> crate::support::Guarded<f32> {
    let words = operand.row_words(inputs);
    let rows = x.len() / inputs;
    let mut out = guarded(&vec![f32::NAN; rows * words]);
    for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact_mut(words)) {
        let mut row = guarded(&vec![f32::NAN; words]);
        kernels.round(operand, &guarded(x), &mut row);
        out.copy_from_slice(&row);
    }
    out
}

/// Rows of prompts, or generated ones where those are rounded so.
pub(crate) fn run(kernels: &dyn Kernels, weight: &Weight, x: &[f32], operand: Operand) -> Vec<f32> {
    let entry = if operand == Operand::Int8Groups {
        Entry::Few
    } else {
        Entry::Many
    };
    run_as(kernels, weight, x, operand, entry)
}

/// Which kernel multiplies.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// That for rows of prompts.
    Many,
    /// That for generated rows.
    Few,
}

fn run_as(
    kernels: &dyn Kernels,
    weight: &Weight,
    x: &[f32],
    operand: Operand,
    entry: Entry,
) -> Vec<f32> {
    let rows = x.len() / weight.inputs;
    let rounded = round(kernels, operand, x, weight.inputs);
    let mut out = guarded(&vec![f32::NAN; rows * weight.outputs]);
    let product = Product {
        operand,
        x: Matrix::new(&rounded, rows, operand.row_words(weight.inputs)),
        weight: weight.panels(),
        bias: None,
        finish: Finish::Store,
        out: MatrixMut::new(&mut out, rows, weight.outputs),
    };
    let mut workspace = Workspace::new();
    match entry {
        Entry::Few => kernels.product_few(product, &mut workspace),
        Entry::Many => kernels.product(product, &mut workspace),
    }
    out.to_vec()
}

#[test]
fn rounded_rows_have_the_bits_of_the_twin() {
    for (kernels, operand) in vector_sets().iter().flat_map(|k| ROUNDED.map(|o| (k, o))) {
        for inputs in [1, 2, 15, 16, 17, 31, 33, 64, 255, 257, 300, 512] {
            for mut x in [
                random(inputs as u64, inputs),
                extremes(inputs),
                vec![0.0; inputs],
            ] {
                if operand != Operand::Bf16 {
                    x.iter_mut().for_each(|x| {
                        if !x.is_finite() {
                            *x = 3.0;
                        }
                    });
                }
                let name = format!("{}, {operand:?}, {inputs}", kernels.name());
                let found = round(&**kernels, operand, &x, inputs);
                let wanted = round(&Scalar, operand, &x, inputs);
                let used = match operand {
                    Operand::Bf16 => inputs.div_ceil(2),
                    _ => inputs.next_multiple_of(64) / 4 + 2,
                };
                let used = used.min(wanted.len());
                if x.iter().any(|x| x.is_nan()) {
                    continue;
                }
                assert_same(&name, &found[..used], &wanted[..used]);
            }
        }
    }
}

#[test]
fn a_value_that_is_not_finite_is_not_lost() {
    for (kernels, operand) in all_sets().iter().flat_map(|k| ROUNDED.map(|o| (k, o))) {
        for (place, bad) in [0, 17, 299]
            .into_iter()
            .flat_map(|p| [f32::NAN, f32::INFINITY, f32::from_bits(0x7FFF_FFFF)].map(|b| (p, b)))
        {
            let mut x = random(3, 320);
            x[place] = bad;
            for kind in [Kind::from(TensorType::Q8_0), BYTES] {
                let out = run(&**kernels, &Weight::new(kind, 16, 320), &x, operand);
                let name = format!(
                    "{}, {kind:?}, {operand:?}, {bad} at {place}",
                    kernels.name()
                );
                assert!(!kernels.is_finite(&out), "{name}");
            }
        }
    }
}

#[test]
fn products_of_rounded_rows_are_those_of_the_twin_and_rows_stand_alone() {
    for (kernels, kind) in vector_sets()
        .iter()
        .flat_map(|k| kinds().map(move |kind| (k, kind)))
    {
        for (outputs, inputs) in shapes(kind) {
            let weight = Weight::new(kind, outputs, inputs);
            let x = guarded(&random(8, 13 * inputs));
            let terms = weight.largest() * (inputs as f32).sqrt();
            for operand in operands(weight.format).iter().copied() {
                let name = format!(
                    "{}, {kind:?} [{outputs}, {inputs}], {operand:?}",
                    kernels.name()
                );
                let wanted = run(&Scalar, &weight, &x, operand);
                let found = run(&**kernels, &weight, &x, operand);
                assert_close(&name, &found, &wanted, 1e-5, terms);
                for rows in [0, 1, 2, 3, 5, 6, 7, 12] {
                    let part = guarded(&x[inputs..(1 + rows) * inputs]);
                    let part = run(&**kernels, &weight, &part, operand);
                    assert_same(
                        &format!("{name}, {rows} rows"),
                        &part,
                        &found[outputs..(1 + rows) * outputs],
                    );
                }
            }
        }
    }
}

/// So that prompts and generated tokens round alike, and tiles of all sizes hold to one order.
#[test]
fn a_prompts_product_in_groups_has_the_bits_of_generated_rows() {
    let groups = Operand::Int8Groups;
    for (kernels, kind) in vector_sets()
        .iter()
        .flat_map(|k| kinds().map(move |kind| (k, kind)))
    {
        for (outputs, inputs) in shapes(kind) {
            let weight = Weight::new(kind, outputs, inputs);
            if operands(weight.format).len() == 1 {
                continue;
            }
            let x = guarded(&random(8, 35 * inputs));
            let name = format!("{}, {kind:?} [{outputs}, {inputs}]", kernels.name());
            let wanted: Vec<f32> = x
                .chunks_exact(inputs)
                .flat_map(|x| run_as(&**kernels, &weight, x, groups, Entry::Few))
                .collect();
            for (rows, entry) in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 35]
                .into_iter()
                .flat_map(|rows| [(rows, Entry::Many), (rows, Entry::Few)])
            {
                let part = guarded(&x[..rows * inputs]);
                let found = run_as(&**kernels, &weight, &part, groups, entry);
                assert_same(
                    &format!("{name}, {rows} rows, {entry:?}"),
                    &found,
                    &wanted[..rows * outputs],
                );
            }
        }
    }
}

#[test]
fn products_of_rounded_rows_are_near_those_of_singles() {
    for (kernels, kind) in all_sets()
        .iter()
        .flat_map(|k| kinds().map(move |kind| (k, kind)))
    {
        let weight = Weight::new(kind, 33, 512);
        let x = random(5, 4 * 512);
        let mut wanted = vec![0.0; 4 * 33];
        for (row, wanted) in wanted.chunks_exact_mut(33).enumerate() {
            for (output, wanted) in wanted.iter_mut().enumerate() {
                let weights = &weight.values[output * 512..][..512];
                *wanted = weights
                    .iter()
                    .zip(&x[row * 512..])
                    .map(|(w, x)| w * x)
                    .sum();
            }
        }
        let terms = weight.largest() * 512_f32.sqrt();
        for operand in operands(weight.format).iter().copied() {
            let found = run(&**kernels, &weight, &x, operand);
            let name = format!("{}, {kind:?}, {operand:?}", kernels.name());
            assert_close(&name, &found, &wanted, 5e-3, terms);
        }
    }
}

#[test]
fn vector_sets_give_the_same_bits_for_bytes() {
    let sets = vector_sets();
    for kind in kinds() {
        let weight = Weight::new(kind, 33, 512);
        let x = random(8, 5 * 512);
        for operand in &operands(weight.format)[1..] {
            let all: Vec<_> = sets
                .iter()
                .map(|kernels| run(&**kernels, &weight, &x, *operand))
                .collect();
            for other in all.iter().skip(1) {
                assert_same(&format!("{kind:?}, {operand:?}"), other, &all[0]);
            }
        }
    }
}

#[test]
#[should_panic(expected = "has no codes")]
fn bytes_against_weights_without_codes_panic_with_the_reason() {
    let weight = Weight::new(TensorType::F32, 16, 32);
    run(&Scalar, &weight, &random(1, 32), Operand::Int8Chunks);
}
