//! Numbers as bytes with a scale for each chunk of inputs: what a product of bytes in chunks takes as it is.
//!
//! A panel is `[words][16]` words of four bytes, one for each output, then `[chunks][16]` scales.
//! Bytes are -127..=127 with 128 added, and 128 behind the last input up to a whole word tile and
//! in absent rows: `value = (byte - 128) * scale`, `scale = max |value| / 127` over the chunk of
//! the output.

use crate::panels::cast;
use crate::{CHUNK, LANES, Operand, Panels};

/// What is added to each byte.
pub(crate) const BIAS: i32 = 128;

/// Bytes of the words of a panel.
fn word_bytes(inputs: usize) -> Option<usize> {
    let bytes = inputs.checked_next_multiple_of(64)?;
    bytes.checked_mul(LANES)
}

/// Bytes of a panel; none when that overflows.
pub(super) fn panel_bytes(inputs: usize) -> Option<usize> {
    let scales = inputs
        .div_ceil(CHUNK)
        .checked_mul(LANES * size_of::<f32>())?;
    word_bytes(inputs)?.checked_add(scales)
}

/// Packs up to 16 rows of singles.
pub(super) fn pack(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    let inputs = row_bytes / size_of::<f32>();
    let words = inputs.next_multiple_of(64) * LANES;
    let (words, scales) = panel.split_at_mut(words);
    words.fill(BIAS as u8);
    let scales = scales.as_chunks_mut::<4>().0;
    let mut bytes = [0; CHUNK];
    for (lane, row) in rows.chunks_exact(row_bytes.max(1)).enumerate() {
        let values = row.as_chunks::<4>().0;
        for (chunk, values) in values.chunks(CHUNK).enumerate() {
            let bytes = &mut bytes[..values.len().next_multiple_of(4)];
            bytes.fill(BIAS as u8);
            let scale = round(values, bytes);
            scales[chunk * LANES + lane] = scale.to_le_bytes();
            let words = words[chunk * CHUNK * LANES..]
                .as_chunks_mut::<{ 4 * LANES }>()
                .0;
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                word[4 * lane..][..4].copy_from_slice(bytes);
            }
        }
    }
}

/// Rounds the values of a chunk; their scale, which is not a number where a value is not finite.
fn round(values: &[[u8; 4]], bytes: &mut [u8]) -> f32 {
    // Adding this leaves the nearest whole number, to even between two, in the lowest bits; the
    // bias is in it, too.
    const SHIFT: f32 = 12_582_912.0 + BIAS as f32;
    let values = values.iter().map(|value| f32::from_le_bytes(*value));
    let (largest, poison) = values
        .clone()
        .fold((0.0_f32, 0.0), |(most, poison), value| {
            (most.max(value.abs()), poison + value * 0.0)
        });
    // Values so small do not matter, and the inverse of their scale may be infinite.
    let inverse = if largest > 1e-30 {
        127.0 / largest
    } else {
        0.0
    };
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = (value * inverse + SHIFT).to_bits() as u8;
    }
    largest / 127.0 + poison
}

impl<'a> Panels<'a> {
    /// Scales of a panel of bytes: `[chunks][16]`.
    pub(crate) fn scales_of_bytes(&self, panel: usize) -> &'a [f32] {
        let words = Operand::Int8Chunks.code_words(self.inputs()) * LANES * size_of::<i32>();
        cast::singles(&self.panel(panel)[words..])
    }

    /// A byte of an output, as the signed number it is.
    pub(crate) fn byte(&self, panel: usize, lane: usize, input: usize) -> i32 {
        let at = (input / 4 * LANES + lane) * 4 + input % 4;
        i32::from(self.panel(panel)[at]) - BIAS
    }
}
