//! Panels to `f32`, 16 elements at a time.

use std::ops::Range;

use crate::panels::bytes::BIAS;
use crate::scalar::unpack::unpack as unpack_scalar;
use crate::vector::bytes::four;
use crate::vector::tile::{Halves, Lanes, Singles};
use crate::vector::{Simd, decode};
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
        PanelFormat::F16 => convert::<S, Halves>(s, &panels.halves()[elements], out),
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
