//! LLaVA's vision encoder: CLIP's ViT, with a class token in front that the projector does not see. Files end
//! with the layer whose rows are taken, the last but one of CLIP. LLaVA-1.5 shows it the middle square of a
//! picture; LLaVA-1.6 the whole picture and its tiles, whose rows are laid out in lines.
//!
//! Source: HF `modeling_clip.py`, `modeling_llava.py`, `modeling_llava_next.py`.

use ocelli_image::{
    Budget, Filter, Grid, Normalization, Patches, RgbImage, TileOrder, TileRule, middle_square,
    patchify,
};
use ocelli_tensor::{Activation, Pass, Tensor};

use super::config::{exact_activation, shape};
use super::square::{SquareConfig, SquareEncoder};
use super::tiled::{self, NEWLINE};
use crate::config::Keys;
use crate::parts::{LayerNorm, Mlp};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, Scope, VisionModel, VisionShape};

/// See the module.
#[derive(Debug)]
pub struct LlavaVision {
    encoder: SquareEncoder,
    /// `[1 + patches, width]`: the class token at its position, then the positions of patches.
    places: Vec<f32>,
    first_norm: LayerNorm,
    projector: Mlp,
    tiles: Option<TileRule>,
    /// The row that ends a line of patches; nothing where lines have no end.
    newline: Vec<f32>,
    shape: VisionShape,
}

impl LlavaVision {
    /// Reads a projector of type `mlp`.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let root = loader.root();
        let config = SquareConfig::read(&keys, &root, Normalization::CLIP)?;
        let tiles = tiled::rule(&keys, &root, &config)?;
        root.require_biases(&["v.pre_ln"])?;
        root.require_biases_together(&["mm.0", "mm.2"])?;
        let (vision, width, eps) = (root.at("v"), config.width, config.norm_eps);
        // CLIP's own `projection_dim` is something else.
        let [_, output] = shape(&keys, &root, "mm.2.weight")?;
        let side = config.side;
        let rows = 1 + side * side;
        let mut places = vision.values("position_embd.weight", &[width, rows])?;
        let class = vision.values("class_embd", &[width])?;
        places.iter_mut().zip(class).for_each(|(p, c)| *p += c);
        let activation = exact_activation(&keys, Activation::QuickGelu)?;
        let newline = newline(&root, tiles.as_ref(), output)?;
        Ok(Self {
            encoder: SquareEncoder::load(&vision, &config, (1, activation))?,
            places,
            first_norm: LayerNorm::load(&vision.at("pre_ln"), width, eps)?,
            projector: Mlp::load(
                &root.at("mm"),
                ("0", "2"),
                [width, output, output],
                Activation::GeluErf,
            )?,
            shape: VisionShape {
                budget: budget(&keys, tiles.as_ref(), &config)?,
                ..config.shape(&keys, (1, output, Filter::Bicubic), loader.finish("mlp")?)?
            },
            tiles,
            newline,
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &Encoding) -> ImageFeatures {
        let mark = pass.mark();
        let rows = encoding.grid.rows();
        // Every square has its class token in front.
        let square = encoding.grid.h as usize * encoding.grid.w as usize;
        let place = |patch: usize| patch / square * (1 + square) + 1 + patch % square;
        let places: Vec<usize> = rows.iter().flatten().map(|patch| place(*patch)).collect();
        let patches = pass.gather(&encoding.x, &places);
        let projected = self.projector.forward(pass, &patches);
        let output = self.with_ends(pass, &rows, projected);
        let features = ImageFeatures::fetch(pass, encoding.grid, &output);
        pass.release(mark);
        features
    }

    /// Puts the end of a line wherever no patch makes a row.
    fn with_ends(&self, pass: &mut Pass<'_>, rows: &[Option<usize>], patches: Tensor) -> Tensor {
        let places = |is_patch: bool| -> Vec<usize> {
            let wanted = rows.iter().enumerate();
            let wanted = wanted.filter(|(_, row)| row.is_some() == is_patch);
            wanted.map(|(place, _)| place).collect()
        };
        let ends = places(false);
        if ends.is_empty() {
            return patches;
        }
        let output = pass.take(rows.len(), patches.columns());
        let newlines = self.newline.repeat(ends.len());
        let newlines = pass.upload(&newlines, patches.columns(), ends.len());
        pass.scatter(&newlines, &ends, &output);
        pass.scatter(&patches, &places(true), &output);
        output
    }
}

/// The row that ends a line, where lines have ends; read where it stands in the file in any case.
fn newline(root: &Scope<'_>, tiles: Option<&TileRule>, output: usize) -> Result<Vec<f32>, Error> {
    match tiles {
        Some(tiles) if tiles.order == TileOrder::Lines || root.has(NEWLINE) => {
            root.values(NEWLINE, &[output])
        }
        _ => Ok(Vec::new()),
    }
}

/// The tokens that pictures take: from the whole picture alone up to all tiles filled.
fn budget(
    keys: &Keys<'_>,
    tiles: Option<&TileRule>,
    config: &SquareConfig,
) -> Result<Budget, Error> {
    let square = (config.side as u64).pow(2);
    let (least, most) = tiles.map_or((square, square), |tiles| {
        (tiles.least_tokens(), tiles.most_tokens())
    });
    let area = (config.patch as u64).pow(2);
    Budget::new(config.patch as u32, least * area, most * area)
        .map_err(|error| keys.invalid(format!("size rule: {error}")))
}

impl VisionModel for LlavaVision {
    fn shape(&self) -> &VisionShape {
        &self.shape
    }

    fn has_one_size(&self) -> bool {
        self.tiles.is_none()
    }

    fn largest_grid(&self, budget: &Budget) -> Grid {
        match &self.tiles {
            Some(tiles) => tiles.largest(budget),
            None => self.encoder.grid,
        }
    }

    /// Of LLaVA-1.5 always the same; a picture's shape is not kept.
    fn grid(&self, width: u32, height: u32, budget: &Budget) -> Result<Grid, Error> {
        match &self.tiles {
            Some(tiles) => Ok(tiles.grid((width, height), budget)?),
            None => {
                let patch = self.shape.patch_size;
                self.encoder.grid((width, height), budget, patch)
            }
        }
    }

    fn preprocess(&self, frames: &[RgbImage], budget: &Budget) -> Result<Patches, Error> {
        let [frame] = frames else {
            return Err(Error::NoFrames);
        };
        let grid = self.grid(frame.width, frame.height, budget)?;
        let shape = &self.shape;
        let squares = match &self.tiles {
            Some(tiles) => tiles.squares(frame, &grid, shape.filter),
            None => {
                let side = self.encoder.grid.w * shape.patch_size;
                vec![middle_square(frame, side, shape.filter)?]
            }
        };
        let patches = patchify(&squares, shape.patch_size, 1, 1, &shape.normalization);
        Ok(Patches { grid, ..patches })
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let grid = patches.grid;
        let (squares, square) = (grid.t as usize, grid.h as usize * grid.w as usize);
        let rows = 1 + square;
        let width = self.places.len() / rows;
        let x = pass.upload(&self.places.repeat(squares), width, squares * rows);
        let mark = pass.mark();
        let embedded = self.encoder.embed(pass, patches);
        for i in 0..squares {
            let patches = embedded.slice_rows(i * square..(i + 1) * square);
            pass.add(&patches, &x.slice_rows(i * rows + 1..(i + 1) * rows));
        }
        pass.release(mark);
        self.first_norm.in_place(pass, &x);
        Encoding::without_angles(grid, x)
    }

    fn advance(&self, pass: &mut Pass<'_>, encoding: &mut Encoding, layers: usize) -> Progress {
        match self.encoder.run(pass, encoding, layers) {
            (done, all) if done < all => Progress::Layers(done, all),
            _ => Progress::Done(self.finish(pass, encoding)),
        }
    }
}
