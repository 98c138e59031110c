//! Pixtral vision encoder, of Mistral Small 3.1 and later, Ministral 3 and Pixtral-12B: a ViT with RMS norms
//! and gated MLPs over a picture of any shape, whose patches know their place by 2-D rotary angles alone. A
//! merger turns 2 x 2 patches into one row (Pixtral-12B has none), a projector gives it the text's width.
//!
//! Source: HF `modeling_pixtral.py`, `modeling_mistral3.py`.

use ocelli_image::{Budget, Filter, Grid, Normalization, Patches};
use ocelli_tensor::{Activation, AttentionPlan, Pass};

use super::config::{exact_activation, shape};
use super::square::SquareConfig;
use crate::config::Keys;
use crate::parts::{
    EncoderSizes, GatedEncoderLayer, Mlp, PatchEmbedding, PatchMerger, RmsNorm,
    interleaved_grid_angles,
};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, Scope, VisionModel, VisionShape};

/// See the module.
#[derive(Debug)]
pub struct PixtralVision {
    patch_embedding: PatchEmbedding,
    first_norm: RmsNorm,
    layers: Vec<GatedEncoderLayer>,
    merger: Option<PatchMerger>,
    projector: Mlp,
    /// Elements of a head, and the base of its frequencies.
    rotation: (usize, f32),
    /// Pixels of the longest side.
    longest: u32,
    shape: VisionShape,
}

/// Converters permute the rows of queries and keys, so that neighbours turn together; Ollama's do
/// not, and name their norms otherwise.
fn load_layer(scope: &Scope<'_>, sizes: &EncoderSizes) -> Result<GatedEncoderLayer, Error> {
    let layer = GatedEncoderLayer::load(scope, sizes)?;
    Ok(match scope.name_in_file("ln1.weight") {
        Some(name) if name.contains("attn_norm") => layer,
        _ => layer.with_pairs(),
    })
}

impl PixtralVision {
    /// Reads a projector of type `pixtral`.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let root = loader.root();
        let config = SquareConfig::read(&keys, &root, Normalization::CLIP)?;
        let side = merge_side(&keys, &root, config.width)?;
        let [_, output] = shape(&keys, &root, "mm.2.weight")?;
        read_rest(&root, output)?;
        let dim = config.heads.dim;
        if !dim.is_multiple_of(4) {
            return Err(keys.invalid(format!(
                "vision heads have {dim} elements, need a multiple of 4 for two axes"
            )));
        }
        let (vision, mm) = (root.at("v"), root.at("mm"));
        let (width, eps) = (config.width, config.norm_eps);
        let sizes = config.encoder(exact_activation(&keys, Activation::Silu)?);
        let load_layer = |i| load_layer(&vision.at("blk").at(i), &sizes);
        let longest = longest(&keys, &config)?;
        Ok(Self {
            patch_embedding: PatchEmbedding::load_still(
                &vision.at("patch_embd"),
                width,
                config.patch,
            )?,
            first_norm: RmsNorm::load(&vision.at("pre_ln"), width, eps)?,
            layers: (0..config.layers)
                .map(load_layer)
                .collect::<Result<_, _>>()?,
            merger: root
                .has("mm.patch_merger.weight")
                .then(|| PatchMerger::load(&mm, (width, side), merger_eps(&keys, eps)?))
                .transpose()?,
            projector: Mlp::load(
                &mm,
                ("1", "2"),
                [width, output, output],
                Activation::GeluErf,
            )?,
            rotation: (dim, theta(&keys)?),
            longest: longest as u32,
            shape: VisionShape {
                budget: budget(&keys, longest, config.patch * side)?,
                ..config.shape(
                    &keys,
                    (side, output, Filter::Bicubic),
                    loader.finish("pixtral")?,
                )?
            },
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &Encoding) -> ImageFeatures {
        let mark = pass.mark();
        let merged = match &self.merger {
            Some(merger) => merger.forward(pass, &encoding.x),
            None => encoding.x,
        };
        let rows = self.projector.forward(pass, &merged);
        let features = ImageFeatures::fetch(pass, encoding.grid, &rows);
        pass.release(mark);
        features
    }
}

/// Patches on each side of a block that becomes one row, by the merger's shape.
fn merge_side(keys: &Keys<'_>, root: &Scope<'_>, width: usize) -> Result<usize, Error> {
    let side = match root.has("mm.patch_merger.weight") {
        false => 1,
        true => (shape::<2>(keys, root, "mm.patch_merger.weight")?[0] / width).isqrt(),
    };
    let stated = keys.u32("spatial_merge_size")?.unwrap_or(side as u32) as usize;
    if side == 0 || side > 16 || stated != side {
        return Err(keys.invalid(format!(
            "spatial_merge_size is {stated}, mm.patch_merger.weight is made for {side}; need equal, 1..=16"
        )));
    }
    Ok(side)
}

/// What is checked without being used, and what must not be missing alone.
fn read_rest(root: &Scope<'_>, output: usize) -> Result<(), Error> {
    // A copy of the text model's own row, which stands in the prompt as a token like any other.
    if root.has("v.token_embd.img_break") {
        root.values("v.token_embd.img_break", &[output])?;
    }
    root.require_biases_together(&["mm.1", "mm.2"])
}

/// The reference takes the text model's epsilon for the norm before the merger; files that are not
/// as usual say so.
fn merger_eps(keys: &Keys<'_>, usual: f32) -> Result<f32, Error> {
    let key = "projector.layer_norm_epsilon";
    match keys.metadata().get(&keys.key(key)) {
        Some(_) => keys.eps(key, key, None),
        None => Ok(usual),
    }
}

fn theta(keys: &Keys<'_>) -> Result<f32, Error> {
    // Projectors state it beside the keys of the encoder, if at all.
    let outside = keys.metadata().f32("clip.rope.freq_base")?;
    keys.positive("rope.freq_base", Some(outside.unwrap_or(10_000.0)))
}

/// Pixels of the longest side of a picture: the processor's, where files say that it is another
/// than the encoder's.
fn longest(keys: &Keys<'_>, config: &SquareConfig) -> Result<usize, Error> {
    match keys.u32("longest_edge")? {
        Some(_) => keys.count("longest_edge", 1 << 14),
        None => Ok(config.side * config.patch),
    }
}

fn budget(keys: &Keys<'_>, longest: usize, cell: usize) -> Result<Budget, Error> {
    let cells = longest.div_ceil(cell) as u32;
    let most = cells.saturating_mul(cells);
    Budget::from_tokens(cell as u32, 1, most)
        .map_err(|error| keys.invalid(format!("size rule: {error}")))
}

impl VisionModel for PixtralVision {
    fn shape(&self) -> &VisionShape {
        &self.shape
    }

    fn grid(&self, width: u32, height: u32, budget: &Budget) -> Result<Grid, Error> {
        let sizes = (self.shape.patch_size, self.shape.merge);
        let grid = Grid::within_edge((width, height), self.longest, budget, sizes)?;
        Ok(grid)
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let grid = patches.grid;
        let x = self.patch_embedding.forward(pass, patches);
        pass.probe(format_args!("patch_embed"), &x);
        self.first_norm.in_place(pass, &x);
        let (dim, theta) = self.rotation;
        let angles = interleaved_grid_angles(pass, &grid, dim, theta);
        Encoding {
            grid,
            x,
            angles,
            layer: 0,
            deepstack: Vec::new(),
        }
    }

    fn advance(&self, pass: &mut Pass<'_>, encoding: &mut Encoding, layers: usize) -> Progress {
        let segments = encoding.frames();
        let plan = AttentionPlan::Within {
            segments: &segments,
        };
        let end = self.layers.len().min(encoding.layer + layers);
        for i in encoding.layer..end {
            self.layers[i].forward(pass, &encoding.x, &encoding.angles, plan);
            pass.probe(format_args!("layer.{i}"), &encoding.x);
        }
        encoding.layer = end;
        if end < self.layers.len() {
            return Progress::Layers(end, self.layers.len());
        }
        Progress::Done(self.finish(pass, encoding))
    }
}
