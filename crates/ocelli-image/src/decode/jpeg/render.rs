//! Planes to pixels: chroma brought to full size, colours to RGB.
//!
//! All of it in libjpeg-turbo's arithmetic: halved chroma is enlarged with weights 3/4 and 1/4 whose
//! rounding alternates, other ratios by repetition, and colours use 16 fraction bits.

use super::frame::{Component, Frame};
use super::unsupported;
use crate::parallel;
use crate::{Error, RgbImage};

/// What the components mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColourSpace {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

impl ColourSpace {
    /// By number and names of the components and the markers of two application formats.
    pub(super) fn of(
        frame: &Frame,
        jfif: bool,
        adobe_transform: Option<u8>,
    ) -> Result<Self, Error> {
        let names: Vec<u8> = frame
            .components
            .iter()
            .map(|component| component.id)
            .collect();
        Ok(match (names.as_slice(), adobe_transform) {
            ([_], _) => Self::Grey,
            ([_, _, _], Some(0)) if !jfif => Self::Rgb,
            ([b'R', b'G', b'B'], None) if !jfif => Self::Rgb,
            ([_, _, _], _) => Self::YCbCr,
            ([_, _, _, _], None | Some(0)) => Self::Cmyk,
            // 2, and what the reference takes for it.
            ([_, _, _, _], Some(_)) => Self::Ycck,
            _ => return Err(unsupported("a number of colours other than 1, 3 or 4")),
        })
    }
}

/// How a component's samples are brought to full size.
#[derive(Clone, Copy)]
enum Enlarge {
    None,
    SmoothH2,
    SmoothV2,
    SmoothH2V2,
    Repeat(usize, usize),
}

impl Enlarge {
    fn of(component: &Component, frame: &Frame) -> Self {
        // Pictures of one or two chroma columns are too narrow to smooth along.
        let is_wide = component.size.0 > 2;
        match (frame.most_h / component.h, frame.most_v / component.v) {
            (1, 1) => Self::None,
            (2, 1) if is_wide => Self::SmoothH2,
            (1, 2) => Self::SmoothV2,
            (2, 2) if is_wide => Self::SmoothH2V2,
            (h, v) => Self::Repeat(h, v),
        }
    }
}

/// The whole picture, row by row in parallel.
pub(super) fn to_rgb(frame: &Frame, space: ColourSpace) -> Result<RgbImage, Error> {
    let width = frame.width as usize;
    let mut pixels = vec![0; width * frame.height as usize * 3];
    let ways: Vec<Enlarge> = frame
        .components
        .iter()
        .map(|component| Enlarge::of(component, frame))
        .collect();
    // Enlarged rows may exceed the picture by less than one enlarged sample.
    let scratch = || {
        (
            vec![vec![0u8; width + 8]; frame.components.len()],
            Vec::new(),
        )
    };
    parallel::for_each_chunk_with(&mut pixels, width * 3, scratch, |(rows, sums), y, out| {
        for ((row, component), way) in rows.iter_mut().zip(&frame.components).zip(&ways) {
            enlarge_row(component, *way, y, row, sums);
        }
        match (space, rows.as_slice()) {
            (ColourSpace::Rgb, [red, green, blue]) => {
                convert(out, [red, green, blue], |red, green, blue| {
                    [red, green, blue]
                });
            }
            (ColourSpace::YCbCr, [luma, blue, red]) => convert(out, [luma, blue, red], ycc_to_rgb),
            (ColourSpace::Cmyk | ColourSpace::Ycck, [first, second, third, key]) => {
                let is_ycck = space == ColourSpace::Ycck;
                let colours = first.iter().zip(second).zip(third).zip(key);
                for (pixel, (((&a, &b), &c), &key)) in out.chunks_exact_mut(3).zip(colours) {
                    pixel.copy_from_slice(&inverted_cmyk_to_rgb(a, b, c, key, is_ycck));
                }
            }
            (_, rows) => {
                for (pixel, &grey) in out.chunks_exact_mut(3).zip(&rows[0]) {
                    pixel.fill(grey);
                }
            }
        }
    });
    RgbImage::new(frame.width, frame.height, pixels)
}

fn convert(out: &mut [u8], [a, b, c]: [&[u8]; 3], colour: impl Fn(u8, u8, u8) -> [u8; 3]) {
    for (((pixel, &a), &b), &c) in out.as_chunks_mut::<3>().0.iter_mut().zip(a).zip(b).zip(c) {
        *pixel = colour(a, b, c);
    }
}

/// BT.601 with full range.
#[inline]
fn ycc_to_rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    [
        luma + ((91_881 * red + HALF) >> 16),
        luma + ((-22_554 * blue - 46_802 * red + HALF) >> 16),
        luma + ((116_130 * blue + HALF) >> 16),
    ]
    .map(|value| value.clamp(0, 255) as u8)
}

/// Files store ink inverted, as Adobe's programs write it: 255 is no ink.
fn inverted_cmyk_to_rgb(a: u8, b: u8, c: u8, key: u8, is_ycck: bool) -> [u8; 3] {
    let bare = if is_ycck {
        ycc_to_rgb(a, b, c).map(|value| 255 - value)
    } else {
        [a, b, c]
    };
    let light = u32::from(key);
    bare.map(|bare| {
        // Ink times light, divided by 255 and rounded to nearest.
        let product = (255 - u32::from(bare)) * light + 128;
        (light - (((product >> 8) + product) >> 8)) as u8
    })
}

/// Row `y` of the full-size picture for one component.
fn enlarge_row(component: &Component, way: Enlarge, y: usize, row: &mut [u8], sums: &mut Vec<u16>) {
    let (width, height) = component.size;
    let line = |y: usize| &component.plane[y.min(height - 1) * component.stride * 8..][..width];
    // The second-nearest row of a picture of half the height.
    let neighbour = |y: usize| {
        line(if y.is_multiple_of(2) {
            (y / 2).saturating_sub(1)
        } else {
            y / 2 + 1
        })
    };
    match way {
        Enlarge::None => row[..width].copy_from_slice(line(y)),
        Enlarge::SmoothV2 => {
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            for ((out, &near), &far) in row.iter_mut().zip(line(y / 2)).zip(neighbour(y)) {
                *out = ((u16::from(near) * 3 + u16::from(far) + bias) >> 2) as u8;
            }
        }
        Enlarge::SmoothH2 => {
            sums.clear();
            sums.extend(line(y).iter().map(|&sample| u16::from(sample)));
            smooth_across(sums, row, 2, [1, 2]);
        }
        Enlarge::SmoothH2V2 => {
            sums.clear();
            let pairs = line(y / 2).iter().zip(neighbour(y));
            sums.extend(pairs.map(|(&near, &far)| u16::from(near) * 3 + u16::from(far)));
            smooth_across(sums, row, 4, [8, 7]);
        }
        Enlarge::Repeat(h, v) => {
            for (out, &sample) in row.chunks_mut(h).zip(line(y / v)) {
                out.fill(sample);
            }
        }
    }
}

/// Each sample becomes two: three quarters of it and one quarter of its neighbour on that side. `shift` takes
/// the weights out, `bias` rounds the left and the right one. The outermost ones stand alone.
fn smooth_across(samples: &[u16], row: &mut [u8], shift: u32, bias: [u16; 2]) {
    let last = samples.len() - 1;
    let mix = |near: u16, far: u16, side: usize| ((near * 3 + far + bias[side]) >> shift) as u8;
    let inner = row[2..].chunks_exact_mut(2).zip(samples.windows(3));
    for (out, window) in inner {
        out[0] = mix(window[1], window[0], 0);
        out[1] = mix(window[1], window[2], 1);
    }
    row[0] = mix(samples[0], samples[0], 0);
    row[1] = mix(samples[0], samples[1], 1);
    let ends = [
        mix(samples[last], samples[last - 1], 0),
        mix(samples[last], samples[last], 1),
    ];
    row[2 * last..2 * last + 2].copy_from_slice(&ends);
}
