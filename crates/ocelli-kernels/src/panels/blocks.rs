//! One row's block of a file into its lane of a panel's block.

use ocelli_quant::{
    iq4_nl, iq4_xs, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, scale_and_min,
};

use super::LANES;
use super::coded::{Code, Coding, HALVES, Minima};

/// Packs a row's block of a file into a lane of a panel's block, which was zero.
pub(super) fn pack(code: Code, from: &[u8], lane: usize, block: &mut [u8]) {
    let coding = code.coding();
    let mut lane = Lane {
        coding,
        block,
        lane,
        codes: [0; 256],
    };
    match code {
        Code::Q4_0 => lane.plain((q4_0::D, None, q4_0::QS, None), from),
        Code::Q4_1 => lane.plain((q4_1::D, Some(q4_1::M), q4_1::QS, None), from),
        Code::Q5_0 => lane.plain((q5_0::D, None, q5_0::QS, Some(q5_0::QH)), from),
        Code::Q5_1 => lane.plain((q5_1::D, Some(q5_1::M), q5_1::QS, Some(q5_1::QH)), from),
        Code::IQ4_NL => lane.plain((iq4_nl::D, None, iq4_nl::QS, None), from),
        Code::Q8_0 => lane.q8_0(from),
        Code::Q2_K => lane.q2_k(from),
        Code::Q3_K => lane.q3_k(from),
        Code::Q4_K => lane.q4_k(from),
        Code::Q5_K => lane.q5_k(from),
        Code::Q6_K => lane.q6_k(from),
        Code::IQ4_XS => lane.iq4_xs(from),
    }
    coding.set_codes(lane.block, lane.lane, &lane.codes[..coding.elements]);
}

/// A lane of a panel's block, and the codes that will go there.
struct Lane<'a> {
    coding: &'static Coding,
    block: &'a mut [u8],
    lane: usize,
    codes: [u8; 256],
}

impl Lane<'_> {
    fn set(&mut self, input: usize, code: u8) {
        self.codes[input] = code;
    }

    /// The half at `from` as the block's first or second.
    fn half(&mut self, which: usize, from: &[u8]) {
        self.block[which * HALVES + 2 * self.lane..][..2].copy_from_slice(&from[..2]);
    }

    fn scale(&mut self, group: usize, scale: u8) {
        self.block[self.coding.scales_at + group * LANES + self.lane] = scale;
    }

    /// Blocks of 32 nibbles: low ones first; `(scale, minimum, nibbles, high bits)`.
    fn plain(&mut self, (d, m, qs, qh): (usize, Option<usize>, usize, Option<usize>), from: &[u8]) {
        self.half(0, &from[d..]);
        if let Some(m) = m {
            self.half(1, &from[m..]);
        }
        let high = |input: usize| qh.map_or(0, |qh| (from[qh + input / 8] >> (input % 8) & 1) << 4);
        for (j, byte) in from[qs..qs + 16].iter().enumerate() {
            self.set(j, byte & 15 | high(j));
            self.set(j + 16, byte >> 4 | high(j + 16));
        }
    }

    fn q8_0(&mut self, from: &[u8]) {
        self.half(0, &from[q8_0::D..]);
        for (j, byte) in from[q8_0::QS..].iter().enumerate() {
            self.set(j, *byte);
        }
    }

    fn q2_k(&mut self, from: &[u8]) {
        self.half(0, &from[q2_k::D..]);
        self.half(1, &from[q2_k::DMIN..]);
        for group in 0..16 {
            self.scale(group, from[q2_k::SCALES + group]);
        }
        for input in 0..256 {
            let byte = from[q2_k::QS + input / 128 * 32 + input % 32];
            self.set(input, byte >> (input % 128 / 32 * 2) & 3);
        }
    }

    fn q3_k(&mut self, from: &[u8]) {
        self.half(0, &from[q3_k::D..]);
        let block: &[u8; q3_k::BYTES] = from.first_chunk().expect("a whole block");
        for (group, scale) in q3_k::scales(block).into_iter().enumerate() {
            self.scale(group, scale.wrapping_sub(32));
        }
        for input in 0..256 {
            let byte = from[q3_k::QS + input / 128 * 32 + input % 32];
            let high = from[q3_k::HMASK + input % 32] >> (input / 32) & 1;
            self.set(input, byte >> (input % 128 / 32 * 2) & 3 | high << 2);
        }
    }

    /// Scales and minima that Q4_K and Q5_K share.
    fn minima(&mut self, from: &[u8]) {
        self.half(0, &from[q4_k::D..]);
        self.half(1, &from[q4_k::DMIN..]);
        let packed: &[u8; 12] = from[q4_k::SCALES..]
            .first_chunk()
            .expect("12 bytes of scales");
        for group in 0..8 {
            let (scale, minimum) = scale_and_min(packed, group);
            self.scale(group, scale);
            if let Minima::Bytes(start) = self.coding.minima {
                self.block[start + group * LANES + self.lane] = minimum;
            }
        }
    }

    fn q4_k(&mut self, from: &[u8]) {
        self.minima(from);
        for (j, byte) in from[q4_k::QS..].iter().enumerate() {
            let input = j / 32 * 64 + j % 32;
            self.set(input, byte & 15);
            self.set(input + 32, byte >> 4);
        }
    }

    fn q5_k(&mut self, from: &[u8]) {
        self.minima(from);
        for (j, byte) in from[q5_k::QS..].iter().enumerate() {
            let (pair, input) = (j / 32 * 2, j / 32 * 64 + j % 32);
            let high = from[q5_k::QH + j % 32] >> pair;
            self.set(input, byte & 15 | (high & 1) << 4);
            self.set(input + 32, byte >> 4 | (high >> 1 & 1) << 4);
        }
    }

    fn q6_k(&mut self, from: &[u8]) {
        self.half(0, &from[q6_k::D..]);
        for group in 0..16 {
            self.scale(group, from[q6_k::SCALES + group]);
        }
        for input in 0..256 {
            let (half, quarter, l) = (input / 128, input % 128 / 32, input % 32);
            let low = from[q6_k::QL + half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
            let high = from[q6_k::QH + half * 32 + l] >> (2 * quarter) & 3;
            self.set(input, low | high << 4);
        }
    }

    fn iq4_xs(&mut self, from: &[u8]) {
        self.half(0, &from[iq4_xs::D..]);
        let block: &[u8; iq4_xs::BYTES] = from.first_chunk().expect("a whole block");
        for group in 0..8 {
            self.scale(group, iq4_xs::scale(block, group).wrapping_sub(32));
        }
        for (j, byte) in from[iq4_xs::QS..].iter().enumerate() {
            let input = j / 16 * 32 + j % 16;
            self.set(input, byte & 15);
            self.set(input + 16, byte >> 4);
        }
    }
}
