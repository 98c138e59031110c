//! Products of more rows than one tile of a matrix unit has: whole tiles, what is left behind them,
//! and their ends.

use crate::products::{BYTES, Kind, Weight};
use crate::support::{Guarded, assert_close, assert_same, guarded, random, vector_sets};
use ocelli_kernels::{
    Activation, Finish, Kernels, Matrix, MatrixMut, Operand, Product, Scalar, Workspace,
};
use ocelli_quant::TensorType;

const OUTPUTS: usize = 53;
const INPUTS: usize = 512;

const FINISHES: [Finish; 4] = [
    Finish::Store,
    Finish::Add,
    Finish::Multiply,
    Finish::Activate(Activation::GeluErf),
];

/// Some rows of a product with a bias; `start` is what is there before.
fn run(
    kernels: &dyn Kernels,
    weight: &Weight,
    operand: Operand,
    finish: Finish,
    x: &[f32],
    start: &[f32],
) -> Guarded<f32> {
    let words = operand.row_words(INPUTS);
    let rows = x.len() / INPUTS;
    let mut rounded = guarded(&vec![0.0; rows * words]);
    for (x, rounded) in x.chunks_exact(INPUTS).zip(rounded.chunks_exact_mut(words)) {
        kernels.round(operand, x, rounded);
    }
    let bias = random(2, OUTPUTS);
    let mut out = guarded(start);
    let product = Product {
        operand,
        x: Matrix::new(&rounded, rows, words),
        weight: weight.panels(),
        bias: Some(&bias),
        finish,
        out: MatrixMut::new(&mut out, rows, OUTPUTS),
    };
    kernels.product(product, &mut Workspace::new());
    out
}

#[test]
fn rows_of_whole_tiles_and_those_behind_them_have_the_bits_of_rows_alone_whatever_becomes_of_them()
{
    let products = [
        (Kind::from(TensorType::BF16), Operand::Bf16),
        (Kind::from(TensorType::Q4_K), Operand::Bf16),
        (Kind::from(TensorType::Q4_K), Operand::Int8Chunks),
        (BYTES, Operand::Int8Chunks),
    ];
    for (kernels, (kind, operand)) in vector_sets()
        .iter()
        .flat_map(|kernels| products.map(|product| (kernels, product)))
    {
        let weight = Weight::new(kind, OUTPUTS, INPUTS);
        let terms = 2.0 * weight.largest() * (INPUTS as f32).sqrt();
        // Two tiles side by side, one, and 13 rows; one and 1 row; 16 rows.
        for (rows, finish) in [77, 17, 16]
            .iter()
            .flat_map(|rows| FINISHES.map(|finish| (*rows, finish)))
        {
            let (x, start) = (random(5, rows * INPUTS), random(6, rows * OUTPUTS));
            let name = format!(
                "{}, {kind:?}, {operand:?}, {finish:?}, {rows} rows",
                kernels.name()
            );
            let found = run(&**kernels, &weight, operand, finish, &x, &start);
            for row in [0, 15, 16, 31, 32, 63, 64, 76] {
                let Some(x) = x.chunks_exact(INPUTS).nth(row) else {
                    break;
                };
                let of_row = row * OUTPUTS..(row + 1) * OUTPUTS;
                let start = &start[of_row.clone()];
                let alone = run(&**kernels, &weight, operand, finish, x, start);
                assert_same(&format!("{name}, row {row}"), &found[of_row], &alone);
                let twin = run(&Scalar, &weight, operand, finish, x, start);
                assert_close(&name, &alone, &twin, 1e-5, terms);
            }
        }
    }
}
