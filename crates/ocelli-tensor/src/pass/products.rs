//! Products with weights: all that a pass computes with matrices.

use crate::{Activation, Affine, After, GatedMlp, Linear, Pass, Tensor, Vector, Weight};

impl Pass<'_> {
    /// `x W^T + b`, stored or activated, in a new tensor.
    pub fn linear(
        &mut self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Vector>,
        activation: Option<Activation>,
    ) -> Tensor {
        let out = self.take_like(x, weight.outputs());
        let after = activation.map_or(After::Store, After::Activate);
        self.run_linear(Linear {
            x: *x,
            weight,
            bias,
            after,
            out,
        });
        out
    }

    /// `out = x W^T + b`.
    pub fn linear_into(
        &mut self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Vector>,
        out: &Tensor,
    ) {
        self.run_linear(Linear {
            x: *x,
            weight,
            bias,
            after: After::Store,
            out: *out,
        });
    }

    /// `out += x W^T + b`: a product that ends in a residual connection.
    pub fn linear_add(&mut self, x: &Tensor, weight: &Weight, bias: Option<&Vector>, out: &Tensor) {
        self.run_linear(Linear {
            x: *x,
            weight,
            bias,
            after: After::Add,
            out: *out,
        });
    }

    /// `x W^T + b` of three weights, such as those of queries, keys and values, in new tensors.
    pub fn linears(&mut self, x: &Tensor, weights: [Affine<'_>; 3]) -> [Tensor; 3] {
        let ops = weights.map(|Affine { weight, bias }| Linear {
            x: *x,
            weight,
            bias,
            after: After::Store,
            out: self.take_like(x, weight.outputs()),
        });
        ops.iter().for_each(check);
        self.backend.linears(self.memory.storage(), &ops);
        ops.map(|op| op.out)
    }

    fn run_linear(&mut self, op: Linear<'_>) {
        check(&op);
        let mark = self.mark();
        let scratch = match op.after {
            After::Add => self.take_like(&op.x, op.weight.outputs()),
            After::Store | After::Activate(_) => op.out,
        };
        self.backend.linear(self.memory.storage(), op, scratch);
        self.release(mark);
    }

    /// `f(x Wg^T + bg) * (x Wu^T + bu)`, the first half of a gated MLP.
    pub fn gated_mlp(
        &mut self,
        x: &Tensor,
        gate: Affine<'_>,
        up: Affine<'_>,
        activation: Activation,
    ) -> Tensor {
        let middle = gate.weight.outputs();
        assert_eq!(middle, up.weight.outputs(), "gate and up are as wide");
        let out = self.take_like(x, middle);
        let mark = self.mark();
        let scratch = self.take_like(x, middle);
        let op = GatedMlp {
            x: *x,
            gate: gate.weight,
            gate_bias: gate.bias,
            up: up.weight,
            up_bias: up.bias,
            activation,
            out,
        };
        self.backend.gated_mlp(self.memory.storage(), op, scratch);
        self.release(mark);
        out
    }
}

/// # Panics
/// When shapes do not fit.
fn check(op: &Linear<'_>) {
    assert_eq!(op.x.columns(), op.weight.inputs(), "inputs of the product");
    assert_eq!(
        (op.x.rows(), op.weight.outputs()),
        (op.out.rows(), op.out.columns()),
        "outputs of the product"
    );
    if let Some(bias) = op.bias {
        assert_eq!(bias.len(), op.weight.outputs(), "one bias per output");
    }
}
