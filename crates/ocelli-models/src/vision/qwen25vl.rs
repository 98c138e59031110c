//! Qwen2.5-VL vision encoder: Qwen2-VL's with RMS norms, gated MLPs, and attention that in most layers
//! stays inside windows of 8 x 8 patches. Rows are put into window order once, so a window is a run of
//! rows; what leaves the encoder is in the picture's own order again.
//!
//! Source: HF `modeling_qwen2_5_vl.py` (`Qwen2_5_VisionTransformerPretrainedModel`).

use ocelli_image::{Normalization, Patches};
use ocelli_tensor::{Activation, AttentionPlan, Pass};

use super::config::{BIASED, Family, VisionConfig};
use super::reach::{Reach, positions_per_second, reaches, window};
use crate::config::Keys;
use crate::parts::{
    EncoderSizes, GatedEncoderLayer, Mlp, PatchEmbedding, RmsNorm, Windows, grid_angles,
};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, VisionModel, VisionShape};

/// See the module.
#[derive(Debug)]
pub struct Qwen25VlVision {
    config: VisionConfig,
    patch_embedding: PatchEmbedding,
    layers: Vec<(GatedEncoderLayer, Reach)>,
    /// Side of a window in tokens.
    window: usize,
    positions_per_second: Option<f64>,
    merger_norm: RmsNorm,
    merger: Mlp,
    shape: VisionShape,
}

impl Qwen25VlVision {
    /// Reads a projector of type `qwen2.5vl_merger`.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let root = loader.root();
        let family = Family {
            least_tokens: 4,
            normalization: Normalization::CLIP,
        };
        let config = VisionConfig::read(&keys, &root, &family)?;
        root.require_biases(&["mm.0", "mm.2"])?;
        let reaches = reaches(&keys, config.layers)?;
        let (vision, block) = (root.at("v"), config.block());
        let (width, eps) = (config.width, config.norm_eps);
        let sizes = EncoderSizes {
            width,
            heads: config.heads,
            middle: config.mlp_hidden,
            eps,
            activation: Activation::Silu,
        };
        let load = |(i, reach)| {
            let scope = vision.at("blk").at(i);
            scope.require_biases(&BIASED)?;
            scope.require_biases(&["ffn_gate"])?;
            Ok((GatedEncoderLayer::load(&scope, &sizes)?, reach))
        };
        Ok(Self {
            patch_embedding: PatchEmbedding::load(&vision.at("patch_embd"), width, config.patch)?,
            layers: reaches
                .into_iter()
                .enumerate()
                .map(load)
                .collect::<Result<_, Error>>()?,
            window: window(&keys, config.budget.factor as usize)?,
            positions_per_second: positions_per_second(&keys)?,
            merger_norm: RmsNorm::load(&vision.at("post_ln"), width, eps)?,
            merger: Mlp::load(
                &root.at("mm"),
                ("0", "2"),
                [block, block, config.output],
                Activation::GeluErf,
            )?,
            shape: config.shape(0, loader.finish("qwen2.5vl_merger")?),
            config,
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &Encoding, windows: &Windows) -> ImageFeatures {
        let block = self.config.block();
        let mark = pass.mark();
        let h = self.merger_norm.forward(pass, &encoding.x);
        let blocks = h.reshape(h.len() / block, block);
        let sorted = self.merger.forward(pass, &blocks);
        let width = sorted.columns();
        let rows = windows.unsort_cells(&pass.download(&sorted), width);
        pass.probe_values(format_args!("output"), width, &rows);
        pass.release(mark);
        ImageFeatures {
            grid: encoding.grid,
            width,
            rows,
            deepstack: Vec::new(),
        }
    }
}

impl VisionModel for Qwen25VlVision {
    fn shape(&self) -> &VisionShape {
        &self.shape
    }

    fn positions_per_second(&self) -> Option<f64> {
        self.positions_per_second
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let (grid, dim) = (patches.grid, self.config.heads.dim);
        let windows = Windows::new(&grid, self.window);
        let x = pass.take(grid.patches(), self.config.width);
        let angles = pass.take(grid.patches(), dim);
        let mark = pass.mark();
        let embedded = self.patch_embedding.forward(pass, patches);
        pass.probe(format_args!("patch_embed"), &embedded);
        windows.sort(pass, &embedded, &x);
        pass.release(mark);
        let by_patch = grid_angles(pass, &grid, dim);
        windows.sort(pass, &by_patch, &angles);
        pass.release(mark);
        Encoding {
            grid,
            x,
            angles,
            layer: 0,
            deepstack: Vec::new(),
        }
    }

    fn advance(&self, pass: &mut Pass<'_>, encoding: &mut Encoding, layers: usize) -> Progress {
        let windows = Windows::new(&encoding.grid, self.window);
        let frames = encoding.frames();
        let end = self.layers.len().min(encoding.layer + layers);
        for i in encoding.layer..end {
            let (layer, reach) = &self.layers[i];
            let segments = match reach {
                Reach::Window => windows.segments(),
                Reach::Frame => &frames,
            };
            let plan = AttentionPlan::Within { segments };
            layer.forward(pass, &encoding.x, &encoding.angles, plan);
            if pass.is_probed() {
                let mark = pass.mark();
                let x = windows.unsort(pass, &encoding.x);
                pass.probe(format_args!("layer.{i}"), &x);
                pass.release(mark);
            }
        }
        encoding.layer = end;
        if end < self.layers.len() {
            return Progress::Layers(end, self.layers.len());
        }
        Progress::Done(self.finish(pass, encoding, &windows))
    }
}
