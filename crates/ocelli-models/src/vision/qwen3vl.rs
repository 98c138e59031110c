//! Qwen3-VL vision encoder: a plain ViT over 2 x 2 blocks of patches with learned positions stretched
//! to the picture, 2-D rotary attention inside each frame, and mergers that give the text model one row
//! for each block: the main rows, and deepstack rows tapped from inner layers.
//!
//! Source: HF `modeling_qwen3_vl.py` (`Qwen3VLVisionModel`).

use ocelli_image::{Normalization, Patches};
use ocelli_tensor::{Activation, AttentionPlan, Pass, Tensor};

use super::config::{Family, VisionConfig};
use crate::config::Keys;
use crate::parts::{
    EncoderLayer, EncoderSizes, LayerNorm, Mlp, PatchEmbedding, PositionTable, grid_angles,
};
use crate::{Encoding, Error, ImageFeatures, Loader, Progress, Scope, VisionModel, VisionShape};

/// See the module.
#[derive(Debug)]
pub struct Qwen3VlVision {
    config: VisionConfig,
    patch_embedding: PatchEmbedding,
    positions: PositionTable,
    /// Each with what taps it.
    layers: Vec<(EncoderLayer, Option<Deepstack>)>,
    merger_norm: LayerNorm,
    merger: Mlp,
    shape: VisionShape,
}

/// A second merger on an inner layer. Its norm comes after the merge, over the whole block.
#[derive(Debug)]
struct Deepstack {
    norm: LayerNorm,
    mlp: Mlp,
}

impl Deepstack {
    fn load(scope: &Scope<'_>, config: &VisionConfig) -> Result<Self, Error> {
        scope.require_biases(&["norm", "fc1", "fc2"])?;
        let block = config.block();
        let sizes = [block, block, config.output];
        Ok(Self {
            norm: LayerNorm::load(&scope.at("norm"), block, config.norm_eps)?,
            mlp: Mlp::load(scope, ("fc1", "fc2"), sizes, Activation::GeluErf)?,
        })
    }

    /// `[patches, width]` -> `[patches / 4, output]`.
    fn forward(&self, pass: &mut Pass<'_>, x: &Tensor, block: usize) -> Tensor {
        let blocks = x.reshape(x.len() / block, block);
        let h = self.norm.forward(pass, &blocks);
        self.mlp.forward(pass, &h)
    }
}

impl Qwen3VlVision {
    /// Reads a projector of type `qwen3vl_merger`.
    ///
    /// # Errors
    /// When metadata or tensors are missing, contradict each other, or are left over.
    pub fn load(loader: Loader<'_>) -> Result<Self, Error> {
        let keys = Keys::new(loader.gguf(), loader.names().prefix());
        let root = loader.root();
        let vision = root.at("v");
        let family = Family {
            least_tokens: 64,
            normalization: Normalization::HALF,
        };
        let config = VisionConfig::read(&keys, &root, &family)?;
        root.require_biases(&["v.patch_embd", "v.post_ln", "mm.0", "mm.2"])?;
        let (block, width, eps) = (config.block(), config.width, config.norm_eps);
        let sizes = [block, block, config.output];
        let encoder = EncoderSizes {
            width,
            heads: config.heads,
            middle: config.mlp_hidden,
            eps,
            activation: Activation::GeluTanh,
        };
        let load_layer = |i| {
            let tap = vision.at("deepstack").at(i);
            let has_tap = tap.has("fc1.weight");
            let deepstack = has_tap.then(|| Deepstack::load(&tap, &config));
            let layer = EncoderLayer::load(&vision.at("blk").at(i), &encoder)?;
            Ok((layer, deepstack.transpose()?))
        };
        let layers: Vec<_> = (0..config.layers)
            .map(load_layer)
            .collect::<Result<_, Error>>()?;
        let taps = layers.iter().filter(|(_, tap)| tap.is_some()).count();
        Ok(Self {
            patch_embedding: PatchEmbedding::load(&vision.at("patch_embd"), width, config.patch)?,
            positions: PositionTable::load(&vision.at("position_embd"), width)?,
            layers,
            merger_norm: LayerNorm::load(&vision.at("post_ln"), width, eps)?,
            merger: Mlp::load(&root.at("mm"), ("0", "2"), sizes, Activation::GeluErf)?,
            shape: config.shape(taps, loader.finish("qwen3vl_merger")?),
            config,
        })
    }

    fn finish(&self, pass: &mut Pass<'_>, encoding: &mut Encoding) -> ImageFeatures {
        let block = self.config.block();
        let mark = pass.mark();
        let h = self.merger_norm.forward(pass, &encoding.x);
        let rows = self
            .merger
            .forward(pass, &h.reshape(h.len() / block, block));
        pass.probe(format_args!("output"), &rows);
        let features = ImageFeatures {
            grid: encoding.grid,
            width: rows.columns(),
            rows: pass.download(&rows),
            deepstack: std::mem::take(&mut encoding.deepstack),
        };
        pass.release(mark);
        features
    }
}

impl VisionModel for Qwen3VlVision {
    fn shape(&self) -> &VisionShape {
        &self.shape
    }

    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding {
        let grid = patches.grid;
        let x = self.patch_embedding.forward(pass, patches);
        pass.probe(format_args!("patch_embed"), &x);
        self.positions.add_to(pass, &grid, &x);
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
        let (x, angles) = (encoding.x, encoding.angles);
        let segments = encoding.frames();
        let plan = AttentionPlan::Within {
            segments: &segments,
        };
        let end = self.layers.len().min(encoding.layer + layers);
        for i in encoding.layer..end {
            let (layer, deepstack) = &self.layers[i];
            layer.forward(pass, &x, &angles, plan);
            pass.probe(format_args!("layer.{i}"), &x);
            if let Some(deepstack) = deepstack {
                let mark = pass.mark();
                let rows = deepstack.forward(pass, &x, self.config.block());
                pass.probe(
                    format_args!("deepstack.{}", encoding.deepstack.len()),
                    &rows,
                );
                encoding.deepstack.push(pass.download(&rows));
                pass.release(mark);
            }
        }
        encoding.layer = end;
        if end < self.layers.len() {
            return Progress::Layers(end, self.layers.len());
        }
        Progress::Done(self.finish(pass, encoding))
    }
}
