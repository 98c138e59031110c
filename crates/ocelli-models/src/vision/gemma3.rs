//! Gemma 3 vision encoder: SigLIP over one square picture, whose rows are averaged in cells, normalised and
//! projected to the text model's width.
//!
//! Source: HF `modeling_gemma3.py` (`Gemma3MultiModalProjector`), `modeling_siglip.py`.

use ocelli_image::{Budget, Filter, Grid, Normalization, Patches};
use ocelli_tensor::{Activation, Pass, Weight};

use super::config::shape;
use super::square::{SquareConfig, SquareEncoder};
use crate::config::Keys;
use crate::parts::{LayerNorm, PositionTable, RmsNorm, average_cells};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, VisionModel, VisionShape};

/// Patches on each side of a cell that becomes one token, in all released models.
const POOL: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Gemma3Vision {
    encoder: SquareEncoder,
    positions: PositionTable,
    last_norm: LayerNorm,
    cell_norm: RmsNorm,
    projection: Weight,
    shape: VisionShape,
}

impl Gemma3Vision {
    /// Reads a projector of type `gemma3`.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let root = loader.root();
        let config = SquareConfig::read(&keys, &root, Normalization::HALF)?;
        root.require_biases(&["v.patch_embd", "v.post_ln"])?;
        let side = config.side;
        let pool = pool(&keys, side)?;
        let (width, eps) = (config.width, config.norm_eps);
        let [output, _] = shape(&keys, &root, "mm.input_projection.weight")?;
        let (vision, mm) = (root.at("v"), root.at("mm"));
        let positions = PositionTable::load(&vision.at("position_embd"), width)?;
        if positions.side() != side {
            return Err(keys.invalid(format!(
                "v.position_embd is for {0} x {0} patches, the image has {1} x {1}",
                positions.side(),
                side
            )));
        }
        Ok(Self {
            encoder: SquareEncoder::load(&vision, &config, (pool, Activation::GeluTanh))?,
            positions,
            last_norm: LayerNorm::load(&vision.at("post_ln"), width, eps)?,
            cell_norm: RmsNorm::load(&mm.at("soft_emb_norm"), width, eps)?,
            projection: mm.turned_matrix("input_projection.weight", output, width)?,
            shape: config.shape(
                &keys,
                (pool, output, Filter::Bilinear),
                loader.finish("gemma3")?,
            )?,
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &Encoding) -> ImageFeatures {
        let mark = pass.mark();
        let h = self.last_norm.forward(pass, &encoding.x);
        let cells = average_cells(pass, &h, self.encoder.grid.merge as usize);
        self.cell_norm.in_place(pass, &cells);
        let rows = pass.linear(&cells, &self.projection, None, None);
        let features = ImageFeatures::fetch(pass, encoding.grid, &rows);
        pass.release(mark);
        features
    }
}

impl VisionModel for Gemma3Vision {
    fn shape(&self) -> &VisionShape {
        &self.shape
    }

    fn has_one_size(&self) -> bool {
        true
    }

    fn largest_grid(&self, _: &Budget) -> Grid {
        self.encoder.grid
    }

    /// Always the same; a picture's shape is not kept.
    fn grid(&self, width: u32, height: u32, budget: &Budget) -> Result<Grid, Error> {
        let patch = self.shape.patch_size;
        self.encoder.grid((width, height), budget, patch)
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let x = self.encoder.embed(pass, patches);
        self.positions.add_to(pass, &patches.grid, &x);
        Encoding::without_angles(patches.grid, x)
    }

    fn advance(&self, pass: &mut Pass<'_>, encoding: &mut Encoding, layers: usize) -> Progress {
        match self.encoder.run(pass, encoding, layers) {
            (done, all) if done < all => Progress::Layers(done, all),
            _ => Progress::Done(self.finish(pass, encoding)),
        }
    }
}

/// Patches on each side of a cell.
fn pool(keys: &Keys<'_>, side: usize) -> Result<usize, Error> {
    let stated = match keys.u32("projector.scale_factor")? {
        Some(_) => Some(keys.count("projector.scale_factor", 1024)?),
        None => None,
    };
    // Merged files state the tokens of a picture instead.
    let mut tokens = None;
    for key in ["gemma3.mm.tokens_per_image", "gemma3.mm_tokens_per_image"] {
        tokens = tokens.or(keys.metadata().u32(key)?);
    }
    let by_tokens = tokens.map(|tokens| side / (tokens.isqrt() as usize).max(1));
    let pool = stated.or(by_tokens).unwrap_or(POOL);
    let cells = side.checked_div(pool).unwrap_or(0);
    let contradicts = stated.is_none() && tokens.is_some_and(|t| t as usize != cells * cells);
    if contradicts || cells * pool != side {
        return Err(keys.invalid(format!(
            "cells of {pool} patches do not divide an image of {side} patches a side"
        )));
    }
    Ok(pool)
}
