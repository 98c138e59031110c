//! Antialiased resampling on 8-bit samples, bit for bit as torchvision's `resize(.., antialias=True)`.
//!
//! ```text
//! for each axis that changes, width first:
//!     weights = kernel sampled around each output's centre, normalised, as 16-bit fixed point
//!     out     = clamp((half + sum of weight * sample) >> precision, 0, 255)
//! ```
//! The picture between the two passes is rounded and clamped to 8 bits like the result; keeping it
//! in floats would differ by up to 22 levels on noise.
//!
//! Both passes are the same loop, [`weigh`]: weighted sums of whole lines of samples. The vertical pass has
//! such lines already (rows). The horizontal pass makes them: it turns a band of rows so that the same
//! column of all its rows and channels lies side by side. Plain 16-bit products over long lines
//! are what the compiler vectorises on every machine.

use std::f64::consts::PI;

use crate::RgbImage;
use crate::parallel;

/// The resampling kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2; the Qwen families use it.
    #[default]
    Bicubic,
    /// Windowed sinc, support 3.
    Lanczos,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let distance = x.abs();
        match self {
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Bicubic if distance < 1.0 => {
                ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
            }
            Self::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
            }
            Self::Bicubic => 0.0,
            Self::Lanczos if distance < 3.0 => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (x * PI).sin() / (x * PI)
    }
}

/// `image` at another size, antialiased bicubic. Panics if a side is zero.
pub fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    resize_with(image, width, height, Filter::Bicubic)
}

/// `image` at another size through any [`Filter`]. Panics if a side is zero.
pub fn resize_with(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    assert!(width > 0 && height > 0, "resize to {width}x{height}");
    assert!(
        image.width > 0 && image.height > 0,
        "resize of an empty picture"
    );
    let narrowed;
    let mut current = image;
    if image.width != width {
        narrowed = resample_width(image, width, &Axis::new(image.width, width, filter));
        current = &narrowed;
    }
    if current.height == height {
        return current.clone();
    }
    resample_height(current, height, &Axis::new(current.height, height, filter))
}

/// The weights of one axis in fixed point.
struct Axis {
    /// For each output: its first input and where its weights lie in `weights`.
    windows: Vec<Window>,
    weights: Vec<i16>,
    /// Fraction bits of the weights.
    precision: u32,
}

struct Window {
    first: usize,
    weights: std::ops::Range<usize>,
}

impl Axis {
    fn new(input: u32, output: u32, filter: Filter) -> Self {
        let scale = f64::from(input) / f64::from(output);
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let mut windows = Vec::with_capacity(output as usize);
        let mut exact: Vec<f64> = Vec::new();
        for x in 0..output {
            let centre = (f64::from(x) + 0.5) * scale;
            // Casting truncates towards zero and saturates, which is the clamp at 0.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input as usize);
            let start = exact.len();
            exact.extend((first..end).map(|j| filter.weight((j as f64 - centre + 0.5) / stretch)));
            let sum: f64 = exact[start..].iter().sum();
            if sum != 0.0 {
                exact[start..].iter_mut().for_each(|weight| *weight /= sum);
            }
            windows.push(Window {
                first,
                weights: start..exact.len(),
            });
        }
        let precision = precision(exact.iter().copied().fold(0.0, f64::max));
        let unit = f64::from(1u32 << precision);
        let fixed = |weight: &f64| (weight * unit + 0.5_f64.copysign(*weight)) as i16;
        Self {
            windows,
            weights: exact.iter().map(fixed).collect(),
            precision,
        }
    }
}

/// The most fraction bits with which the largest weight still fits 16 bits, at most 22.
fn precision(largest: f64) -> u32 {
    (0..22)
        .find(|bits| (0.5 + largest * f64::from(1u32 << (bits + 1))) as i64 >= 1 << 15)
        .unwrap_or(22)
}

/// Samples whose weighted sums are taken together; their sums stay in registers.
const LANES: usize = 48;

/// Sixteen rows of three channels make one line of the horizontal pass.
const BAND_ROWS: usize = LANES / 3;

/// `out[i] = clamp((half + sum over j of weights[j] * line(j)[i]) >> precision)`.
#[inline]
fn weigh<'a, T: Copy + Into<i16> + 'a>(
    out: &mut [u8; LANES],
    weights: &[i16],
    precision: u32,
    line: impl Fn(usize) -> &'a [T; LANES],
) {
    let mut sums = [1i32 << (precision - 1); LANES];
    for (j, &weight) in weights.iter().enumerate() {
        for (sum, &sample) in sums.iter_mut().zip(line(j)) {
            // Both factors are 16-bit, so that this is one vector multiplication without SSE4.1 too.
            let sample: i16 = sample.into();
            *sum += i32::from(weight) * i32::from(sample);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = (sum >> precision).clamp(0, 255) as u8;
    }
}

/// The horizontal pass, band by band: turn, weigh, turn back.
fn resample_width(image: &RgbImage, width: u32, axis: &Axis) -> RgbImage {
    let (stride, new_stride) = (image.width as usize * 3, width as usize * 3);
    let mut pixels = vec![0; new_stride * image.height as usize];
    let scratch = || vec![[0i16; LANES]; image.width as usize];
    parallel::for_each_chunk_with(
        &mut pixels,
        new_stride * BAND_ROWS,
        scratch,
        |columns, band, out| {
            let rows = &image.pixels[band * BAND_ROWS * stride..];
            // The last band may have fewer rows; what an earlier band left in the others is not read back.
            for (r, row) in rows.chunks_exact(stride).take(BAND_ROWS).enumerate() {
                for (column, pixel) in columns.iter_mut().zip(row.chunks_exact(3)) {
                    column[3 * r] = i16::from(pixel[0]);
                    column[3 * r + 1] = i16::from(pixel[1]);
                    column[3 * r + 2] = i16::from(pixel[2]);
                }
            }
            let mut sums = [0u8; LANES];
            for (x, window) in axis.windows.iter().enumerate() {
                let weights = &axis.weights[window.weights.clone()];
                let columns = &columns[window.first..][..weights.len()];
                weigh(&mut sums, weights, axis.precision, |j| &columns[j]);
                for (row, pixel) in out.chunks_exact_mut(new_stride).zip(sums.chunks_exact(3)) {
                    row[3 * x..3 * x + 3].copy_from_slice(pixel);
                }
            }
        },
    );
    RgbImage {
        width,
        height: image.height,
        pixels,
    }
}

/// The vertical pass: each output row is a weighted sum of rows.
fn resample_height(image: &RgbImage, height: u32, axis: &Axis) -> RgbImage {
    let stride = image.width as usize * 3;
    let mut pixels = vec![0; stride * height as usize];
    parallel::for_each_chunk(&mut pixels, stride, |y, out| {
        let window = &axis.windows[y];
        let weights = &axis.weights[window.weights.clone()];
        let rows = &image.pixels[window.first * stride..][..weights.len() * stride];
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        for (block, sums) in blocks.iter_mut().enumerate() {
            weigh(sums, weights, axis.precision, |j| {
                lanes_at(rows, j * stride + block * LANES)
            });
        }
        let done = stride - rest.len();
        for (i, out) in rest.iter_mut().enumerate() {
            let half = 1i32 << (axis.precision - 1);
            let sum = weights.iter().enumerate().fold(half, |sum, (j, &weight)| {
                sum + i32::from(weight) * i32::from(rows[j * stride + done + i])
            });
            *out = (sum >> axis.precision).clamp(0, 255) as u8;
        }
    });
    RgbImage {
        width: image.width,
        height,
        pixels,
    }
}

/// `LANES` samples from `at` on.
fn lanes_at(rows: &[u8], at: usize) -> &[u8; LANES] {
    let (lanes, _) = rows[at..].as_chunks::<LANES>();
    &lanes[0]
}
