//! Panels to `f32`, 16 elements at a time, and quantised ones to pairs of halves.

use std::ops::Range;

use crate::panels::bytes::BIAS;
use crate::scalar::unpack::unpack as unpack_scalar;
use crate::vector::Simd;
use crate::vector::bytes::four;
use crate::vector::decode::{
    self, Coded, ScaleAndMinimum, UNIT, UnitPlace, codes, has_minima, scale_and_minimum,
    upper_planes,
};
use crate::vector::halves::Halves;
use crate::vector::tile::{self, Lanes, Singles};
use crate::{CHUNK, LANES, PanelFormat, Panels};

/// See [`crate::Kernels::unpack`].
#[inline(always)]
pub(crate) fn unpack<S: Simd>(
    s: S,
    weight: Panels<'_>,
    panel: usize,
    inputs: Range<usize>,
    out: &mut [f32],
) {
    assert!(
        inputs.start.is_multiple_of(CHUNK) && inputs.len() <= CHUNK,
        "{inputs:?} is no chunk"
    );
    assert_eq!(out.len(), inputs.len() * LANES, "16 values per input");
    let elements = inputs.start * LANES..inputs.end * LANES;
    let panels = weight.part(panel * LANES..((panel + 1) * LANES).min(weight.outputs()));
    match weight.format() {
        PanelFormat::F32 => convert::<S, Singles>(s, &panels.singles()[elements], out),
        PanelFormat::F16 => convert::<S, tile::Halves>(s, &panels.halves()[elements], out),
        PanelFormat::BF16 => {
            let words = &panels.words()[inputs.start / 2 * LANES..];
            for (out, words) in out.chunks_mut(2 * LANES).zip(words.as_chunks::<LANES>().0) {
                let values = halves_of(s, s.load_ints(words));
                for (value, out) in values.into_iter().zip(out.as_chunks_mut::<LANES>().0) {
                    s.store(value, out);
                }
            }
        }
        PanelFormat::Bytes => {
            let scales =
                weight.scales_of_bytes(panel)[inputs.start / CHUNK * LANES..].first_chunk();
            let scale = s.load(scales.expect("16 scales for each chunk"));
            let words = panels.words()[inputs.start / 4 * LANES..].as_chunks().0;
            widen_bytes(s, words, scale, out);
        }
        PanelFormat::Coded(code) => {
            let coding = code.coding();
            let block = |input: usize| input / coding.elements * coding.bytes;
            let blocks = &weight.panel(panel)[block(inputs.start)..block(inputs.end)];
            decode::unpack(s, code, blocks, out);
        }
        PanelFormat::Blocks(_) => unpack_scalar(weight, panel, inputs, out),
    }
}

/// Two inputs of a word of pairs.
#[inline(always)]
pub(crate) fn halves_of<S: Simd>(s: S, words: S::Ints) -> [S::Floats; 2] {
    let high = s.and(words, s.splat_int(!0xFFFF));
    [s.float(s.shift_left(words, 16)), s.float(high)]
}

/// Words of four bytes as the numbers they stand for; there may be more words than `out` has room for.
#[inline(always)]
fn widen_bytes<S: Simd>(s: S, words: &[[i32; LANES]], scale: S::Floats, out: &mut [f32]) {
    let bias = s.splat_int(four(BIAS));
    for (out, words) in out.chunks_mut(4 * LANES).zip(words) {
        let mut bytes = s.xor(s.load_ints(words), bias);
        // The lowest byte is shifted to the top for its sign, and what is above it falls off.
        for out in out.as_chunks_mut::<LANES>().0 {
            let byte = s.shift_right_signed(s.shift_left(bytes, 24), 24);
            s.store(s.mul(s.to_float(byte), scale), out);
            bytes = s.shift_right(bytes, 8);
        }
    }
}

#[inline(always)]
fn convert<S: Simd, L: Lanes>(s: S, values: &[L::Element], out: &mut [f32]) {
    let targets = out.as_chunks_mut::<LANES>().0;
    for (target, values) in targets.iter_mut().zip(values.as_chunks::<LANES>().0) {
        s.store(L::load(s, values), target);
    }
}

/// Values of some blocks of a panel: `out[k][lane] = scale (code - offset) - minimum`.
#[inline(always)]
pub(super) fn unpack_as<S: Simd, C: Coded>(s: S, blocks: &[u8], out: &mut [f32]) {
    let coding = &C::CODING;
    let blocks = blocks.chunks_exact(coding.bytes);
    for (block, out) in blocks.zip(out.chunks_exact_mut(coding.elements * LANES)) {
        for (group, out) in out.chunks_exact_mut(coding.group * LANES).enumerate() {
            let ScaleAndMinimum { scale, minimum } = scale_and_minimum::<S, C>(s, block, group);
            let mut planes = upper_planes::<S, C>(s, block, group);
            for (unit, out) in out.chunks_exact_mut(UNIT * LANES).enumerate() {
                let codes = codes::<S, C>(s, block, UnitPlace { group, unit }, &mut planes);
                for (code, out) in codes.into_iter().zip(out.as_chunks_mut().0) {
                    let mut value = code;
                    if coding.offset != 0 {
                        value = s.sub(value, s.splat(coding.offset as f32));
                    }
                    value = s.mul(scale, value);
                    if has_minima::<C>() {
                        value = s.sub(value, minimum);
                    }
                    s.store(value, out);
                }
            }
        }
    }
}

/// [`unpack_as`] for some groups, to words of two inputs, the even one low, rounded to upper halves.
///
/// `fma` gives the bits of [`unpack_as`]: a scale times a code has at most 24 bits, whatever the type.
#[inline(always)]
pub(super) fn unpack_pairs_as<S: Simd, H: Halves<S>, C: Coded>(
    s: S,
    blocks: &[u8],
    groups: Range<usize>,
    out: &mut [i32],
) {
    let coding = &C::CODING;
    let groups_of_block = coding.elements / coding.group;
    for (group, out) in groups.zip(out.chunks_exact_mut(coding.group / 2 * LANES)) {
        let (block, group) = (group / groups_of_block, group % groups_of_block);
        let block = &blocks[block * coding.bytes..][..coding.bytes];
        let ScaleAndMinimum { scale, minimum } = scale_and_minimum::<S, C>(s, block, group);
        let offset = s.mul(scale, s.splat(coding.offset as f32));
        let base = if has_minima::<C>() { minimum } else { offset };
        let base = s.sub(s.splat(0.0), base);
        let mut planes = upper_planes::<S, C>(s, block, group);
        let units = out.as_chunks_mut::<{ UNIT / 2 * LANES }>().0;
        for (unit, out) in units.iter_mut().enumerate() {
            let codes = codes::<S, C>(s, block, UnitPlace { group, unit }, &mut planes);
            let words = out.as_chunks_mut().0;
            for (pair, word) in codes.as_chunks::<2>().0.iter().zip(words) {
                let mut values = *pair;
                for value in &mut values {
                    *value = if has_minima::<C>() || coding.offset != 0 {
                        s.fma(scale, *value, base)
                    } else {
                        s.mul(scale, *value)
                    };
                }
                s.store_ints(H::join(s, values[0], values[1]), word);
            }
        }
    }
}
