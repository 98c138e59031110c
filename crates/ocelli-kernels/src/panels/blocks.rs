//! One row's block of a file into its lane of a panel's block.
//!
//! The codes are spread to a byte each, in loops of whole runs that the compiler does with vectors;
//! then words of the panel are put together from them.

use ocelli_quant::{
    iq4_nl, iq4_xs, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, scale_and_min,
};

use super::LANES;
use super::coded::{Code, Coding, HALVES, Minima, Plane};

/// Packs a row's block of a file into a lane of a panel's block, which was zero.
pub(super) fn pack(code: Code, from: &[u8], lane: usize, block: &mut [u8]) {
    let coding = code.coding();
    let mut lane = Lane {
        coding,
        block,
        lane,
    };
    match code {
        Code::Q4_0 => lane.plain(
            PlainBlock {
                d: q4_0::D,
                m: None,
                qs: q4_0::QS,
                qh: None,
            },
            from,
        ),
        Code::Q4_1 => lane.plain(
            PlainBlock {
                d: q4_1::D,
                m: Some(q4_1::M),
                qs: q4_1::QS,
                qh: None,
            },
            from,
        ),
        Code::Q5_0 => lane.plain(
            PlainBlock {
                d: q5_0::D,
                m: None,
                qs: q5_0::QS,
                qh: Some(q5_0::QH),
            },
            from,
        ),
        Code::Q5_1 => lane.plain(
            PlainBlock {
                d: q5_1::D,
                m: Some(q5_1::M),
                qs: q5_1::QS,
                qh: Some(q5_1::QH),
            },
            from,
        ),
        Code::IQ4_NL => lane.plain(
            PlainBlock {
                d: iq4_nl::D,
                m: None,
                qs: iq4_nl::QS,
                qh: None,
            },
            from,
        ),
        Code::Q8_0 => lane.q8_0(from),
        Code::Q2_K => lane.q2_k(from),
        Code::Q3_K => lane.q3_k(from),
        Code::Q4_K => lane.q4_k(from),
        Code::Q5_K => lane.q5_k(from),
        Code::Q6_K => lane.q6_k(from),
        Code::IQ4_XS => lane.iq4_xs(from),
    }
}

/// Where the parts of a block of 32 codes start in a file, in bytes; named as the format does.
struct PlainBlock {
    /// The scale.
    d: usize,
    /// The minimum.
    m: Option<usize>,
    /// Nibbles, the low ones first.
    qs: usize,
    /// The highest bit of each code.
    qh: Option<usize>,
}

/// A lane of a panel's block.
struct Lane<'a> {
    coding: &'static Coding,
    block: &'a mut [u8],
    lane: usize,
}

/// A block of 256 codes, a byte each.
type Codes = [u8; 256];

impl Lane<'_> {
    /// The half at `from` as the block's first or second.
    fn half(&mut self, which: usize, from: &[u8]) {
        self.block[which * HALVES + 2 * self.lane..][..2].copy_from_slice(&from[..2]);
    }

    fn scale(&mut self, group: usize, scale: u8) {
        self.block[self.coding.scales_at + group * LANES + self.lane] = scale;
    }

    /// Writes the codes, a word at a time.
    fn codes(&mut self, codes: &[u8]) {
        let mut passed = 0;
        for plane in self.coding.planes.iter().flatten() {
            let words = self.block[plane.start..].as_chunks_mut::<{ 4 * LANES }>().0;
            match *plane {
                Plane { bits: 8, .. } => put::<8, 4>(codes, passed, self.lane, words),
                Plane { bits: 4, .. } => put::<4, 8>(codes, passed, self.lane, words),
                Plane { bits: 2, .. } => put::<2, 16>(codes, passed, self.lane, words),
                _ => put::<1, 32>(codes, passed, self.lane, words),
            }
            passed += plane.bits;
        }
    }

    /// Blocks of 32 codes.
    fn plain(&mut self, PlainBlock { d, m, qs, qh }: PlainBlock, from: &[u8]) {
        self.half(0, &from[d..]);
        if let Some(m) = m {
            self.half(1, &from[m..]);
        }
        let mut codes = [0; 32];
        nibbles::<16>(run(from, qs), &mut codes);
        if let Some(qh) = qh {
            let high = u32::from_le_bytes(*run(from, qh));
            for (j, code) in codes.iter_mut().enumerate() {
                *code |= ((high >> j & 1) as u8) << 4;
            }
        }
        self.codes(&codes);
    }

    fn q8_0(&mut self, from: &[u8]) {
        self.half(0, &from[q8_0::D..]);
        self.codes(run::<32>(from, q8_0::QS));
    }

    fn q2_k(&mut self, from: &[u8]) {
        self.half(0, &from[q2_k::D..]);
        self.half(1, &from[q2_k::DMIN..]);
        for (group, scale) in run::<16>(from, q2_k::SCALES).iter().enumerate() {
            self.scale(group, *scale);
        }
        self.codes(&two_bits(run(from, q2_k::QS)));
    }

    fn q3_k(&mut self, from: &[u8]) {
        self.half(0, &from[q3_k::D..]);
        for (group, scale) in q3_k::scales(run(from, 0)).into_iter().enumerate() {
            self.scale(group, scale.wrapping_sub(32));
        }
        let mut codes = two_bits(run(from, q3_k::QS));
        or_high_bit(run(from, q3_k::HMASK), 2, &mut codes);
        self.codes(&codes);
    }

    /// Scales and minima that Q4_K and Q5_K share.
    fn minima(&mut self, from: &[u8]) {
        self.half(0, &from[q4_k::D..]);
        self.half(1, &from[q4_k::DMIN..]);
        let packed: &[u8; 12] = run(from, q4_k::SCALES);
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
        self.codes(&pairs_of_nibbles::<32>(run(from, q4_k::QS)));
    }

    fn q5_k(&mut self, from: &[u8]) {
        self.minima(from);
        let mut codes = pairs_of_nibbles::<32>(run(from, q5_k::QS));
        or_high_bit(run(from, q5_k::QH), 4, &mut codes);
        self.codes(&codes);
    }

    fn q6_k(&mut self, from: &[u8]) {
        self.half(0, &from[q6_k::D..]);
        for (group, scale) in run::<16>(from, q6_k::SCALES).iter().enumerate() {
            self.scale(group, *scale);
        }
        let (low, high) = (
            run::<128>(from, q6_k::QL).as_chunks::<64>().0,
            run::<64>(from, q6_k::QH).as_chunks::<32>().0,
        );
        let mut codes: Codes = [0; 256];
        for ((codes, low), high) in codes.as_chunks_mut::<128>().0.iter_mut().zip(low).zip(high) {
            nibbles::<64>(low, codes);
            for (quarter, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (code, high) in codes.iter_mut().zip(high) {
                    *code |= (high >> (2 * quarter) & 3) << 4;
                }
            }
        }
        self.codes(&codes);
    }

    fn iq4_xs(&mut self, from: &[u8]) {
        self.half(0, &from[iq4_xs::D..]);
        let block: &[u8; iq4_xs::BYTES] = run(from, 0);
        for group in 0..8 {
            self.scale(group, iq4_xs::scale(block, group).wrapping_sub(32));
        }
        self.codes(&pairs_of_nibbles::<16>(run(from, iq4_xs::QS)));
    }
}

/// `N` bytes of a block.
fn run<const N: usize>(from: &[u8], start: usize) -> &[u8; N] {
    from[start..].first_chunk().expect("a whole block")
}

/// Low nibbles of a run of bytes, then its high ones.
fn nibbles<const N: usize>(bytes: &[u8; N], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(N);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// [`nibbles`] of each `N` bytes.
fn pairs_of_nibbles<const N: usize>(bytes: &[u8; 128]) -> Codes {
    let mut codes: Codes = [0; 256];
    for (bytes, codes) in bytes
        .as_chunks::<N>()
        .0
        .iter()
        .zip(codes.chunks_exact_mut(2 * N))
    {
        nibbles(bytes, codes);
    }
    codes
}

/// Two bits of each half's 32 bytes, then the next two.
fn two_bits(bytes: &[u8; 64]) -> Codes {
    let mut codes: Codes = [0; 256];
    let halves = bytes.as_chunks::<32>().0.iter();
    for (bytes, codes) in halves.zip(codes.as_chunks_mut::<128>().0) {
        for (quarter, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                *code = byte >> (2 * quarter) & 3;
            }
        }
    }
    codes
}

/// Adds the bit at `place`: bit `n` of 32 bytes belongs to the `n`th 32 codes.
fn or_high_bit(bytes: &[u8; 32], place: u32, codes: &mut Codes) {
    for (bit, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= (byte >> bit & 1) << place;
        }
    }
}

/// Puts `BITS` bits of each code, above those that `passed`, into a lane's words of `CODES` codes.
/// Byte `b` of a word holds the codes `b`, `b + 4`, ... of its run, low bits first.
fn put<const BITS: usize, const CODES: usize>(
    codes: &[u8],
    passed: usize,
    lane: usize,
    words: &mut [[u8; 4 * LANES]],
) {
    let mask = ((1_u32 << BITS) - 1) * 0x0101_0101;
    for (codes, words) in codes.as_chunks::<CODES>().0.iter().zip(words) {
        let mut word = 0;
        for (part, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
            let bits = u32::from_le_bytes(*codes) >> passed & mask;
            word |= bits << (part * BITS);
        }
        words[4 * lane..][..4].copy_from_slice(&word.to_le_bytes());
    }
}
