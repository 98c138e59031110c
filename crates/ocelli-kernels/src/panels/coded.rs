//! Quantised blocks of 16 rows, interleaved so that a lane is a row.
//!
//! A block of a panel holds, in this order (each `[16]` is one entry per row):
//! - `d`: the scale, `[16]` halves; then the scale of minima, `[16]` halves, where there are minima;
//! - a scale byte for each group, `[groups][16]`, and a minimum byte for each group, `[groups][16]`, where there are any;
//! - high bits, `[words][16]` words of 32 bits: `32 / high_bits` inputs a word, where there are any;
//! - low bits, `[words][16]` words of 32 bits: `32 / low_bits` inputs a word.
//!
//! Input `4 g + b` of a word lies in its byte `b`: the bytes of one shift of a word are 4 consecutive inputs, the unit of
//! byte dot products. `value = scale * (code - offset) - minimum`.

use ocelli_quant::{q4_0, q4_k, q5_k, q6_k, q8_0, scale_and_min};

use super::LANES;

/// Layout of one block of a panel.
pub(crate) struct Coding {
    /// Inputs of a block.
    pub(crate) elements: usize,
    /// Inputs that share a scale.
    pub(crate) group: usize,
    /// 4, or 8 for signed bytes.
    pub(crate) low_bits: usize,
    /// 0, 1 or 2.
    pub(crate) high_bits: usize,
    /// What is taken off a code.
    pub(crate) offset: i32,
    /// Scales of groups, if they have their own.
    pub(crate) scales: GroupScales,
    /// Where scales of groups start.
    pub(crate) scales_at: usize,
    /// Where minima of groups start, if there are any.
    pub(crate) minima_at: Option<usize>,
    /// Where high bits start.
    pub(crate) high_at: usize,
    /// Where low bits start.
    pub(crate) low_at: usize,
    /// Bytes of the block.
    pub(crate) bytes: usize,
}

/// What multiplies a block's scale in a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupScales {
    /// Nothing.
    None,
    /// A byte.
    Unsigned,
    /// A signed byte.
    Signed,
}

/// Bytes of a half for each row.
const HALVES: usize = 2 * LANES;

impl Coding {
    /// A block with one scale.
    const fn plain(low_bits: usize, offset: i32) -> Self {
        Self {
            elements: 32,
            group: 32,
            low_bits,
            high_bits: 0,
            offset,
            scales: GroupScales::None,
            scales_at: HALVES,
            minima_at: None,
            high_at: HALVES,
            low_at: HALVES,
            bytes: HALVES + 32 * low_bits / 8 * LANES,
        }
    }

    /// A block of 256 with scales and minima of 8 groups.
    const fn with_minima(high_bits: usize) -> Self {
        let scales_at = 2 * HALVES;
        let high_at = scales_at + 16 * LANES;
        let low_at = high_at + 32 * high_bits * LANES;
        Self {
            elements: 256,
            group: 32,
            low_bits: 4,
            high_bits,
            offset: 0,
            scales: GroupScales::Unsigned,
            scales_at,
            minima_at: Some(scales_at + 8 * LANES),
            high_at,
            low_at,
            bytes: low_at + 128 * LANES,
        }
    }

    pub(crate) const Q4_0: Self = Self::plain(4, 8);
    pub(crate) const Q8_0: Self = Self::plain(8, 0);
    pub(crate) const Q4_K: Self = Self::with_minima(0);
    pub(crate) const Q5_K: Self = Self::with_minima(1);
    pub(crate) const Q6_K: Self = Self {
        elements: 256,
        group: 16,
        low_bits: 4,
        high_bits: 2,
        offset: 32,
        scales: GroupScales::Signed,
        scales_at: HALVES,
        minima_at: None,
        high_at: HALVES + 16 * LANES,
        low_at: HALVES + 80 * LANES,
        bytes: HALVES + 208 * LANES,
    };

    /// The code of an input of a row, its offset not yet taken off.
    pub(crate) fn code(&self, block: &[u8], lane: usize, input: usize) -> i32 {
        let (byte, shift) = self.place(self.low_at, self.low_bits, lane, input);
        if self.low_bits == 8 {
            return i32::from(block[byte] as i8);
        }
        let low = (block[byte] >> shift) & 15;
        if self.high_bits == 0 {
            return i32::from(low);
        }
        let (byte, shift) = self.place(self.high_at, self.high_bits, lane, input);
        let high = (block[byte] >> shift) & ((1 << self.high_bits) - 1);
        i32::from(low | high << 4)
    }

    /// Byte of the block and bit of the byte where the bits of an input start.
    fn place(&self, start: usize, bits: usize, lane: usize, input: usize) -> (usize, usize) {
        let inputs = 32 / bits;
        let (word, inside) = (input / inputs, input % inputs);
        (
            start + (word * LANES + lane) * 4 + inside % 4,
            inside / 4 * bits,
        )
    }

    fn set_code(&self, block: &mut [u8], lane: usize, input: usize, code: u8) {
        let (byte, shift) = self.place(self.low_at, self.low_bits, lane, input);
        if self.low_bits == 8 {
            block[byte] = code;
            return;
        }
        block[byte] |= (code & 15) << shift;
        if self.high_bits > 0 {
            let (byte, shift) = self.place(self.high_at, self.high_bits, lane, input);
            block[byte] |= (code >> 4) << shift;
        }
    }

    fn set_half(&self, block: &mut [u8], start: usize, lane: usize, half: &[u8]) {
        block[start + 2 * lane..][..2].copy_from_slice(&half[..2]);
    }
}

/// One row's block of a file into its lane of a panel's block, which was zero.
pub(super) type PackBlock = fn(&[u8], usize, &mut [u8]);

pub(super) fn pack_q4_0(from: &[u8], lane: usize, to: &mut [u8]) {
    let coding = &Coding::Q4_0;
    coding.set_half(to, 0, lane, &from[q4_0::D..]);
    for (j, byte) in from[q4_0::QS..].iter().enumerate() {
        coding.set_code(to, lane, j, byte & 15);
        coding.set_code(to, lane, j + 16, byte >> 4);
    }
}

pub(super) fn pack_q8_0(from: &[u8], lane: usize, to: &mut [u8]) {
    let coding = &Coding::Q8_0;
    coding.set_half(to, 0, lane, &from[q8_0::D..]);
    for (j, byte) in from[q8_0::QS..].iter().enumerate() {
        coding.set_code(to, lane, j, *byte);
    }
}

/// Scales and minima that Q4_K and Q5_K share.
fn pack_minima(coding: &Coding, from: &[u8], lane: usize, to: &mut [u8]) {
    coding.set_half(to, 0, lane, &from[q4_k::D..]);
    coding.set_half(to, HALVES, lane, &from[q4_k::DMIN..]);
    let packed: &[u8; 12] = from[q4_k::SCALES..]
        .first_chunk()
        .expect("12 bytes of scales");
    for group in 0..8 {
        let (scale, minimum) = scale_and_min(packed, group);
        to[coding.scales_at + group * LANES + lane] = scale;
        to[coding.scales_at + (8 + group) * LANES + lane] = minimum;
    }
}

pub(super) fn pack_q4_k(from: &[u8], lane: usize, to: &mut [u8]) {
    let coding = &Coding::Q4_K;
    pack_minima(coding, from, lane, to);
    for (j, byte) in from[q4_k::QS..].iter().enumerate() {
        let input = j / 32 * 64 + j % 32;
        coding.set_code(to, lane, input, byte & 15);
        coding.set_code(to, lane, input + 32, byte >> 4);
    }
}

pub(super) fn pack_q5_k(from: &[u8], lane: usize, to: &mut [u8]) {
    let coding = &Coding::Q5_K;
    pack_minima(coding, from, lane, to);
    for (j, byte) in from[q5_k::QS..].iter().enumerate() {
        let (pair, input) = (j / 32 * 2, j / 32 * 64 + j % 32);
        let high = from[q5_k::QH + j % 32] >> pair;
        coding.set_code(to, lane, input, byte & 15 | (high & 1) << 4);
        coding.set_code(to, lane, input + 32, byte >> 4 | (high >> 1 & 1) << 4);
    }
}

pub(super) fn pack_q6_k(from: &[u8], lane: usize, to: &mut [u8]) {
    let coding = &Coding::Q6_K;
    coding.set_half(to, 0, lane, &from[q6_k::D..]);
    for group in 0..16 {
        to[coding.scales_at + group * LANES + lane] = from[q6_k::SCALES + group];
    }
    for input in 0..256 {
        let (half, quarter, l) = (input / 128, input % 128 / 32, input % 32);
        let low = from[q6_k::QL + half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
        let high = from[q6_k::QH + half * 32 + l] >> (2 * quarter) & 3;
        coding.set_code(to, lane, input, low | high << 4);
    }
}
