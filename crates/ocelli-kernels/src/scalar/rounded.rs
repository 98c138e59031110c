//! Products of rounded rows by their formulas; see [`crate::Operand`].

use std::ops::Range;

use half::bf16;

use super::finish_panel;
use super::unpack::{scale_and_minimum, unpack};
use crate::operand::{GROUP, SUM};
use crate::panels::cast::{bits, bits_mut, bytes_mut, halves_mut};
use crate::panels::coded::{Coding, Minima};
use crate::{CHUNK, LANES, Operand, PanelFormat, Panels, Product};

/// See [`crate::Kernels::round`].
pub(super) fn round(operand: Operand, x: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), operand.row_words(x.len()), "a rounded row");
    match operand {
        Operand::F32 => out.copy_from_slice(x),
        Operand::Bf16 => {
            out.fill(0.0);
            for (out, x) in halves_mut(out).iter_mut().zip(x) {
                *out = bf16::from_f32(*x).to_bits();
            }
        }
        Operand::Int8Chunks | Operand::Int8Groups => {
            out.fill(0.0);
            let run = operand.scale_inputs();
            let inputs = x.len();
            let (scales_at, totals_at) = (operand.code_words(inputs), operand.totals_at(inputs));
            for (index, x) in x.chunks(run).enumerate() {
                let largest = x.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
                let poison: f32 = x.iter().map(|x| x * 0.0).sum();
                let inverse = if largest > 1e-30 {
                    127.0 / largest
                } else {
                    0.0
                };
                out[scales_at + index] = largest / 127.0 + poison;
                for (i, x) in x.iter().enumerate() {
                    let code = (x * inverse).round_ties_even() as i32 as i8;
                    let place = index * run + i;
                    bytes_mut(out)[place] = code as u8;
                    bits_mut(out)[totals_at + place / operand.sum_inputs()] += i32::from(code);
                }
                if operand == Operand::Int8Groups {
                    let totals = bits(out)[totals_at + index * GROUP / SUM..].iter();
                    let total: i32 = totals.take(x.len().div_ceil(SUM)).sum();
                    out[operand.behind_totals(inputs) + index] =
                        -(out[scales_at + index] * total as f32);
                }
            }
        }
    }
}

/// A product of rounded rows, prompt or generated.
pub(super) fn product(product: &mut Product<'_>) {
    let weight = product.weight;
    for panel in 0..weight.count() {
        let mut sums = vec![0.0; product.x.rows() * LANES];
        for (row, sums) in sums.as_chunks_mut().0.iter_mut().enumerate() {
            let x = product.x.row(row);
            match (product.operand, weight.format()) {
                (Operand::F32, _) => panic!("rows that are not rounded"),
                (Operand::Bf16, _) => add_pairs(x, weight, panel, sums),
                (Operand::Int8Chunks, PanelFormat::Coded(_) | PanelFormat::Bytes) => {
                    add_chunks(x, weight, panel, sums);
                }
                (Operand::Int8Groups, PanelFormat::Bytes) => {
                    add_groups_of_bytes(x, weight, panel, sums);
                }
                (Operand::Int8Groups, PanelFormat::Coded(code)) => {
                    add_groups(x, weight, panel, code.coding(), sums);
                }
                (_, format) => panic!("{format:?} has no codes"),
            }
        }
        finish_panel(product, panel, &mut sums);
    }
}

fn add_pairs(x: &[f32], weight: Panels<'_>, panel: usize, sums: &mut [f32; LANES]) {
    let mut values = vec![0.0; CHUNK * LANES];
    for start in (0..weight.inputs()).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(weight.inputs());
        let values = &mut values[..chunk.len() * LANES];
        unpack(weight, panel, chunk.clone(), values);
        for (input, values) in chunk.zip(values.as_chunks::<LANES>().0) {
            let pair = bits(x)[input / 2] as u32;
            let x = bf16::from_bits((pair >> (input % 2 * 16)) as u16).to_f32();
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += x * bf16::from_f32(*value).to_f32();
            }
        }
    }
}

/// Byte `input` of a rounded row.
fn byte(x: &[f32], input: usize) -> i32 {
    i32::from(bits(x)[input / 4].to_le_bytes()[input % 4] as i8)
}

/// Whole numbers within a chunk of inputs, with weights that are bytes or are recoded to them.
fn add_chunks(x: &[f32], weight: Panels<'_>, panel: usize, sums: &mut [f32; LANES]) {
    let inputs = weight.inputs();
    for start in (0..inputs).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(inputs);
        let scale_x = x[Operand::Int8Chunks.code_words(inputs) + start / CHUNK];
        for (lane, sum) in sums.iter_mut().enumerate() {
            let (bytes, scale) = bytes_of(weight, panel, lane, chunk.clone());
            let products = bytes.iter().zip(start..).map(|(w, i)| w * byte(x, i));
            *sum += products.sum::<i32>() as f32 * (scale * scale_x);
        }
    }
}

/// Bytes that stand for a chunk of an output, and their scale.
fn bytes_of(weight: Panels<'_>, panel: usize, lane: usize, chunk: Range<usize>) -> (Vec<i32>, f32) {
    if let Some(coding) = weight.format().coding() {
        let block = |input: usize| input / coding.elements * coding.bytes;
        let blocks = &weight.panel(panel)[block(chunk.start)..block(chunk.end)];
        return recode(coding, blocks, lane);
    }
    let scale = weight.scales_of_bytes(panel)[chunk.start / CHUNK * LANES + lane];
    let bytes = chunk.map(|input| weight.byte(panel, lane, input));
    (bytes.collect(), scale)
}

/// Whole numbers within a group of inputs, with weights that are bytes.
fn add_groups_of_bytes(x: &[f32], weight: Panels<'_>, panel: usize, sums: &mut [f32; LANES]) {
    let inputs = weight.inputs();
    for start in (0..inputs).step_by(CHUNK) {
        let end = (start + CHUNK).min(inputs);
        for (lane, sum) in sums.iter_mut().enumerate() {
            let mut of_chunk = 0.0;
            for start in (start..end).step_by(GROUP) {
                let group = start..(start + GROUP).min(end);
                let products = group.map(|i| weight.byte(panel, lane, i) * byte(x, i));
                let scale_x = x[Operand::Int8Groups.code_words(inputs) + start / GROUP];
                of_chunk += scale_x * products.sum::<i32>() as f32;
            }
            *sum += weight.scales_of_bytes(panel)[start / CHUNK * LANES + lane] * of_chunk;
        }
    }
}

/// Bytes that stand for a row's blocks, and their scale.
fn recode(coding: &Coding, blocks: &[u8], lane: usize) -> (Vec<i32>, f32) {
    let signed = coding.table.is_some() || coding.planes[0].is_some_and(|plane| plane.bits == 8);
    let bits: usize = coding.planes.iter().flatten().map(|plane| plane.bits).sum();
    let (least, most) = if signed {
        (-128, 127)
    } else {
        (0, (1 << bits) - 1)
    };
    let groups: Vec<(&[u8], usize)> = blocks
        .chunks_exact(coding.bytes)
        .flat_map(|block| (0..coding.elements / coding.group).map(move |group| (block, group)))
        .collect();
    let mut bound = 0.0_f32;
    for (block, group) in &groups {
        let (scale, minimum) = scale_and_minimum(coding, block, *group, lane);
        for code in [least, most] {
            bound = bound.max((scale * (code - coding.offset) as f32 - minimum).abs());
        }
    }
    let inverse = if bound < 1e-30 {
        0.0
    } else {
        127.0 * 256.0 / bound
    };
    let mut bytes = Vec::new();
    for (block, group) in groups {
        let (scale, minimum) = scale_and_minimum(coding, block, group, lane);
        let slope = (scale * inverse).round_ties_even() as i32;
        let base = (-(scale * coding.offset as f32) - minimum) * inverse;
        let base = base.round_ties_even() as i32 + 128;
        for input in group * coding.group..(group + 1) * coding.group {
            bytes.push((coding.code(block, lane, input) * slope + base) >> 8);
        }
    }
    (bytes, bound * (1.0 / 127.0))
}

/// Whole numbers within a group of inputs, with weights in their own codes.
fn add_groups(
    x: &[f32],
    weight: Panels<'_>,
    panel: usize,
    coding: &Coding,
    sums: &mut [f32; LANES],
) {
    let (inputs, operand) = (weight.inputs(), Operand::Int8Groups);
    let totals = &bits(x)[operand.totals_at(inputs)..];
    let blocks = weight.panel(panel).chunks_exact(coding.bytes);
    for (index, block) in blocks.enumerate() {
        for group in 0..coding.elements / coding.group {
            let start = index * coding.elements + group * coding.group;
            let scale_x = x[operand.code_words(inputs) + start / GROUP];
            let sums_of = start / SUM..(start + coding.group) / SUM;
            let total: i32 = totals[sums_of].iter().sum();
            for (lane, sum) in sums.iter_mut().enumerate() {
                let (scale, minimum) = scale_and_minimum(coding, block, group, lane);
                let inside = group * coding.group..(group + 1) * coding.group;
                let products = inside.zip(start..).map(|(input, place)| {
                    (coding.code(block, lane, input) - coding.offset) * byte(x, place)
                });
                *sum += scale * scale_x * products.sum::<i32>() as f32;
                if coding.minima != Minima::None {
                    *sum -= minimum * (scale_x * total as f32);
                }
            }
        }
    }
}
