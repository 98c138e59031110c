//! Scales and codes of quantised panels, decoded in registers, and the match from a type's name to
//! loops compiled for its layout.
//!
//! ```text
//! value = scale * (code - offset) - minimum
//! ```
//! What they are used for is in `few_singles.rs`, `few.rs`, `bytes.rs` and `unpack.rs`. A lane is an output.

use std::ops::Range;

use crate::panels::coded::{Coding, GroupScales, HALVES, Minima};
use crate::vector::unpack::{unpack_as, unpack_pairs_as};
use crate::vector::{Halves, Simd, bytes, few, few_singles};
use crate::workspace::Buffer;
use crate::{Code, LANES, Matrix, Panels};

/// A [`Coding`] as a type, so that its layout is known when a loop is compiled.
pub(crate) trait Coded {
    const CODING: Coding;
}

/// Where a chunk of a panel is put, unpacked but still in codes.
pub(crate) struct UnpackedPanel<'a> {
    /// `[words][16]`: four codes each, signed ones biased.
    pub(crate) words: &'a mut [i32],
    /// `[groups][16]`.
    pub(crate) scales: &'a mut [f32],
    /// `[groups][16]`, where the type has them.
    pub(crate) minima: &'a mut [f32],
}

/// Types for codings, and a match from a value to a type.
macro_rules! codings {
    ($($name:ident),*) => {
        $(
            pub(crate) struct $name;
            impl Coded for $name {
                const CODING: Coding = Coding::$name;
            }
        )*

        /// Calls [`few_singles::multiply_as`] for a code.
        #[inline(always)]
        pub(crate) fn multiply<S: Simd>(
            s: S,
            code: Code,
            x: Matrix<'_>,
            weight: Panels<'_>,
            totals: &mut [f32],
            sums: &mut [f32],
        ) {
            match code {
                $(Code::$name => few_singles::multiply_as::<S, $name>(s, x, weight, totals, sums),)*
            }
        }

        /// Calls [`few::multiply_as`] for a code.
        #[inline(always)]
        pub(crate) fn multiply_bytes<S: Simd>(
            s: S,
            code: Code,
            x: Matrix<'_>,
            weight: Panels<'_>,
            terms: &mut Buffer<i32>,
            sums: &mut [f32],
        ) {
            match code {
                $(Code::$name => few::multiply_as::<S, $name>(s, x, weight, terms, sums),)*
            }
        }

        /// Calls [`bytes::recode_as`] for a code.
        #[inline(always)]
        pub(crate) fn recode<S: Simd>(
            s: S,
            code: Code,
            blocks: &[u8],
            words: &mut [i32],
            scales: &mut [f32],
        ) {
            match code {
                $(Code::$name => bytes::recode_as::<S, $name>(s, blocks, words, scales),)*
            }
        }

        /// Calls [`bytes::unpack_words_as`] for a code.
        #[inline(always)]
        pub(crate) fn unpack_words<S: Simd>(
            s: S,
            code: Code,
            blocks: &[u8],
            out: UnpackedPanel<'_>,
        ) {
            match code {
                $(Code::$name => bytes::unpack_words_as::<S, $name>(s, blocks, out),)*
            }
        }

        /// Calls [`unpack_pairs_as`] for a code.
        #[inline(always)]
        pub(crate) fn unpack_pairs<S: Simd, H: Halves<S>>(
            s: S,
            code: Code,
            blocks: &[u8],
            groups: Range<usize>,
            out: &mut [i32],
        ) {
            match code {
                $(Code::$name => unpack_pairs_as::<S, H, $name>(s, blocks, groups, out),)*
            }
        }

        /// Calls [`unpack_as`] for a code.
        #[inline(always)]
        pub(crate) fn unpack<S: Simd>(s: S, code: Code, blocks: &[u8], out: &mut [f32]) {
            match code {
                $(Code::$name => unpack_as::<S, $name>(s, blocks, out),)*
            }
        }
    };
}

#[allow(
    non_camel_case_types,
    reason = "the names are those of the file format"
)]
mod types {
    use super::*;
    codings!(
        Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS
    );
}
pub(crate) use types::{multiply, multiply_bytes, recode, unpack, unpack_pairs, unpack_words};

/// Repeats a block for each input of a unit. A loop is not always unrolled, and then its shifts are
/// by variables.
macro_rules! each_of_unit {
    ($k:ident, $block:block) => {
        each_of_unit! { @times $k, $block, 0, 1, 2, 3, 4, 5, 6, 7 }
    };
    (@times $k:ident, $block:block, $($value:literal),*) => {
        $({ let $k = $value; $block })*
    };
}
pub(super) use each_of_unit;

/// Inputs that are decoded together: one word of nibbles.
pub(super) const UNIT: usize = 8;

/// Eight inputs that are decoded together: their group in a block, and which unit of it they are.
#[derive(Clone, Copy)]
pub(super) struct UnitPlace {
    pub(super) group: usize,
    pub(super) unit: usize,
}

impl UnitPlace {
    /// Their number in the block.
    #[inline(always)]
    pub(super) fn in_block(self, coding: &Coding) -> usize {
        self.group * (coding.group / UNIT) + self.unit
    }
}

/// What turns the codes of a group, or of a block, into values: `scale * (code - offset) - minimum`.
#[derive(Clone, Copy)]
pub(super) struct ScaleAndMinimum<F> {
    pub(super) scale: F,
    pub(super) minimum: F,
}

/// The scale of a group; as its minimum, what a code of 0 stands for, negated.
#[inline(always)]
pub(super) fn scale_and_zero<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    group: usize,
) -> ScaleAndMinimum<S::Floats> {
    let ScaleAndMinimum { scale, minimum } = scale_and_minimum::<S, C>(s, block, group);
    let offset = s.mul(scale, s.splat(C::CODING.offset as f32));
    let minimum = s.add(minimum, offset);
    ScaleAndMinimum { scale, minimum }
}

/// The scale and the minimum of a group.
#[inline(always)]
pub(super) fn scale_and_minimum<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    group: usize,
) -> ScaleAndMinimum<S::Floats> {
    group_scales::<S, C>(s, block, group, halves_of_block::<S, C>(s, block))
}

/// The halves that a block starts with: its scale, and what minima are made of, if there are any.
#[inline(always)]
pub(super) fn halves_of_block<S: Simd, C: Coded>(s: S, block: &[u8]) -> ScaleAndMinimum<S::Floats> {
    ScaleAndMinimum {
        scale: halves(s, block, 0),
        minimum: if has_minima::<C>() {
            halves(s, block, HALVES)
        } else {
            s.splat(0.0)
        },
    }
}

/// [`scale_and_minimum`], where the halves of the block are known.
#[inline(always)]
pub(super) fn group_scales<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    group: usize,
    of_block: ScaleAndMinimum<S::Floats>,
) -> ScaleAndMinimum<S::Floats> {
    let coding = &C::CODING;
    let d = of_block.scale;
    let bytes = group_bytes(block, coding.scales_at, group);
    let scale = match coding.scales {
        GroupScales::None => d,
        GroupScales::Unsigned => s.mul(d, s.to_float(s.load_u8(bytes))),
        GroupScales::Signed => s.mul(d, s.to_float(s.load_i8(bytes))),
        GroupScales::Nibbles => {
            let low = s.and(s.load_u8(bytes), s.splat_int(15));
            s.mul(d, s.to_float(low))
        }
    };
    let factor = match coding.minima {
        Minima::None => {
            let minimum = s.splat(0.0);
            return ScaleAndMinimum { scale, minimum };
        }
        Minima::Block => s.splat(-1.0),
        Minima::Bytes(start) => s.to_float(s.load_u8(group_bytes(block, start, group))),
        Minima::Nibbles => s.to_float(s.shift_right(s.load_u8(bytes), 4)),
    };
    let minimum = s.mul(of_block.minimum, factor);
    ScaleAndMinimum { scale, minimum }
}

/// A byte for each lane of a group.
#[inline(always)]
fn group_bytes(block: &[u8], start: usize, group: usize) -> &[u8; LANES] {
    let bytes = block[start + group * LANES..].first_chunk();
    bytes.expect("16 bytes for each group")
}

#[inline(always)]
pub(super) const fn has_minima<C: Coded>() -> bool {
    !matches!(C::CODING.minima, Minima::None)
}

/// A half for each lane.
#[inline(always)]
fn halves<S: Simd>(s: S, block: &[u8], start: usize) -> S::Floats {
    let bytes: &[u8; 2 * LANES] = block[start..].first_chunk().expect("16 halves");
    let mut halves = [0; LANES];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
        *half = u16::from_le_bytes(*bytes);
    }
    s.load_f16(&halves)
}

/// 16 words of a plane of bits.
#[inline(always)]
pub(super) fn word<S: Simd>(s: S, block: &[u8], start: usize, index: usize) -> S::Ints {
    let bytes = block[start + index * 4 * LANES..].first_chunk();
    s.load_words(bytes.expect("16 words"))
}

/// The words with the second and third plane's bits of a group, its first input lowest.
#[inline(always)]
pub(super) fn upper_planes<S: Simd, C: Coded>(s: S, block: &[u8], group: usize) -> [S::Ints; 2] {
    let mut words = [s.splat_int(0); 2];
    for (plane, words) in words.iter_mut().enumerate() {
        if let Some(plane) = C::CODING.planes[plane + 1] {
            let input = group * C::CODING.group;
            let inputs = 32 / plane.bits;
            *words = word(s, block, plane.start, input / inputs);
            if C::CODING.group < inputs {
                let passed = input % inputs / 4 * plane.bits;
                *words = s.shift_right(*words, passed as i32);
            }
        }
    }
    words
}

/// Codes of 8 inputs, each a vector of 16 lanes.
///
/// `upper` holds the group's bits of the upper planes, this unit's lowest; they are shifted on to
/// the next unit's.
#[inline(always)]
pub(super) fn codes<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    place: UnitPlace,
    upper: &mut [S::Ints; 2],
) -> [S::Floats; UNIT] {
    let coding = &C::CODING;
    let place = place.in_block(coding);
    if let Some(words) = signed_bytes::<S, C>(s, block, place) {
        return from_signed_bytes(s, words);
    }
    let low = match coding.planes[0] {
        Some(plane) => word(s, block, plane.start, place),
        None => s.splat_int(0),
    };
    let mut codes = [s.splat(0.0); UNIT];
    each_of_unit!(k, {
        let (byte, part) = (8 * (k as i32 % 4), k as i32 / 4);
        let mut bits = s.splat_int(0);
        let mut have = 0;
        if coding.planes[0].is_some() {
            bits = s.and(s.shift_right(low, byte + 4 * part), s.splat_int(15));
            have = 4;
        }
        if let Some(plane) = coding.planes[1] {
            let moved = moved::<S>(s, upper[0], byte + plane.bits as i32 * part - have);
            let mask = s.splat_int(((1 << plane.bits) - 1) << have);
            bits = s.or(bits, s.and(moved, mask));
            have += plane.bits as i32;
        }
        if coding.planes[2].is_some() {
            let moved = moved::<S>(s, upper[1], byte + part - have);
            bits = s.or(bits, s.and(moved, s.splat_int(1 << have)));
        }
        codes[k] = s.to_float(bits);
    });
    for (plane, upper) in coding.planes[1..].iter().zip(upper) {
        if let Some(plane) = plane {
            *upper = s.shift_right(*upper, 2 * plane.bits as i32);
        }
    }
    codes
}

/// Shifted to the right, or to the left where `bits` is negative.
#[inline(always)]
pub(super) fn moved<S: Simd>(s: S, words: S::Ints, bits: i32) -> S::Ints {
    if bits >= 0 {
        s.shift_right(words, bits)
    } else {
        s.shift_left(words, -bits)
    }
}

/// Codes of 8 inputs as signed bytes, 4 inputs a word, where they are kept so or looked up so.
#[inline(always)]
fn signed_bytes<S: Simd, C: Coded>(s: S, block: &[u8], place: usize) -> Option<[S::Ints; 2]> {
    let plane = C::CODING.planes[0]?;
    if plane.bits == 8 {
        let first = word(s, block, plane.start, 2 * place);
        return Some([first, word(s, block, plane.start, 2 * place + 1)]);
    }
    let table = C::CODING.table?;
    let nibbles = word(s, block, plane.start, place);
    let mask = s.splat_int(0x0F0F_0F0F);
    let first = s.look_up(table, s.and(nibbles, mask));
    Some([
        first,
        s.look_up(table, s.and(s.shift_right(nibbles, 4), mask)),
    ])
}

#[inline(always)]
fn from_signed_bytes<S: Simd>(s: S, words: [S::Ints; 2]) -> [S::Floats; UNIT] {
    let mut codes = [s.splat(0.0); UNIT];
    each_of_unit!(k, {
        let left = s.shift_left(words[k / 4], 24 - 8 * (k as i32 % 4));
        codes[k] = s.to_float(s.shift_right_signed(left, 24));
    });
    codes
}
