//! Pixels to encoder rows: normalisation and the reference's patch order.

use crate::parallel;
use crate::{Grid, RgbImage};

/// Mean and standard deviation of each channel, on the 0..1 scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Mean of red, green, blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue.
    pub std: [f32; 3],
}

impl Normalization {
    /// 0.5 everywhere: Qwen3-VL.
    pub const HALF: Self = Self {
        mean: [0.5; 3],
        std: [0.5; 3],
    };

    /// The constants of OpenAI's CLIP: Qwen2-VL, Qwen2.5-VL.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// The value of each of the 256 samples of a channel.
    ///
    /// The reference folds the 1/255 into mean and deviation, in this order of operations;
    /// `(sample / 255 - mean) / std` would differ in the last bits.
    fn table(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel] * 255.0, self.std[channel] * 255.0);
        std::array::from_fn(|sample| (sample as f32 - mean) / std)
    }
}

/// A picture as the encoder reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// `[patches, 3 * temporal_patch_size * patch_size * patch_size]`. Rows go frame by frame,
    /// block row, block column, then row and column inside the merge block; a row is channel,
    /// frame, y, x.
    pub pixels: Vec<f32>,
    /// The number of patches along each axis.
    pub grid: Grid,
}

/// Cuts pictures whose sides are multiples of `patch_size * merge` into normalised rows.
///
/// `frames` is one still picture, which stands for all `temporal_patch_size` moments of its
/// patches, or several frames of equal size; the last is repeated until their number is a multiple
/// of `temporal_patch_size`.
///
/// Panics if there is no frame, if sizes differ or if they are not such multiples:
/// [`Grid::for_image`] and [`crate::resize`] come first.
pub fn patchify(
    frames: &[RgbImage],
    patch_size: u32,
    temporal_patch_size: u32,
    merge: u32,
    normalization: &Normalization,
) -> Patches {
    let (first, factor) = (&frames[0], patch_size * merge);
    assert!(
        frames
            .iter()
            .all(|f| (f.width, f.height) == (first.width, first.height)),
        "frames differ in size"
    );
    assert!(
        first.width.is_multiple_of(factor) && first.height.is_multiple_of(factor),
        "{}x{} is not a multiple of {factor}",
        first.width,
        first.height
    );
    let (size, moments) = (patch_size as usize, temporal_patch_size as usize);
    let grid = Grid {
        t: (frames.len() as u32).div_ceil(temporal_patch_size),
        h: first.height / patch_size,
        w: first.width / patch_size,
        merge,
        tiles: None,
    };
    let row_len = 3 * moments * size * size;
    let mut pixels = vec![0.0; grid.patches() * row_len];
    let tables = [0, 1, 2].map(|channel| normalization.table(channel));
    parallel::for_each_chunk(&mut pixels, row_len, |patch, row| {
        let (t, y, x) = place(patch, &grid);
        for (part, plane) in row.chunks_exact_mut(size * size).enumerate() {
            let (channel, moment) = (part / moments, part % moments);
            let frame = &frames[(t * moments + moment).min(frames.len() - 1)];
            let table = &tables[channel];
            for (dy, line) in plane.chunks_exact_mut(size).enumerate() {
                let samples = &frame.row((y * size + dy) as u32)[x * size * 3..][..size * 3];
                for (value, pixel) in line.iter_mut().zip(samples.chunks_exact(3)) {
                    *value = table[usize::from(pixel[channel])];
                }
            }
        }
    });
    Patches { pixels, grid }
}

/// The place (t, row, column in patches) of a patch by its number: merge blocks follow each other, each
/// block's patches stay together, because one token is made of them.
fn place(patch: usize, grid: &Grid) -> (usize, usize, usize) {
    let merge = grid.merge as usize;
    let (block, inside) = (patch / (merge * merge), patch % (merge * merge));
    let (blocks_h, blocks_w) = (grid.merged_h() as usize, grid.merged_w() as usize);
    let (t, block) = (block / (blocks_h * blocks_w), block % (blocks_h * blocks_w));
    let y = block / blocks_w * merge + inside / merge;
    let x = block % blocks_w * merge + inside % merge;
    (t, y, x)
}
