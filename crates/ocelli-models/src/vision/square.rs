//! What encoders are described by that see every picture as one square: SigLIP, CLIP.

use ocelli_image::{Budget, Filter, Normalization};
use ocelli_tensor::Heads;

use super::config::{read_normalization, shape};
use crate::config::Keys;
use crate::{Error, Scope, VisionShape};

/// Sizes of an encoder of squares.
#[derive(Clone, Debug)]
pub(super) struct SquareConfig {
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) heads: Heads,
    pub(super) mlp_hidden: usize,
    /// Pixels of a patch on each side.
    pub(super) patch: usize,
    /// Patches of the picture on each side.
    pub(super) side: usize,
    pub(super) norm_eps: f32,
    pub(super) normalization: Normalization,
}

impl SquareConfig {
    /// Reads metadata and checks it against the shapes of tensors. `colours` is for merged files, which
    /// leave theirs out.
    ///
    /// # Errors
    /// When something is missing or contradicts itself.
    pub(super) fn read(
        keys: &Keys<'_>,
        root: &Scope<'_>,
        colours: Normalization,
    ) -> Result<Self, Error> {
        let [patch, _, _, width] = shape(keys, root, "v.patch_embd.weight")?;
        let (stated, image) = (
            keys.count("patch_size", 1024)?,
            keys.count("image_size", 1 << 14)?,
        );
        if stated != patch || !image.is_multiple_of(patch) {
            return Err(keys.invalid(format!(
                "patch_size {stated} and image_size {image} with kernels of {patch}, need equal patches that divide the image"
            )));
        }
        let query = keys.count("attention.head_count", 1024)?;
        if !width.is_multiple_of(query) {
            return Err(keys.invalid(format!(
                "vision head_count {query} does not divide width {width}"
            )));
        }
        let layers = root.loader().names().layers("v.blk");
        let stated = match root.loader().names().depth() {
            Some(depth) => depth,
            None => keys.count("block_count", 1024)?,
        };
        if layers != stated {
            return Err(keys.invalid(format!(
                "block_count {stated} but the tensors have {layers} layers"
            )));
        }
        let is_merged = root.loader().names().is_merged_vision();
        Ok(Self {
            width,
            layers,
            heads: Heads {
                query,
                key_value: query,
                dim: width / query,
            },
            mlp_hidden: shape::<2>(keys, root, "v.blk.0.ffn_up.weight")?[1],
            patch,
            side: image / patch,
            norm_eps: keys.eps("attention.layer_norm_epsilon", "layer_norm_epsilon")?,
            normalization: match keys.metadata().get(&keys.key("image_mean")) {
                None if is_merged => colours,
                _ => read_normalization(keys)?,
            },
        })
    }

    /// The encoder's shape when `merge` x `merge` patches become a row of `output` values.
    ///
    /// # Errors
    /// When the picture takes more tokens than any may.
    pub(super) fn shape(
        &self,
        keys: &Keys<'_>,
        (merge, output, filter): (usize, usize, Filter),
        weight_bytes: usize,
    ) -> Result<VisionShape, Error> {
        let pixels = ((self.side * self.patch) as u64).pow(2);
        let budget = Budget::new((self.patch * merge) as u32, pixels, pixels)
            .map_err(|error| keys.invalid(format!("size rule: {error}")))?;
        Ok(VisionShape {
            output_width: output,
            deepstack: 0,
            layers: self.layers,
            weight_bytes,
            patch_size: self.patch as u32,
            merge: merge as u32,
            moments: 1,
            budget,
            filter,
            normalization: self.normalization,
        })
    }
}
