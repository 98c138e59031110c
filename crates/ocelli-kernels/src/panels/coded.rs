//! Quantised blocks of 16 rows, interleaved so that a lane is a row.
//!
//! A block of a panel holds, in this order (each `[16]` is one entry per row):
//! - the scale, `[16]` halves, then the block's minimum or the scale of minima, `[16]` halves, where there is one;
//! - a scale byte for each group, `[groups][16]`, and a minimum byte for each group, `[groups][16]`, where there are any;
//! - planes of bits, top bits first: `[words][16]` words of 32 bits, a word holding `32 / bits` inputs of its row.
//!
//! Input `4 g + b` of a word lies in its byte `b`: the bytes of one shift of a word are 4
//! consecutive inputs, the unit of byte dot products. `value = scale * (code - offset) - minimum`.

use ocelli_quant::{IQ4_VALUES, TensorType};

use super::LANES;

/// Layout of one block of a panel.
pub(crate) struct Coding {
    /// Inputs of a block.
    pub(crate) elements: usize,
    /// Inputs that share a scale: 32 or 16.
    pub(crate) group: usize,
    /// Planes of bits, low bits first, `(bits, start)`: 4 or 8; then 2 or 1; then 1.
    pub(crate) planes: [Option<Plane>; 3],
    /// What is taken off a code.
    pub(crate) offset: i32,
    /// What 4 bits stand for, if not themselves.
    pub(crate) table: Option<&'static [i8; 16]>,
    /// Scales of groups, if they have their own.
    pub(crate) scales: GroupScales,
    /// Where scales of groups start.
    pub(crate) scales_at: usize,
    /// Minima, if there are any.
    pub(crate) minima: Minima,
    /// Bytes of the block.
    pub(crate) bytes: usize,
}

/// A plane of bits: bits of each code, and where its words start.
#[derive(Clone, Copy)]
pub(crate) struct Plane {
    pub(crate) bits: usize,
    pub(crate) start: usize,
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
    /// The low half of a byte.
    Nibbles,
}

/// What is taken off scaled codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Minima {
    /// Nothing.
    None,
    /// The second half of the block, negated.
    Block,
    /// The second half of the block times a byte of the group; bytes start here.
    Bytes(usize),
    /// The second half of the block times the high half of the group's scale byte.
    Nibbles,
}

/// Bytes of a half for each row.
pub(crate) const HALVES: usize = 2 * LANES;

/// Quantised types with kernels of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    non_camel_case_types,
    reason = "the names are those of the file format"
)]
pub enum Code {
    /// 4 bits, scale.
    Q4_0,
    /// 4 bits, scale and minimum.
    Q4_1,
    /// 5 bits, scale.
    Q5_0,
    /// 5 bits, scale and minimum.
    Q5_1,
    /// 8 bits, scale.
    Q8_0,
    /// 2 bits, 4-bit scales and minima.
    Q2_K,
    /// 3 bits, 6-bit scales.
    Q3_K,
    /// 4 bits, 6-bit scales and minima.
    Q4_K,
    /// 5 bits, 6-bit scales and minima.
    Q5_K,
    /// 6 bits, 8-bit scales.
    Q6_K,
    /// 4 bits, non-linear values.
    IQ4_NL,
    /// 4 bits, non-linear values, 6-bit scales.
    IQ4_XS,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
    ];

    /// The type in a file.
    pub fn source_type(self) -> TensorType {
        match self {
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4_1 => TensorType::Q4_1,
            Self::Q5_0 => TensorType::Q5_0,
            Self::Q5_1 => TensorType::Q5_1,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q2_K => TensorType::Q2_K,
            Self::Q3_K => TensorType::Q3_K,
            Self::Q4_K => TensorType::Q4_K,
            Self::Q5_K => TensorType::Q5_K,
            Self::Q6_K => TensorType::Q6_K,
            Self::IQ4_NL => TensorType::IQ4_NL,
            Self::IQ4_XS => TensorType::IQ4_XS,
        }
    }

    /// Layout of a block.
    pub(crate) const fn coding(self) -> &'static Coding {
        match self {
            Self::Q4_0 => &Coding::Q4_0,
            Self::Q4_1 => &Coding::Q4_1,
            Self::Q5_0 => &Coding::Q5_0,
            Self::Q5_1 => &Coding::Q5_1,
            Self::Q8_0 => &Coding::Q8_0,
            Self::Q2_K => &Coding::Q2_K,
            Self::Q3_K => &Coding::Q3_K,
            Self::Q4_K => &Coding::Q4_K,
            Self::Q5_K => &Coding::Q5_K,
            Self::Q6_K => &Coding::Q6_K,
            Self::IQ4_NL => &Coding::IQ4_NL,
            Self::IQ4_XS => &Coding::IQ4_XS,
        }
    }
}

impl Coding {
    /// Planes of these bits behind `start`, for `elements` inputs, and the end of the block.
    const fn planes(
        bits: [usize; 3],
        elements: usize,
        start: usize,
    ) -> ([Option<Plane>; 3], usize) {
        let mut planes = [None; 3];
        let mut at = start;
        let mut plane = 3;
        while plane > 0 {
            plane -= 1;
            if bits[plane] > 0 {
                planes[plane] = Some(Plane {
                    bits: bits[plane],
                    start: at,
                });
                at += elements * bits[plane] / 8 * LANES;
            }
        }
        (planes, at)
    }

    /// A block of 32 with one scale, and a minimum or none.
    const fn plain(bits: [usize; 3], offset: i32, minima: Minima) -> Self {
        let halves = if matches!(minima, Minima::None) { 1 } else { 2 };
        let (planes, bytes) = Self::planes(bits, 32, halves * HALVES);
        Self {
            elements: 32,
            group: 32,
            planes,
            offset,
            table: None,
            scales: GroupScales::None,
            scales_at: 0,
            minima,
            bytes,
        }
    }

    /// A block of 256 with a scale for each group, and minima or none.
    const fn grouped(
        bits: [usize; 3],
        group: usize,
        scales: GroupScales,
        has_minima: bool,
    ) -> Self {
        let scales_at = if has_minima { 2 * HALVES } else { HALVES };
        let after_scales = scales_at + 256 / group * LANES;
        let (minima, start) = match (has_minima, scales) {
            (false, _) => (Minima::None, after_scales),
            (true, GroupScales::Nibbles) => (Minima::Nibbles, after_scales),
            (true, _) => (
                Minima::Bytes(after_scales),
                after_scales + 256 / group * LANES,
            ),
        };
        let (planes, bytes) = Self::planes(bits, 256, start);
        Self {
            elements: 256,
            group,
            planes,
            offset: 0,
            table: None,
            scales,
            scales_at,
            minima,
            bytes,
        }
    }

    pub(crate) const Q4_0: Self = Self::plain([4, 0, 0], 8, Minima::None);
    pub(crate) const Q4_1: Self = Self::plain([4, 0, 0], 0, Minima::Block);
    pub(crate) const Q5_0: Self = Self::plain([4, 1, 0], 16, Minima::None);
    pub(crate) const Q5_1: Self = Self::plain([4, 1, 0], 0, Minima::Block);
    pub(crate) const Q8_0: Self = Self::plain([8, 0, 0], 0, Minima::None);
    pub(crate) const Q2_K: Self = Self::grouped([0, 2, 0], 16, GroupScales::Nibbles, true);
    pub(crate) const Q3_K: Self = Self {
        offset: 4,
        ..Self::grouped([0, 2, 1], 16, GroupScales::Signed, false)
    };
    pub(crate) const Q4_K: Self = Self::grouped([4, 0, 0], 32, GroupScales::Unsigned, true);
    pub(crate) const Q5_K: Self = Self::grouped([4, 1, 0], 32, GroupScales::Unsigned, true);
    pub(crate) const Q6_K: Self = Self {
        offset: 32,
        ..Self::grouped([4, 2, 0], 16, GroupScales::Signed, false)
    };
    pub(crate) const IQ4_NL: Self = Self {
        table: Some(&IQ4_VALUES),
        ..Self::plain([4, 0, 0], 0, Minima::None)
    };
    pub(crate) const IQ4_XS: Self = Self {
        table: Some(&IQ4_VALUES),
        ..Self::grouped([4, 0, 0], 32, GroupScales::Signed, false)
    };

    /// Whether codes are signed bytes: kept so, or looked up so.
    pub(crate) const fn is_signed(&self) -> bool {
        let wide = match self.planes[0] {
            Some(plane) => plane.bits == 8,
            None => false,
        };
        wide || self.table.is_some()
    }

    /// Bits of a code.
    pub(crate) const fn code_bits(&self) -> usize {
        let (mut bits, mut plane) = (0, 0);
        while plane < self.planes.len() {
            if let Some(plane) = &self.planes[plane] {
                bits += plane.bits;
            }
            plane += 1;
        }
        bits
    }

    /// The code of an input of a row: what `value = scale * (code - offset) - minimum` means by it.
    pub(crate) fn code(&self, block: &[u8], lane: usize, input: usize) -> i32 {
        let (mut code, mut bits) = (0, 0);
        for plane in self.planes.iter().flatten() {
            let (byte, shift) = plane.place(lane, input);
            if plane.bits == 8 {
                return i32::from(block[byte] as i8);
            }
            let part = (block[byte] >> shift) & ((1 << plane.bits) - 1);
            code |= i32::from(part) << bits;
            bits += plane.bits;
        }
        match self.table {
            Some(table) => i32::from(table[code as usize]),
            None => code,
        }
    }
}

impl Plane {
    /// Byte of the block and bit of the byte where the bits of an input start.
    fn place(&self, lane: usize, input: usize) -> (usize, usize) {
        let inputs = 32 / self.bits;
        let (word, inside) = (input / inputs, input % inputs);
        (
            self.start + (word * LANES + lane) * 4 + inside % 4,
            inside / 4 * self.bits,
        )
    }
}
