//! What encoders are described by that see every picture as one square: SigLIP, CLIP.

use std::ops::Range;

use ocelli_image::{Budget, Filter, Grid, Normalization, Patches};
use ocelli_tensor::{Activation, AttentionPlan, Heads, Pass, Tensor};

use super::config::{read_normalization, shape};
use crate::config::Keys;
use crate::parts::{Angles, EncoderLayer, EncoderSizes, PatchEmbedding};
use crate::{Encoding, Error, Scope, VisionShape};

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
            norm_eps: keys.eps("attention.layer_norm_epsilon", "layer_norm_epsilon", None)?,
            normalization: match keys.metadata().get(&keys.key("image_mean")) {
                None if is_merged => colours,
                _ => read_normalization(keys)?,
            },
        })
    }

    /// What each of its layers is made of.
    pub(super) fn encoder(&self, activation: Activation) -> EncoderSizes {
        EncoderSizes {
            width: self.width,
            heads: self.heads,
            middle: self.mlp_hidden,
            eps: self.norm_eps,
            activation,
        }
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

/// Patches and layers of an encoder that sees every picture as one square, whatever its shape.
#[derive(Debug)]
pub(super) struct SquareEncoder {
    pub(super) grid: Grid,
    patch_embedding: PatchEmbedding,
    layers: Vec<EncoderLayer>,
}

impl SquareEncoder {
    /// Reads the patch embedding and the layers; `merge` x `merge` patches become a row of the output.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub(super) fn load(
        vision: &Scope<'_>,
        config: &SquareConfig,
        (merge, activation): (usize, Activation),
    ) -> Result<Self, Error> {
        let (side, sizes) = (config.side as u32, config.encoder(activation));
        let load_layer = |i| EncoderLayer::load(&vision.at("blk").at(i), &sizes);
        Ok(Self {
            grid: Grid {
                t: 1,
                h: side,
                w: side,
                merge: merge as u32,
                tiles: None,
            },
            patch_embedding: PatchEmbedding::load_still(
                &vision.at("patch_embd"),
                config.width,
                config.patch,
            )?,
            layers: (0..config.layers)
                .map(load_layer)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Always the same grid.
    ///
    /// # Errors
    /// For shapes that no picture has.
    pub(super) fn grid(
        &self,
        (width, height): (u32, u32),
        budget: &Budget,
        patch: u32,
    ) -> Result<Grid, Error> {
        Grid::for_image(width, height, budget, patch, self.grid.merge)?;
        Ok(self.grid)
    }

    /// `[patches, width]`, before anything is added.
    pub(super) fn embed(&self, pass: &mut Pass<'_>, patches: &Patches) -> Tensor {
        let x = self.patch_embedding.forward(pass, patches);
        pass.probe(format_args!("patch_embed"), &x);
        x
    }

    /// Runs up to `count` layers, in which every row sees every other of its square; squares of one picture
    /// have equally many. Gives the layers done and all there are.
    pub(super) fn run(
        &self,
        pass: &mut Pass<'_>,
        encoding: &mut Encoding,
        count: usize,
    ) -> (usize, usize) {
        let squares = encoding.grid.t as usize;
        let rows = encoding.x.rows() / squares;
        let segments: Vec<Range<usize>> = (0..squares)
            .map(|square| square * rows..(square + 1) * rows)
            .collect();
        let plan = AttentionPlan::Within {
            segments: &segments,
        };
        let end = self.layers.len().min(encoding.layer + count);
        for i in encoding.layer..end {
            self.layers[i].forward(pass, &encoding.x, Angles::None, plan);
            pass.probe(format_args!("layer.{i}"), &encoding.x);
        }
        encoding.layer = end;
        (end, self.layers.len())
    }
}
