//! Squares of patches to one row each.

use ocelli_tensor::{Pass, Tensor, Weight};

use super::RmsNorm;
use crate::{Error, Scope};

/// `side` x `side` patches, normalised one by one and side by side in a row, to one of the same
/// width. Rows of a square's patches stand together.
#[derive(Debug)]
pub struct PatchMerger {
    norm: RmsNorm,
    weight: Weight,
}

impl PatchMerger {
    /// Reads `input_norm` and `patch_merger`, whose inputs are stored channel by channel with the
    /// patches inside.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(scope: &Scope<'_>, (width, side): (usize, usize), eps: f32) -> Result<Self, Error> {
        let (patches, block) = (side * side, side * side * width);
        let stored = scope.values("patch_merger.weight", &[block, width])?;
        // Rows here are patch by patch.
        let mut values = vec![0.0; stored.len()];
        for (to, from) in values
            .chunks_exact_mut(block)
            .zip(stored.chunks_exact(block))
        {
            for (channel, of_patches) in from.chunks_exact(patches).enumerate() {
                for (patch, value) in of_patches.iter().enumerate() {
                    to[patch * width + channel] = *value;
                }
            }
        }
        Ok(Self {
            norm: RmsNorm::load(&scope.at("input_norm"), width, eps)?,
            weight: scope.pack_values(&values, width, block)?,
        })
    }

    /// `[patches, width]` -> `[patches / side^2, width]`.
    pub fn forward(&self, pass: &mut Pass<'_>, x: &Tensor) -> Tensor {
        let h = self.norm.forward(pass, x);
        let block = self.weight.inputs();
        pass.linear(&h.reshape(h.len() / block, block), &self.weight, None, None)
    }
}
