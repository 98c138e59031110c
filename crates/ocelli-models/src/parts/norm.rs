//! Norms over a row, or over each head of a row.

use ocelli_tensor::{Pass, Tensor, Vector};

use crate::{Error, Scope};

/// `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Debug)]
pub struct RmsNorm {
    weight: Vector,
    eps: f32,
}

impl RmsNorm {
    /// Reads `weight` (`[width]`) of a scope.
    ///
    /// # Errors
    /// When it is missing or of another length.
    pub fn load(scope: &Scope<'_>, width: usize, eps: f32) -> Result<Self, Error> {
        Ok(Self {
            weight: scope.vector("weight", width)?,
            eps,
        })
    }

    /// A normalised copy of `x`.
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        pass.rms_norm(x, &self.weight, self.eps)
    }

    /// Normalises `x` in place.
    pub fn in_place(&self, pass: &mut Pass<'_>, x: &Tensor) {
        pass.rms_norm_into(x, &self.weight, self.eps, x);
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Vector,
    bias: Option<Vector>,
    eps: f32,
}

impl LayerNorm {
    /// Reads `weight` and, if there is one, `bias` (`[width]`) of a scope.
    ///
    /// # Errors
    /// When the weight is missing or a length is wrong.
    pub fn load(scope: &Scope<'_>, width: usize, eps: f32) -> Result<Self, Error> {
        Ok(Self {
            weight: scope.vector("weight", width)?,
            bias: scope.optional_vector("bias", width)?,
            eps,
        })
    }

    /// A normalised copy of `x`.
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        pass.layer_norm(x, &self.weight, self.bias.as_ref(), self.eps)
    }

    /// Normalises `x` in place.
    pub fn in_place(&self, pass: &mut Pass<'_>, x: &Tensor) {
        pass.layer_norm_into(x, &self.weight, self.bias.as_ref(), self.eps, x);
    }
}
