//! The two kinds of MLP, each with its residual connection.

use ocelli_tensor::{Activation, Affine, Pass, Tensor};

use super::Linear;
use crate::{Error, Scope};

/// Rows that go through an MLP together: bounds the memory of its wide middle.
const ROWS_AT_ONCE: usize = 1024;

fn in_row_blocks(
    pass: &mut Pass<'_>,
    rows: usize,
    mut run: impl FnMut(&mut Pass<'_>, std::ops::Range<usize>),
) {
    for start in (0..rows).step_by(ROWS_AT_ONCE) {
        let mark = pass.mark();
        run(pass, start..rows.min(start + ROWS_AT_ONCE));
        pass.release(mark);
    }
}

/// `down(f(up(x)))`.
#[derive(Debug)]
pub struct Mlp {
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    /// Reads `{up}.weight`, `{down}.weight` and their biases.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn load(
        scope: &Scope<'_>,
        (up, down): (&str, &str),
        [inputs, middle, outputs]: [usize; 3],
        activation: Activation,
    ) -> Result<Self, Error> {
        Ok(Self {
            up: Linear::load(&scope.at(up), middle, inputs)?,
            down: Linear::load(&scope.at(down), outputs, middle)?,
            activation,
        })
    }

    /// `[rows, inputs]` -> `[rows, outputs]`.
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        let out = pass.take_like(x, self.down.outputs());
        let mark = pass.mark();
        let middle = self.up.activated(pass, x, self.activation);
        let Affine { weight, bias } = self.down.parts();
        pass.linear_into(&middle, weight, bias, &out);
        pass.release(mark);
        out
    }

    /// `out += down(f(up(x)))`.
    pub fn add_to(&self, pass: &mut Pass<'_>, x: &Tensor, out: &Tensor) {
        in_row_blocks(pass, x.rows(), |pass, rows| {
            let middle = self
                .up
                .activated(pass, &x.slice_rows(rows.clone()), self.activation);
            self.down.add_to(pass, &middle, &out.slice_rows(rows));
        });
    }
}

/// `down(f(gate(x)) * up(x))`.
#[derive(Debug)]
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedMlp {
    /// Reads `ffn_gate`, `ffn_up` and `ffn_down` of a scope, with biases if there are any.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn load(
        scope: &Scope<'_>,
        hidden: usize,
        middle: usize,
        activation: Activation,
    ) -> Result<Self, Error> {
        Ok(Self {
            gate: Linear::load(&scope.at("ffn_gate"), middle, hidden)?,
            up: Linear::load(&scope.at("ffn_up"), middle, hidden)?,
            down: Linear::load(&scope.at("ffn_down"), hidden, middle)?,
            activation,
        })
    }

    /// `down(f(gate(x)) * up(x))`, for layers that do something to it before they add it.
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        let out = pass.take_like(x, self.down.outputs());
        in_row_blocks(pass, x.rows(), |pass, rows| {
            let middle = pass.gated_mlp(
                &x.slice_rows(rows.clone()),
                self.gate.parts(),
                self.up.parts(),
                self.activation,
            );
            let Affine { weight, bias } = self.down.parts();
            pass.linear_into(&middle, weight, bias, &out.slice_rows(rows));
        });
        out
    }

    /// `out += down(f(gate(x)) * up(x))`.
    pub fn add_to(&self, pass: &mut Pass<'_>, x: &Tensor, out: &Tensor) {
        in_row_blocks(pass, x.rows(), |pass, rows| {
            let middle = pass.gated_mlp(
                &x.slice_rows(rows.clone()),
                self.gate.parts(),
                self.up.parts(),
                self.activation,
            );
            self.down.add_to(pass, &middle, &out.slice_rows(rows));
        });
    }
}
