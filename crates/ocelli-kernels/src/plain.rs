//! Loops that a compiler turns into vectors by itself: shared by all instruction sets, compiled for each.
//!
//! The first argument is the instruction set's token, which plain loops do not need.

use crate::RopeStyle;

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
