//! One forward pass of a text model over tokens of many sequences.

use std::ops::Range;

use ocelli_tensor::{AttentionPlan, KvLayer, LayerCache, Mask, Pass, Span, Tensor};

use crate::{ImageFeatures, Positions, Segment};

/// Rows of a step that come from a picture instead of the embedding table.
#[derive(Clone, Debug)]
pub struct ImageRows<'a> {
    /// What the encoder made of the picture.
    pub features: &'a ImageFeatures,
    /// Which of its rows.
    pub from: Range<usize>,
    /// Which rows of the step they fill; as many.
    pub rows: Range<usize>,
}

/// Tokens of many sequences, side by side, without padding. Prompt rows come first.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Token ids `[rows]`; an image row holds the image token's id.
    pub tokens: &'a [u32],
    /// `(time, height, width)` of each row.
    pub positions: &'a [[u32; 3]],
    /// How many of the first rows are prompt tokens.
    pub prompt_rows: usize,
    /// Which rows belong to which sequence.
    pub spans: &'a [Span<'a>],
    /// Image rows.
    pub images: &'a [ImageRows<'a>],
    /// Rows whose logits are wanted.
    pub output_rows: &'a [usize],
}

impl Step<'_> {
    /// Attention of a layer to what its cache keeps: no token sees a later one, nor one behind a window.
    pub fn attention(&self, layer: usize, cache: LayerCache) -> AttentionPlan<'_> {
        AttentionPlan::Paged {
            layer,
            spans: self.spans,
            mask: match cache {
                LayerCache::Full => Mask::Causal,
                LayerCache::Window(tokens) => Mask::Window(tokens),
            },
        }
    }
}

/// What the engine needs to know of a text decoder.
#[derive(Clone, Debug)]
pub struct TextShape {
    /// Width of a token's features.
    pub hidden: usize,
    /// Rows of the embedding: the width of the logits.
    pub vocabulary: usize,
    /// Longest context the model was made for, in tokens.
    pub context_length: usize,
    /// Shape of the key/value cache, one entry a layer.
    pub caches: Vec<KvLayer>,
    /// Memory that the weights occupy, in bytes.
    pub weight_bytes: usize,
}

/// A text decoder.
pub trait TextModel: Send + Sync {
    /// Sizes.
    fn shape(&self) -> &TextShape;
    /// Positions of a prompt, computed once and kept by its sequence.
    fn positions(&self, prompt: &[Segment]) -> Positions;
    /// Embedding rows of tokens: `[tokens, hidden]`, the first `prompt_rows` of prompt kind.
    fn embed(&self, pass: &mut Pass<'_>, tokens: &[u32], prompt_rows: usize) -> Tensor;
    /// Runs the layers on `x` (`[rows, hidden]`, image rows already in place) and gives the logits of
    /// the output rows: `[output_rows, vocabulary]`.
    fn forward(&self, pass: &mut Pass<'_>, x: Tensor, step: &Step<'_>) -> Tensor;

    /// Width of a token's features.
    fn hidden(&self) -> usize {
        self.shape().hidden
    }

    /// Rows of the embedding: the width of the logits.
    fn vocabulary(&self) -> usize {
        self.shape().vocabulary
    }

    /// Longest context the model was made for, in tokens.
    fn context_length(&self) -> usize {
        self.shape().context_length
    }

    /// Shape of the key/value cache, one entry a layer.
    fn caches(&self) -> Vec<KvLayer> {
        self.shape().caches.clone()
    }

    /// Memory that the weights occupy, in bytes.
    fn weight_bytes(&self) -> usize {
        self.shape().weight_bytes
    }
}

/// Embeds a step's tokens, puts image rows in place, and runs the model: `[output_rows, vocabulary]`.
pub fn run_step(model: &dyn TextModel, pass: &mut Pass<'_>, step: &Step<'_>) -> Tensor {
    assert_eq!(
        step.tokens.len(),
        step.positions.len(),
        "a position a token"
    );
    // The id of a picture's rows may lie behind the table; what is read for them is replaced below.
    let mut tokens = step.tokens.to_vec();
    for image in step.images {
        tokens[image.rows.clone()].fill(0);
    }
    let x = model.embed(pass, &tokens, step.prompt_rows);
    for image in step.images {
        let mark = pass.mark();
        let features = &image.features;
        assert_eq!(features.width, x.columns(), "features as wide as the text");
        let values =
            &features.rows[image.from.start * features.width..image.from.end * features.width];
        let rows = pass.upload(values, features.width, image.rows.len());
        pass.scatter(&rows, &image.rows.clone().collect::<Vec<_>>(), &x);
        pass.release(mark);
    }
    model.forward(pass, x, step)
}
