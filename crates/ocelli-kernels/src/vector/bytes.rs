//! Quantised panels as bytes for products: in their own codes, or recoded.
//!
//! Recoding gives each output of a chunk of inputs one scale, so that whole chunks are summed in
//! whole numbers:
//! ```text
//! bound = the largest |value| that the codes of any group can stand for
//! byte  = (code * A + B) / 256 rounded,  A = 256 scale 127 / bound,  B = -256 (offset scale + minimum) 127 / bound
//! value = byte * bound / 127
//! ```
//! in 16 bits, which `A` and `B` are chosen to fit. The error is at most 0.5 of a byte for the
//! rounding and as much for that of `A`.

use crate::LANES;
use crate::panels::coded::Plane;
use crate::vector::Simd;
use crate::vector::decode::{
    Coded, ScaleAndMinimum, UNIT, UnitPlace, UnpackedPanel, has_minima, moved, scale_and_minimum,
    upper_planes, word,
};

/// Whether codes are signed bytes: kept so, or looked up so.
#[inline(always)]
pub(super) const fn is_signed<C: Coded>() -> bool {
    C::CODING.is_signed()
}

/// Each byte of a word the same.
#[inline(always)]
pub(super) fn four(byte: i32) -> i32 {
    byte.wrapping_mul(0x0101_0101)
}

/// Codes of 8 inputs, four in a word.
///
/// `upper` holds the group's bits of the upper planes, this unit's lowest; they are shifted on to
/// the next unit's.
#[inline(always)]
fn code_words<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    place: UnitPlace,
    upper: &mut [S::Ints; 2],
) -> [S::Ints; 2] {
    let coding = &C::CODING;
    let place = place.in_block(coding);
    let mut words = [s.splat_int(0); 2];
    let mut have = 0;
    if let Some(plane) = coding.planes[0] {
        if plane.bits == 8 {
            let first = word(s, block, plane.start, 2 * place);
            return [first, word(s, block, plane.start, 2 * place + 1)];
        }
        let nibbles = word(s, block, plane.start, place);
        let mask = s.splat_int(four(15));
        words = [s.and(nibbles, mask), s.and(s.shift_right(nibbles, 4), mask)];
        if let Some(table) = coding.table {
            return [s.look_up(table, words[0]), s.look_up(table, words[1])];
        }
        have = 4;
    }
    // Not a loop over planes: one that is not unrolled looks for them whenever it runs.
    have += add_plane(s, coding.planes[1], have, &mut words, &mut upper[0]);
    add_plane(s, coding.planes[2], have, &mut words, &mut upper[1]);
    words
}

/// Adds the bits of an upper plane of 8 inputs, above the `have` bits that their codes have so far;
/// the number of its bits.
#[inline(always)]
fn add_plane<S: Simd>(
    s: S,
    plane: Option<Plane>,
    have: i32,
    words: &mut [S::Ints; 2],
    upper: &mut S::Ints,
) -> i32 {
    let Some(plane) = plane else { return 0 };
    let bits = plane.bits as i32;
    let mask = s.splat_int(four(((1 << bits) - 1) << have));
    words[0] = s.or(words[0], s.and(moved(s, *upper, -have), mask));
    words[1] = s.or(words[1], s.and(moved(s, *upper, bits - have), mask));
    *upper = s.shift_right(*upper, 2 * bits);
    bits
}

/// [`code_words`] as dot products take them: signed ones biased.
#[inline(always)]
pub(super) fn biased_words<S: Simd, C: Coded>(
    s: S,
    block: &[u8],
    place: UnitPlace,
    upper: &mut [S::Ints; 2],
) -> [S::Ints; 2] {
    let words = code_words::<S, C>(s, block, place, upper);
    if !is_signed::<C>() || S::BIAS == 0 {
        return words;
    }
    let bias = s.splat_int(four(S::BIAS));
    [s.xor(words[0], bias), s.xor(words[1], bias)]
}

/// Codes and scales of blocks of a chunk of a panel.
#[inline(always)]
pub(super) fn unpack_words_as<S: Simd, C: Coded>(s: S, blocks: &[u8], out: UnpackedPanel<'_>) {
    let coding = &C::CODING;
    let groups = coding.elements / coding.group;
    let words_of_group = coding.group / 4;
    let words = out.words.as_chunks_mut::<LANES>().0;
    let scales = out.scales.as_chunks_mut::<LANES>().0;
    let minima = out.minima.as_chunks_mut::<LANES>().0;
    let targets = scales.iter_mut().zip(minima);
    let mut targets = words.chunks_exact_mut(words_of_group).zip(targets);
    for block in blocks.chunks_exact(coding.bytes) {
        for (group, (words, (scale_out, minimum_out))) in (0..groups).zip(&mut targets) {
            let mut planes = upper_planes::<S, C>(s, block, group);
            for (unit, words) in words.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let codes = biased_words::<S, C>(s, block, UnitPlace { group, unit }, &mut planes);
                s.store_ints(codes[0], &mut words[0]);
                s.store_ints(codes[1], &mut words[1]);
            }
            let ScaleAndMinimum { scale, minimum } = scale_and_minimum::<S, C>(s, block, group);
            s.store(scale, scale_out);
            if has_minima::<C>() {
                s.store(minimum, minimum_out);
            }
        }
    }
}

/// The least and the largest code.
const fn limits<C: Coded>() -> (i32, i32) {
    if is_signed::<C>() {
        return (-128, 127);
    }
    (0, (1 << C::CODING.code_bits()) - 1)
}

/// Bytes and scales for blocks of a chunk of a panel: `[words][16]` biased words, `[16]` scales.
/// Words behind the blocks are those of zeros.
#[inline(always)]
pub(super) fn recode_as<S: Simd, C: Coded>(
    s: S,
    blocks: &[u8],
    words: &mut [i32],
    scales: &mut [f32],
) {
    let coding = &C::CODING;
    let groups = coding.elements / coding.group;
    let (least, most) = limits::<C>();
    let offset = s.splat(coding.offset as f32);
    let (least, most) = (s.splat(least as f32), s.splat(most as f32));
    let zero = s.splat(0.0);
    let mut bound = zero;
    for block in blocks.chunks_exact(coding.bytes) {
        for group in 0..groups {
            let ScaleAndMinimum { scale, minimum } = scale_and_minimum::<S, C>(s, block, group);
            for code in [least, most] {
                let value = s.sub(s.mul(scale, s.sub(code, offset)), minimum);
                bound = s.max(bound, s.max(value, s.sub(zero, value)));
            }
        }
    }
    let scale = s.mul(bound, s.splat(1.0 / 127.0));
    let (scales, _) = scales.as_chunks_mut::<LANES>();
    s.store(scale, &mut scales[0]);
    let inverse = s.div(s.splat(127.0 * 256.0), bound);
    let inverse = s.select_less(bound, s.splat(1e-30), zero, inverse);
    let (targets, _) = words.as_chunks_mut::<LANES>();
    let mut targets = targets.iter_mut();
    for block in blocks.chunks_exact(coding.bytes) {
        for group in 0..groups {
            let ScaleAndMinimum { scale, minimum } = scale_and_minimum::<S, C>(s, block, group);
            let base = s.sub(s.sub(zero, s.mul(scale, offset)), minimum);
            let slope = s.round(s.mul(scale, inverse));
            let base = s.add_int(s.round(s.mul(base, inverse)), s.splat_int(128));
            let line = Line::from::<S, C>(s, slope, base);
            let mut planes = upper_planes::<S, C>(s, block, group);
            for unit in 0..coding.group / UNIT {
                for codes in code_words::<S, C>(s, block, UnitPlace { group, unit }, &mut planes) {
                    let bytes = recode_word::<S, C>(s, codes, line);
                    if let Some(target) = targets.next() {
                        s.store_ints(bytes, target);
                    }
                }
            }
        }
    }
    for target in targets {
        s.store_ints(s.splat_int(four(S::BIAS)), target);
    }
}

/// How codes become bytes, with the same numbers in both halves of each word.
#[derive(Clone, Copy)]
struct Line<I> {
    /// Of unsigned codes.
    slope: I,
    base: I,
}

impl<I> Line<I> {
    /// The slope and the base of codes in the low halves of words.
    #[inline(always)]
    fn from<S: Simd<Ints = I>, C: Coded>(s: S, slope: I, base: I) -> Self
    where
        I: Copy,
    {
        let base = if is_signed::<C>() {
            // Signed codes are made unsigned by adding 128, which is taken off here.
            s.sub_int(base, s.shift_left(slope, 7))
        } else {
            base
        };
        Self {
            slope: double(s, slope),
            base: double(s, base),
        }
    }
}

/// The low half in both.
#[inline(always)]
fn double<S: Simd>(s: S, x: S::Ints) -> S::Ints {
    let x = s.and(x, s.splat_int(0xFFFF));
    s.or(x, s.shift_left(x, 16))
}

/// `(code * slope + base) / 256` of each byte, biased.
#[inline(always)]
fn recode_word<S: Simd, C: Coded>(
    s: S,
    codes: S::Ints,
    Line { slope, base }: Line<S::Ints>,
) -> S::Ints {
    let unsigned = if is_signed::<C>() {
        s.xor(codes, s.splat_int(four(128)))
    } else {
        codes
    };
    let even = s.splat_int(0x00FF_00FF);
    let first = s.and(unsigned, even);
    let second = s.and(s.shift_right(unsigned, 8), even);
    let first = s.add_halves(s.multiply_halves(first, slope), base);
    let second = s.add_halves(s.multiply_halves(second, slope), base);
    let first = s.and(s.shift_right(first, 8), even);
    let bytes = s.or(first, s.and(second, s.splat_int(!0x00FF_00FF)));
    s.xor(bytes, s.splat_int(four(S::BIAS)))
}
