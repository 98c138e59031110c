//! Mixtures of experts as different converters store them.

use crate::draft::Tensor;
use crate::layouts::changed;
use ocelli_quant::TensorType;

/// Every matrix of a `[columns, rows, experts]` tensor turned.
fn turn_experts(tensor: &mut Tensor) {
    let [columns, rows, _] = tensor.shape[..] else {
        panic!("{:?}", tensor.shape)
    };
    assert_eq!(tensor.ty, TensorType::F16);
    let (columns, rows) = (columns as usize, rows as usize);
    let turn = |matrix: &[u8]| -> Vec<u8> {
        (0..columns)
            .flat_map(|c| (0..rows).map(move |r| 2 * (r * columns + c)))
            .flat_map(|at| [matrix[at], matrix[at + 1]])
            .collect()
    };
    let matrices = tensor.data.chunks(2 * columns * rows);
    tensor.data = matrices.flat_map(turn).collect();
    tensor.shape.swap(0, 1);
}

#[test]
fn experts_in_either_layout_are_the_same() {
    changed("qwen3vl-moe", |text, _| {
        for layer in text.layers("blk.") {
            turn_experts(text.tensor(&format!("{layer}ffn_down_exps.weight")));
            turn_experts(text.tensor(&format!("{layer}ffn_gate_exps.weight")));
        }
    });
}

#[test]
fn gates_and_ups_of_experts_in_one_tensor_are_read() {
    changed("qwen3vl-moe", |text, _| {
        for layer in text.layers("blk.") {
            let gate = text.take_tensor(&format!("{layer}ffn_gate_exps.weight"));
            let up = text.take_tensor(&format!("{layer}ffn_up_exps.weight"));
            let matrix = gate.data.len() / gate.shape[2] as usize;
            let both = gate.data.chunks(matrix).zip(up.data.chunks(matrix));
            text.extend([Tensor {
                name: format!("{layer}ffn_gate_up_exps.weight"),
                shape: vec![gate.shape[0], 2 * gate.shape[1], gate.shape[2]],
                ty: gate.ty,
                data: both.flat_map(|(gate, up)| [gate, up].concat()).collect(),
            }]);
        }
    });
}
