//! The twin of every kernel that a student can read, and the fallback where no vector set is known.

use std::ops::Range;

use half::f16;

use crate::kept::{KEPT_GROUP, Kept, code_of, scales_of};
use crate::plain;
use crate::workspace::room;
use crate::{
    Activation, Attention, CHUNK, Element, Finish, Kernels, KeyPanels, LANES, Matrix, MatrixMut,
    Operand, Panels, Product, Rates, RopeStyle, Softmax, ValueRows, Workspace,
};

pub(crate) mod functions;
mod rounded;
pub(crate) mod unpack;

/// Plain Rust; every processor has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl Kernels for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn rates(&self) -> Rates {
        Rates::default()
    }

    fn round(&self, operand: Operand, x: &[f32], out: &mut [f32]) {
        rounded::round(operand, x, out);
    }

    fn unpack(&self, weight: Panels<'_>, panel: usize, inputs: Range<usize>, out: &mut [f32]) {
        unpack::unpack(weight, panel, inputs, out);
    }

    fn product(&self, mut product: Product<'_>, workspace: &mut Workspace) {
        product.check();
        if product.operand != Operand::F32 {
            return rounded::product(&mut product);
        }
        let rows = product.x.rows();
        let inputs = product.weight.inputs();
        let weights = room(&mut workspace.weights, CHUNK * LANES);
        for panel in 0..product.weight.count() {
            let sums = room(&mut workspace.sums, rows * LANES);
            sums.fill(0.0);
            for start in (0..inputs).step_by(CHUNK) {
                let chunk = start..(start + CHUNK).min(inputs);
                let weights = &mut weights[..chunk.len() * LANES];
                unpack::unpack(product.weight, panel, chunk.clone(), weights);
                for (row, sums) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    let x = &product.x.row(row)[chunk.clone()];
                    multiply_add(x, weights.as_chunks().0, sums);
                }
            }
            finish_panel(&mut product, panel, sums);
        }
    }

    fn product_few(&self, product: Product<'_>, workspace: &mut Workspace) {
        self.product(product, workspace);
    }

    fn add(&self, x: &[f32], out: &mut [f32]) {
        plain::add(*self, x, out);
    }

    fn multiply(&self, x: &[f32], out: &mut [f32]) {
        plain::multiply(*self, x, out);
    }

    fn activate(&self, activation: Activation, values: &mut [f32]) {
        for value in values {
            *value = functions::activate(activation, *value);
        }
    }

    fn rms_norm(&self, x: &mut [f32], weight: &[f32], eps: f32) {
        assert_eq!(x.len(), weight.len(), "one weight per column");
        let mean_square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        let scale = 1.0 / (mean_square + eps).sqrt();
        for (x, weight) in x.iter_mut().zip(weight) {
            *x = *x * scale * weight;
        }
    }

    fn layer_norm(&self, x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) {
        assert_eq!(x.len(), weight.len(), "one weight per column");
        let count = x.len() as f32;
        let mean = x.iter().sum::<f32>() / count;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
        let scale = 1.0 / (variance + eps).sqrt();
        for (x, weight) in x.iter_mut().zip(weight) {
            *x = (*x - mean) * scale * weight;
        }
        if let Some(bias) = bias {
            self.add(bias, x);
        }
    }

    fn rope(&self, head: &mut [f32], angles: &[f32], style: RopeStyle) {
        plain::rope(*self, head, angles, style);
    }

    fn is_finite(&self, x: &[f32]) -> bool {
        x.iter().all(|x| x.is_finite())
    }

    fn narrow(&self, x: &[f32], out: &mut [u16]) {
        assert_eq!(x.len(), out.len(), "operands of a conversion");
        for (out, x) in out.iter_mut().zip(x) {
            *out = f16::from_f32(*x).to_bits();
        }
    }

    fn widen(&self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "operands of a conversion");
        for (out, x) in out.iter_mut().zip(x) {
            *out = f16::from_bits(*x).to_f32();
        }
    }

    fn widen_keys(&self, panel: &[u16], out: &mut [f32]) {
        let dim = out.len() / LANES;
        for (d, out) in out.chunks_exact_mut(LANES).enumerate() {
            let scales = scales_of(panel, dim, d / KEPT_GROUP);
            for (lane, out) in out.iter_mut().enumerate() {
                *out = code_of(panel, d * LANES + lane) * f16::from_bits(scales[lane]).to_f32();
            }
        }
    }

    fn widen_values(&self, run: &[u16], tokens: Range<usize>, out: &mut [f32]) {
        let width = out.len() / tokens.len().max(1);
        for (t, out) in tokens.zip(out.chunks_exact_mut(width.max(1))) {
            for (column, out) in out.iter_mut().enumerate() {
                let scale = scales_of(run, width, column / KEPT_GROUP)[t];
                *out = code_of(run, t * width + column) * f16::from_bits(scale).to_f32();
            }
        }
    }

    fn round_group(&self, x: &[f32], codes: &mut [i8]) -> u16 {
        plain::round_group(*self, x, codes)
    }

    fn transpose(&self, x: Matrix<'_>, out: &mut [f32]) {
        let dim = x.columns();
        assert_eq!(
            out.len(),
            x.rows().div_ceil(LANES) * LANES * dim,
            "whole panels of keys"
        );
        out.fill(0.0);
        for token in 0..x.rows() {
            let panel = &mut out[token / LANES * LANES * dim..];
            for (d, value) in x.row(token).iter().enumerate() {
                panel[d * LANES + token % LANES] = *value;
            }
        }
    }

    fn scores(&self, queries: Matrix<'_>, keys: KeyPanels<'_>, scores: &mut [f32], stride: usize) {
        let dim = queries.columns();
        let mut widened = vec![0.0; dim * LANES];
        for panel in 0..keys.count {
            let start = panel * keys.step;
            let of_panel = keys
                .elements
                .part(start..start + keys.elements.kept().key_panel(dim));
            match of_panel {
                Element::Q8(words) => self.widen_keys(words, &mut widened),
                elements => widen(elements, &mut widened),
            }
            for row in 0..queries.rows() {
                let scores = &mut scores[row * stride + panel * LANES..][..LANES];
                scores.fill(0.0);
                let [scores] = scores.as_chunks_mut().0 else {
                    unreachable!("16 scores of a panel");
                };
                multiply_add(queries.row(row), widened.as_chunks().0, scores);
            }
        }
    }

    fn ask_for(&self, _: Element<'_>) {}

    fn softmax(&self, softmax: Softmax<'_>) {
        let rows = softmax.visible.len();
        let width = softmax.sums.len() / rows.max(1);
        for (row, visible) in softmax.visible.iter().enumerate() {
            let scores = &mut softmax.scores[row * softmax.stride..][..softmax.tokens];
            let before = softmax.largest[row];
            let largest = scores[visible.clone()]
                .iter()
                .fold(before, |m, s| m.max(*s));
            if largest == f32::NEG_INFINITY {
                scores.fill(0.0);
                continue;
            }
            let decay = (before - largest).exp();
            for (token, score) in scores.iter_mut().enumerate() {
                *score = if visible.contains(&token) {
                    (*score - largest).exp()
                } else {
                    0.0
                };
            }
            softmax.largest[row] = largest;
            softmax.total[row] = softmax.total[row] * decay + scores.iter().sum::<f32>();
            for sum in &mut softmax.sums[row * width..][..width] {
                *sum *= decay;
            }
        }
    }

    /// Rounds nothing: this is what the others are compared with.
    fn attend_pairs(
        &self,
        attention: &Attention<'_>,
        out: &mut MatrixMut<'_>,
        workspace: &mut Workspace,
    ) {
        attention.run(self, out, workspace);
    }

    fn weigh(&self, weights: Matrix<'_>, values: ValueRows<'_>, sums: &mut [f32]) {
        let width = sums.len() / weights.rows().max(1);
        assert!(
            values.tokens <= weights.columns(),
            "one weight per value row"
        );
        let mut value = vec![0.0; width];
        for token in 0..values.tokens {
            match values.values {
                Element::Q8(words) => {
                    let (run, t) = (
                        (values.before + token) / LANES,
                        (values.before + token) % LANES,
                    );
                    let run = &words[run * Kept::Q8.value_run(width)..];
                    self.widen_values(run, t..t + 1, &mut value);
                }
                rows => {
                    let start = token * values.stride;
                    widen(rows.part(start..start + width), &mut value);
                }
            }
            for (row, sums) in sums.chunks_exact_mut(width.max(1)).enumerate() {
                let weight = weights.row(row)[token];
                for (sum, value) in sums.iter_mut().zip(&value) {
                    *sum += weight * value;
                }
            }
        }
    }
}

fn widen(x: Element<'_>, out: &mut [f32]) {
    match x {
        Element::F32(x) => out.copy_from_slice(x),
        Element::F16(x) => Scalar.widen(x, out),
        Element::Q8(_) => panic!("codes have scales: they are not widened one by one"),
    }
}

/// `sums[lane] += sum over k of x[k] * weights[k][lane]`, k in order.
fn multiply_add(x: &[f32], weights: &[[f32; LANES]], sums: &mut [f32; LANES]) {
    for (x, weights) in x.iter().zip(weights) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += x * weight;
        }
    }
}

/// Bias and finish for one panel's sums, `[rows][16]`.
fn finish_panel(product: &mut Product<'_>, panel: usize, sums: &mut [f32]) {
    let outputs = panel * LANES..((panel + 1) * LANES).min(product.weight.outputs());
    for (row, sums) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let sums = &mut sums[..outputs.len()];
        if let Some(bias) = product.bias {
            Scalar.add(&bias[outputs.clone()], sums);
        }
        let out = &mut product.out.row(row)[outputs.clone()];
        match product.finish {
            Finish::Store => out.copy_from_slice(sums),
            Finish::Activate(activation) => {
                Scalar.activate(activation, sums);
                out.copy_from_slice(sums);
            }
            Finish::Add => Scalar.add(sums, out),
            Finish::Multiply => Scalar.multiply(sums, out),
        }
    }
}
