//! What is added to the products of a group besides those of its codes.

use std::ops::Range;

use super::GROUPS;
use crate::operand::{GROUP, SUM};
use crate::panels::cast::bits;
use crate::panels::coded::{Coding, Minima};
use crate::vector::Simd;
use crate::{CHUNK, LANES, Matrix, Operand};

/// Sums of 16 bytes that are turned into terms together, and the scales of their groups. Loops of
/// this length become vectors.
const RUN: usize = LANES;

/// See [`RUN`].
const RUN_SCALES: usize = RUN * SUM / GROUP;

/// For each group of some inputs of a row, which has `row_inputs`: where its sum starts, so that it is one of codes without their offset
/// and their bias, or, where the type has minima, the bits of what a minimum is multiplied by.
/// Nothing where neither is needed.
#[inline(always)]
pub(crate) fn add_terms<S: Simd>(
    coding: &Coding,
    row: &[f32],
    row_inputs: usize,
    inputs: Range<usize>,
    terms: &mut [i32],
) {
    let Some(kind) = Terms::of_coding::<S>(coding) else {
        return;
    };
    let operand = Operand::Int8Groups;
    let (scales_at, totals_at) = (
        operand.code_words(row_inputs),
        operand.totals_at(row_inputs),
    );
    let scales = &row[scales_at + inputs.start / GROUP..][..inputs.len() / GROUP];
    let totals = bits(&row[totals_at + inputs.start / SUM..][..inputs.len() / SUM]);
    let terms = &mut terms[..inputs.len() / coding.group];
    kind.fill(totals, scales, terms);
}

/// [`add_terms`] for a chunk of all rows, `[rows][16]`. Nothing where rows hold them already.
#[inline(always)]
pub(super) fn add_chunk_terms<S: Simd>(
    coding: &Coding,
    x: Matrix<'_>,
    row_inputs: usize,
    inputs: Range<usize>,
    terms: &mut [i32],
) {
    let kind = match Terms::of_coding::<S>(coding) {
        None | Some(Terms::LongMinima) => return,
        Some(kind) => kind,
    };
    let operand = Operand::Int8Groups;
    let scales_at = operand.code_words(row_inputs) + inputs.start / GROUP;
    let totals_at = operand.totals_at(row_inputs) + inputs.start / SUM;
    let is_whole = inputs.len() == CHUNK;
    for (row, terms) in terms.as_chunks_mut::<GROUPS>().0.iter_mut().enumerate() {
        let row = x.row(row);
        let (scales, totals) = (&row[scales_at..], bits(&row[totals_at..]));
        match (scales.first_chunk(), totals.first_chunk()) {
            (Some(scales), Some(totals)) if is_whole => *terms = kind.of(totals, scales),
            _ => add_terms::<S>(coding, row, row_inputs, inputs.clone(), terms),
        }
    }
}

/// What terms are made of: groups of 32 or of 16 inputs, with minima or not.
#[derive(Clone, Copy)]
enum Terms {
    /// `-(scale * total)` of groups of 32, as bits.
    LongMinima,
    /// `-(scale * total)` of groups of 16, as bits.
    ShortMinima,
    /// `-offset * total` of groups of 32.
    LongOffsets(i32),
    /// `-offset * total` of groups of 16.
    ShortOffsets(i32),
}

impl Terms {
    /// Those of a coding, if it needs any.
    #[inline(always)]
    fn of_coding<S: Simd>(coding: &Coding) -> Option<Self> {
        let offset = coding.offset + if coding.is_signed() { S::BIAS } else { 0 };
        match (coding.group == GROUP, coding.minima != Minima::None) {
            (true, true) => Some(Self::LongMinima),
            (false, true) => Some(Self::ShortMinima),
            (_, false) if offset == 0 => None,
            (true, false) => Some(Self::LongOffsets(offset)),
            (false, false) => Some(Self::ShortOffsets(offset)),
        }
    }

    #[inline(always)]
    fn fill(self, totals: &[i32], scales: &[f32], terms: &mut [i32]) {
        let of_run = match self {
            Self::LongMinima | Self::LongOffsets(_) => RUN_SCALES,
            Self::ShortMinima | Self::ShortOffsets(_) => RUN,
        };
        let (runs, last) = totals.as_chunks::<RUN>();
        let (scale_runs, last_scales) = scales.as_chunks::<RUN_SCALES>();
        let mut targets = terms.chunks_mut(of_run);
        for ((totals, scales), terms) in runs.iter().zip(scale_runs).zip(&mut targets) {
            let made = self.of(totals, scales);
            terms.copy_from_slice(&made[..terms.len()]);
        }
        if let Some(terms) = targets.next() {
            let (mut totals, mut scales) = ([0; RUN], [0.0; RUN_SCALES]);
            totals[..last.len()].copy_from_slice(last);
            scales[..last_scales.len()].copy_from_slice(last_scales);
            let made = self.of(&totals, &scales);
            terms.copy_from_slice(&made[..terms.len()]);
        }
    }

    /// The terms of a run, one for each group it has.
    #[inline(always)]
    fn of(self, totals: &[i32; RUN], scales: &[f32; RUN_SCALES]) -> [i32; RUN] {
        let mut terms = [0; RUN];
        let pair = |index: usize| totals[2 * index] + totals[2 * index + 1];
        match self {
            Self::LongMinima => {
                for (index, scale) in scales.iter().enumerate() {
                    terms[index] = (-(scale * pair(index) as f32)).to_bits() as i32;
                }
            }
            Self::ShortMinima => {
                for (index, total) in totals.iter().enumerate() {
                    terms[index] = (-(scales[index / 2] * *total as f32)).to_bits() as i32;
                }
            }
            Self::LongOffsets(offset) => {
                for (index, term) in terms[..RUN_SCALES].iter_mut().enumerate() {
                    *term = -offset * pair(index);
                }
            }
            Self::ShortOffsets(offset) => {
                for (term, total) in terms.iter_mut().zip(totals) {
                    *term = -offset * total;
                }
            }
        }
        terms
    }
}
