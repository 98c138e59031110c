//! Panels to `f32`, one element at a time.

use std::ops::Range;

use half::{bf16, f16};
use ocelli_quant::{TensorType, dequantize};

use crate::panels::coded::{Coding, GroupScales, HALVES, Minima};
use crate::{CHUNK, LANES, PanelFormat, Panels};

/// See [`crate::Kernels::unpack`].
pub(crate) fn unpack(weight: Panels<'_>, panel: usize, inputs: Range<usize>, out: &mut [f32]) {
    assert!(
        inputs.start.is_multiple_of(CHUNK) && inputs.len() <= CHUNK,
        "{inputs:?} is no chunk"
    );
    assert_eq!(out.len(), inputs.len() * LANES, "16 values per input");
    let bytes = weight.panel(panel);
    let elements = inputs.start * LANES..inputs.end * LANES;
    match weight.format() {
        PanelFormat::F32 => {
            let values = &bytes.as_chunks().0[elements];
            convert(values, out, |b| f32::from_le_bytes(*b));
        }
        PanelFormat::F16 => {
            let values = &bytes.as_chunks().0[elements];
            convert(values, out, |b| f16::from_le_bytes(*b).to_f32());
        }
        PanelFormat::BF16 => {
            let values: &[[u8; 2]] = bytes.as_chunks().0;
            for (i, out) in out.iter_mut().enumerate() {
                let (input, lane) = (inputs.start + i / LANES, i % LANES);
                let value = values[(input / 2 * LANES + lane) * 2 + input % 2];
                *out = bf16::from_le_bytes(value).to_f32();
            }
        }
        PanelFormat::Bytes => {
            let scales = &weight.scales_of_bytes(panel)[inputs.start / CHUNK * LANES..];
            for (i, out) in out.iter_mut().enumerate() {
                let (input, lane) = (inputs.start + i / LANES, i % LANES);
                *out = weight.byte(panel, lane, input) as f32 * scales[lane];
            }
        }
        PanelFormat::Coded(code) => {
            let coding = code.coding();
            let block = |input: usize| input / coding.elements * coding.bytes;
            unpack_coded(coding, &bytes[block(inputs.start)..block(inputs.end)], out);
        }
        PanelFormat::Blocks(ty) => unpack_blocks(ty, bytes, inputs, out),
    }
}

fn convert<const SIZE: usize>(
    values: &[[u8; SIZE]],
    out: &mut [f32],
    f: impl Fn(&[u8; SIZE]) -> f32,
) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = f(value);
    }
}

/// `scale * (code - offset) - minimum` for interleaved blocks.
fn unpack_coded(coding: &Coding, blocks: &[u8], out: &mut [f32]) {
    let values = out.chunks_exact_mut(coding.elements * LANES);
    for (block, values) in blocks.chunks_exact(coding.bytes).zip(values) {
        for (i, value) in values.iter_mut().enumerate() {
            let (input, lane) = (i / LANES, i % LANES);
            let (scale, minimum) = scale_and_minimum(coding, block, input / coding.group, lane);
            let scaled = scale * (coding.code(block, lane, input) - coding.offset) as f32;
            *value = if coding.minima == Minima::None {
                scaled
            } else {
                scaled - minimum
            };
        }
    }
}

/// Scale and minimum of a row's group of inputs.
pub(super) fn scale_and_minimum(
    coding: &Coding,
    block: &[u8],
    group: usize,
    lane: usize,
) -> (f32, f32) {
    let half = |start: usize| {
        f16::from_le_bytes([block[start + 2 * lane], block[start + 2 * lane + 1]]).to_f32()
    };
    let group = group * LANES + lane;
    let scale_byte = || block[coding.scales_at + group];
    let scale = match coding.scales {
        GroupScales::None => 1.0,
        GroupScales::Unsigned => f32::from(scale_byte()),
        GroupScales::Signed => f32::from(scale_byte() as i8),
        GroupScales::Nibbles => f32::from(scale_byte() & 15),
    };
    let minimum = match coding.minima {
        Minima::None => 0.0,
        Minima::Block => -half(HALVES),
        Minima::Bytes(start) => half(HALVES) * f32::from(block[start + group]),
        Minima::Nibbles => half(HALVES) * f32::from(scale_byte() >> 4),
    };
    (half(0) * scale, minimum)
}

/// 16 rows of blocks as in the file.
fn unpack_blocks(ty: TensorType, bytes: &[u8], inputs: Range<usize>, out: &mut [f32]) {
    let row_bytes = bytes.len() / LANES;
    let block = |input: usize| input / ty.block_elements() * ty.block_bytes();
    let mut values = [0.0; CHUNK];
    let values = &mut values[..inputs.len()];
    for lane in 0..LANES {
        let row = &bytes[lane * row_bytes..][..row_bytes];
        dequantize(ty, &row[block(inputs.start)..block(inputs.end)], values)
            .expect("a runnable type in whole blocks");
        for (out, value) in out.iter_mut().skip(lane).step_by(LANES).zip(values.iter()) {
            *out = *value;
        }
    }
}
