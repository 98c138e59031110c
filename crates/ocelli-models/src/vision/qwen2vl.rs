//! Qwen2-VL vision encoder: a plain ViT over 2 x 2 blocks of patches with 2-D rotary attention inside
//! each frame and no learned positions, and a merger that gives the text model one row for each block.
//!
//! Source: HF `modeling_qwen2_vl.py` (`Qwen2VisionTransformerPretrainedModel`).

use ocelli_image::{Normalization, Patches};
use ocelli_tensor::{Activation, AttentionPlan, Pass};

use super::config::{Family, VisionConfig, activation};
use crate::config::Keys;
use crate::parts::{EncoderLayer, EncoderSizes, LayerNorm, Mlp, PatchEmbedding, grid_angles};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, VisionModel, VisionShape};

/// See the module.
#[derive(Debug)]
pub struct Qwen2VlVision {
    config: VisionConfig,
    patch_embedding: PatchEmbedding,
    layers: Vec<EncoderLayer>,
    merger_norm: LayerNorm,
    merger: Mlp,
    shape: VisionShape,
}

impl Qwen2VlVision {
    /// Reads a projector of type `qwen2vl_merger`.
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
        root.require_biases(&["v.post_ln", "mm.0", "mm.2"])?;
        let (vision, block) = (root.at("v"), config.block());
        let (width, eps) = (config.width, config.norm_eps);
        let sizes = EncoderSizes {
            width,
            heads: config.heads,
            middle: config.mlp_hidden,
            eps,
            activation: activation(&keys, Activation::QuickGelu)?,
        };
        Ok(Self {
            patch_embedding: PatchEmbedding::load(&vision.at("patch_embd"), width, config.patch)?,
            layers: (0..config.layers)
                .map(|i| EncoderLayer::load(&vision.at("blk").at(i), &sizes))
                .collect::<Result<_, _>>()?,
            merger_norm: LayerNorm::load(&vision.at("post_ln"), width, eps)?,
            merger: Mlp::load(
                &root.at("mm"),
                ("0", "2"),
                [block, block, config.output],
                Activation::GeluErf,
            )?,
            shape: config.shape(0, loader.finish("qwen2vl_merger")?),
            config,
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &Encoding) -> ImageFeatures {
        let block = self.config.block();
        let mark = pass.mark();
        let h = self.merger_norm.forward(pass, &encoding.x);
        let blocks = h.reshape(h.len() / block, block);
        let rows = self.merger.forward(pass, &blocks);
        let features = ImageFeatures::fetch(pass, encoding.grid, &rows);
        pass.release(mark);
        features
    }
}

impl VisionModel for Qwen2VlVision {
    fn shape(&self) -> &VisionShape {
        &self.shape
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let grid = patches.grid;
        let x = self.patch_embedding.forward(pass, patches);
        pass.probe(format_args!("patch_embed"), &x);
        let angles = grid_angles(pass, &grid, self.config.heads.dim);
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
