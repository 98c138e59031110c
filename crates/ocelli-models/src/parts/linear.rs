//! A product with an optional bias.

use ocelli_tensor::{Activation, Affine, Pass, Tensor, Use, Vector, Weight};

use crate::{Error, Scope};

/// `y = x W^T + b`: `weight` `[outputs, inputs]`, `bias` `[outputs]` if the file has one.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Vector>,
}

impl Linear {
    /// Reads `weight` and, if there is one, `bias` of a scope.
    ///
    /// # Errors
    /// When the weight is missing or a shape is wrong.
    pub fn load(scope: &Scope<'_>, outputs: usize, inputs: usize) -> Result<Self, Error> {
        Ok(Self {
            weight: scope.matrix("weight", outputs, inputs, Use::Product)?,
            bias: scope.optional_vector("bias", outputs)?,
        })
    }

    /// Reads a run of outputs of a fused projection of `outputs` rows.
    ///
    /// # Errors
    /// When the weight is missing or a shape is wrong.
    pub fn load_rows(
        scope: &Scope<'_>,
        rows: std::ops::Range<usize>,
        outputs: usize,
        inputs: usize,
    ) -> Result<Self, Error> {
        let weight = scope.matrix_rows("weight", rows.clone(), outputs, inputs, Use::Product)?;
        let bias = scope
            .has("bias")
            .then(|| scope.values("bias", &[outputs]))
            .transpose()?
            .map(|values| scope.upload_vector(&values[rows]));
        Ok(Self { weight, bias })
    }

    /// Takes the `bias` of another scope, if this has none and that one has.
    ///
    /// # Errors
    /// When it is there with another length.
    pub fn or_bias(mut self, scope: &Scope<'_>) -> Result<Self, Error> {
        if self.bias.is_none() {
            self.bias = scope.optional_vector("bias", self.outputs())?;
        }
        Ok(self)
    }

    /// Width of the result.
    pub fn outputs(&self) -> usize {
        self.weight.outputs()
    }

    /// `[rows, inputs]` -> `[rows, outputs]`.
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        pass.linear(x, &self.weight, self.bias.as_ref(), None)
    }

    /// `[rows, inputs]` -> `[rows, outputs]`, with `activation` on the result.
    pub fn activated(&self, pass: &mut Pass<'_>, x: &Tensor, activation: Activation) -> Tensor {
        pass.linear(x, &self.weight, self.bias.as_ref(), Some(activation))
    }

    /// Adds the result to `out`.
    pub fn add_to(&self, pass: &mut Pass<'_>, x: &Tensor, out: &Tensor) {
        pass.linear_add(x, &self.weight, self.bias.as_ref(), out);
    }

    /// Weight and bias, for fused operations.
    pub fn parts(&self) -> Affine<'_> {
        Affine {
            weight: &self.weight,
            bias: self.bias.as_ref(),
        }
    }
}
