//! Loops that a compiler turns into vectors by itself: shared by all instruction sets, compiled for each.
//!
//! The first argument is the instruction set's token, which plain loops do not need.

use crate::RopeStyle;

/// Largest code of 8 bits.
const MOST: f32 = 127.0;

/// `out += x`.
#[inline(always)]
pub(crate) fn add<T>(_: T, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "operands of a sum");
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// `out *= x`.
#[inline(always)]
pub(crate) fn multiply<T>(_: T, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "operands of a product");
    for (out, x) in out.iter_mut().zip(x) {
        *out *= x;
    }
}

/// `a' = a cos - b sin`, `b' = b cos + a sin` for each pair of a head.
#[inline(always)]
pub(crate) fn rope<T>(_: T, head: &mut [f32], angles: &[f32], style: RopeStyle) {
    let pairs = angles.len() / 2;
    assert!(
        2 * pairs <= head.len(),
        "{} angles for a head of {}",
        angles.len(),
        head.len()
    );
    let (cosines, sines) = angles.split_at(pairs);
    let angles = cosines.iter().zip(sines);
    match style {
        RopeStyle::Halves => {
            let (first, second) = head.split_at_mut(pairs);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
        RopeStyle::Pairs => {
            for ([a, b], (cos, sin)) in head.as_chunks_mut().0.iter_mut().zip(angles) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// Up to 32 elements to codes, to nearest even; the scale.
///
/// What is not finite makes a scale that is not, and so do elements whose scale has no half.
#[inline(always)]
pub(crate) fn round_group<T>(_: T, x: &[f32], codes: &mut [i8]) -> u16 {
    assert_eq!(x.len(), codes.len(), "operands of a conversion");
    // As whole numbers, what is not finite is larger than all that is.
    let bits = |x: &f32| x.to_bits() & (u32::MAX >> 1);
    let largest = f32::from_bits(x.iter().map(bits).max().unwrap_or(0));
    let scale = half::f16::from_f32(largest / MOST);
    let factor = match scale.to_f32() {
        0.0 => 0.0,
        scale => 1.0 / scale,
    };
    for (code, x) in codes.iter_mut().zip(x) {
        // Adding 1.5 * 2^23 leaves no bits behind the point; the rounded scale may be too small for
        // the largest element.
        const WHOLE: f32 = 12_582_912.0;
        let rounded = (x * factor).clamp(-MOST, MOST) + WHOLE - WHOLE;
        *code = rounded as i8;
    }
    scale.to_bits()
}
