//! LLaVA-1.5 vision encoder: CLIP's ViT over the middle square of a picture, with a class token in front that
//! the projector does not see. Files end with the layer whose rows are taken, the last but one of CLIP.
//!
//! Source: HF `modeling_clip.py`, `modeling_llava.py`.

use ocelli_image::{
    Budget, Filter, Grid, Normalization, Patches, RgbImage, middle_square, patchify,
};
use ocelli_tensor::{Activation, Pass};

use super::config::{exact_activation, shape};
use super::square::{SquareConfig, SquareEncoder};
use crate::config::Keys;
use crate::parts::{LayerNorm, Mlp};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, VisionModel, VisionShape};

/// See the module.
#[derive(Debug)]
pub struct LlavaVision {
    encoder: SquareEncoder,
    /// `[1 + patches, width]`: the class token at its position, then the positions of patches.
    places: Vec<f32>,
    first_norm: LayerNorm,
    projector: Mlp,
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
        if root.has("model.image_newline") {
            return Err(keys.invalid(
                "tensor 'model.image_newline' is of LLaVA-1.6, whose tiles are not built; need a projector of LLaVA-1.5",
            ));
        }
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
            shape: config.shape(&keys, (1, output, Filter::Bicubic), loader.finish("mlp")?)?,
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &Encoding) -> ImageFeatures {
        let mark = pass.mark();
        let patches = encoding.x.slice_rows(1..encoding.x.rows());
        let rows = self.projector.forward(pass, &patches);
        let features = ImageFeatures::fetch(pass, encoding.grid, &rows);
        pass.release(mark);
        features
    }
}

impl VisionModel for LlavaVision {
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

    fn preprocess(&self, frames: &[RgbImage], budget: &Budget) -> Result<Patches, Error> {
        let [frame] = frames else {
            return Err(Error::NoFrames);
        };
        self.grid(frame.width, frame.height, budget)?;
        let shape = &self.shape;
        let square = middle_square(frame, self.encoder.grid.w * shape.patch_size, shape.filter)?;
        Ok(patchify(
            &[square],
            shape.patch_size,
            1,
            1,
            &shape.normalization,
        ))
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let rows = 1 + patches.grid.patches();
        let width = self.places.len() / rows;
        let x = pass.upload(&self.places, width, rows);
        let mark = pass.mark();
        let embedded = self.encoder.embed(pass, patches);
        pass.add(&embedded, &x.slice_rows(1..rows));
        pass.release(mark);
        self.first_norm.in_place(pass, &x);
        Encoding::without_angles(patches.grid, x)
    }

    fn advance(&self, pass: &mut Pass<'_>, encoding: &mut Encoding, layers: usize) -> Progress {
        match self.encoder.run(pass, encoding, layers) {
            (done, all) if done < all => Progress::Layers(done, all),
            _ => Progress::Done(self.finish(pass, encoding)),
        }
    }
}
