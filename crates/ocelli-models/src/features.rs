//! What a vision encoder takes and gives.

use ocelli_image::{Budget, Filter, Grid, Normalization, Patches, RgbImage, patchify, resize_with};
use ocelli_tensor::{Pass, Tensor};

use crate::Error;

/// A picture as the text model sees it. Kept on the host, so that it can be cached.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageFeatures {
    /// Where the rows stand in the picture.
    pub grid: Grid,
    /// Width of a row: the text model's hidden size.
    pub width: usize,
    /// `[tokens, width]`, in place of the image token's embedding.
    pub rows: Vec<f32>,
    /// `[tokens, width]` each: added to the picture's rows after the first decoder layers.
    pub deepstack: Vec<Vec<f32>>,
}

impl ImageFeatures {
    /// Fetches an encoder's last rows (`[tokens, width]`) and shows them as its output.
    pub fn fetch(pass: &mut Pass<'_>, grid: Grid, rows: &Tensor) -> Self {
        pass.probe(format_args!("output"), rows);
        Self {
            grid,
            width: rows.columns(),
            rows: pass.download(rows),
            deepstack: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn tokens(&self) -> usize {
        self.rows.len() / self.width
    }

    /// True when every value is finite.
    pub fn is_finite(&self) -> bool {
        std::iter::once(&self.rows)
            .chain(&self.deepstack)
            .all(|rows| rows.iter().all(|v| v.is_finite()))
    }
}

/// A picture half way through the encoder. Its tensors stay in the pass's memory until it is finished.
#[derive(Debug)]
pub struct Encoding {
    /// Shape of the picture.
    pub grid: Grid,
    /// `[patches, width of the encoder]`.
    pub x: Tensor,
    /// Rotary angles of each patch.
    pub angles: Tensor,
    /// Layers done.
    pub layer: usize,
    /// Deepstack rows so far, `[tokens, hidden]` each.
    pub deepstack: Vec<Vec<f32>>,
}

impl Encoding {
    /// The beginning of an encoder whose rows know their places already: nothing turns.
    pub fn without_angles(grid: Grid, x: Tensor) -> Self {
        Self {
            grid,
            x,
            angles: x.slice_rows(0..0),
            layer: 0,
            deepstack: Vec::new(),
        }
    }

    /// Rows of each frame: patches see their own frame only.
    pub fn frames(&self) -> Vec<std::ops::Range<usize>> {
        let frame = self.grid.h as usize * self.grid.w as usize;
        (0..self.grid.t as usize)
            .map(|t| t * frame..(t + 1) * frame)
            .collect()
    }
}

/// How far an encoding is.
#[derive(Debug)]
pub enum Progress {
    /// Layers done, of all layers.
    Layers(usize, usize),
    /// The picture's features.
    Done(ImageFeatures),
}

/// What the engine needs to know of a vision encoder.
#[derive(Clone, Debug)]
pub struct VisionShape {
    /// Width of the rows it gives: must be the text model's hidden size.
    pub output_width: usize,
    /// How many deepstack outputs it gives.
    pub deepstack: usize,
    /// Number of layers.
    pub layers: usize,
    /// Memory that the weights occupy, in bytes.
    pub weight_bytes: usize,
    /// Pixels of a patch on each side.
    pub patch_size: u32,
    /// Patches on each side of a block that becomes one token.
    pub merge: u32,
    /// Frames of a patch.
    pub moments: u32,
    /// The family's own size rule.
    pub budget: Budget,
    /// How pictures are brought to their size.
    pub filter: Filter,
    /// Mean and deviation of the colours.
    pub normalization: Normalization,
}

/// A vision encoder with its projector.
pub trait VisionModel: Send + Sync {
    /// Sizes.
    fn shape(&self) -> &VisionShape;
    /// Embeds the patches.
    fn begin(&self, pass: &mut Pass<'_>, patches: &Patches) -> Encoding;
    /// Runs up to `layers` layers, and the projector after the last.
    fn advance(&self, pass: &mut Pass<'_>, encoding: &mut Encoding, layers: usize) -> Progress;

    /// Time positions of one second of a video, where the file states them and the family counts seconds.
    fn positions_per_second(&self) -> Option<f64> {
        None
    }

    /// Width of the rows it gives: must be the text model's hidden size.
    fn output_width(&self) -> usize {
        self.shape().output_width
    }

    /// How many deepstack outputs it gives.
    fn deepstack(&self) -> usize {
        self.shape().deepstack
    }

    /// Number of layers.
    fn layers(&self) -> usize {
        self.shape().layers
    }

    /// Memory that the weights occupy, in bytes.
    fn weight_bytes(&self) -> usize {
        self.shape().weight_bytes
    }

    /// Pixels of a patch on each side.
    fn patch_size(&self) -> u32 {
        self.shape().patch_size
    }

    /// The family's own size rule.
    fn budget(&self) -> Budget {
        self.shape().budget
    }

    /// Values of a patch: its pixels in all colours and frames.
    fn patch_elements(&self) -> usize {
        let (patch, moments) = (self.shape().patch_size, self.shape().moments);
        3 * patch as usize * patch as usize * moments as usize
    }

    /// A grid with as many tokens as any picture can have under `budget`; its shape does not matter for
    /// memory.
    fn largest_grid(&self, budget: &Budget) -> Grid {
        let merge = self.shape().merge;
        Grid {
            t: 1,
            h: merge,
            w: merge * budget.most_tokens() as u32,
            merge,
            tiles: None,
        }
    }

    /// Whether every picture has the same grid, whatever the budget.
    fn has_one_size(&self) -> bool {
        false
    }

    /// The grid of a picture of this size under `budget`: the one place where it is computed. Unless a
    /// family says otherwise, sides are stretched to multiples of a token.
    ///
    /// # Errors
    /// When the picture's shape is refused.
    fn grid(&self, width: u32, height: u32, budget: &Budget) -> Result<Grid, Error> {
        let shape = self.shape();
        let (patch, merge) = (shape.patch_size, shape.merge);
        Ok(Grid::for_image(width, height, budget, patch, merge)?)
    }

    /// A picture or frame at the size that a grid wants.
    fn fit(&self, frame: &RgbImage, grid: &Grid) -> RgbImage {
        let (patch, filter) = (self.shape().patch_size, self.shape().filter);
        resize_with(frame, grid.w * patch, grid.h * patch, filter)
    }

    /// Frames of one temporal patch, at their size already, to patches. The last frame is repeated where
    /// there are too few.
    fn patches(&self, frames: &[RgbImage]) -> Patches {
        let shape = self.shape();
        let (patch, merge) = (shape.patch_size, shape.merge);
        patchify(frames, patch, shape.moments, merge, &shape.normalization)
    }

    /// Pixels to patches: one still picture, or the frames of one video.
    ///
    /// # Errors
    /// When a picture's shape is refused.
    fn preprocess(&self, frames: &[RgbImage], budget: &Budget) -> Result<Patches, Error> {
        let Some(first) = frames.first() else {
            return Err(Error::NoFrames);
        };
        let grid = self.grid(first.width, first.height, budget)?;
        let resized: Vec<RgbImage> = frames.iter().map(|frame| self.fit(frame, &grid)).collect();
        Ok(self.patches(&resized))
    }
}
