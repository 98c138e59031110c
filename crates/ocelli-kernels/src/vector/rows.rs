//! Operations on rows: norms, activations, conversions.

use crate::vector::Simd;
use crate::vector::math::{Function, GeluErf, GeluTanh, QuickGelu, Silu};
use crate::{Activation, LANES, plain};

/// `values = f(values)`, 16 at a time; the last ones are padded with zeros.
#[inline(always)]
fn map<S: Simd, F: Function>(s: S, values: &mut [f32]) {
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        s.store(F::apply(s, s.load(chunk)), chunk);
    }
    if !rest.is_empty() {
        let mut padded = pad(rest);
        s.store(F::apply(s, s.load(&padded)), &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// The sum of `f` over all elements; `f(0)` is 0.
#[inline(always)]
fn reduce<S: Simd>(s: S, values: &[f32], f: impl Fn(S::Floats, S::Floats) -> S::Floats) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (pairs, single) = chunks.as_chunks::<2>();
    let mut sums = [s.splat(0.0); 2];
    for [even, odd] in pairs {
        sums = [f(s.load(even), sums[0]), f(s.load(odd), sums[1])];
    }
    for chunk in single {
        sums[0] = f(s.load(chunk), sums[0]);
    }
    sums[1] = f(s.load(&pad(rest)), sums[1]);
    s.sum(s.add(sums[0], sums[1]))
}

#[inline(always)]
fn pad(rest: &[f32]) -> [f32; LANES] {
    let mut padded = [0.0; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// See [`crate::Kernels::activate`].
#[inline(always)]
pub(crate) fn activate<S: Simd>(s: S, activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Silu => map::<S, Silu>(s, values),
        Activation::GeluErf => map::<S, GeluErf>(s, values),
        Activation::GeluTanh => map::<S, GeluTanh>(s, values),
        Activation::QuickGelu => map::<S, QuickGelu>(s, values),
    }
}

/// See [`crate::Kernels::rms_norm`].
#[inline(always)]
pub(crate) fn rms_norm<S: Simd>(s: S, x: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(x.len(), weight.len(), "one weight per column");
    let mean_square = reduce(s, x, |x, sum| s.fma(x, x, sum)) / x.len() as f32;
    let scale = 1.0 / (mean_square + eps).sqrt();
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
}

/// See [`crate::Kernels::layer_norm`].
#[inline(always)]
pub(crate) fn layer_norm<S: Simd>(
    s: S,
    x: &mut [f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
) {
    assert_eq!(x.len(), weight.len(), "one weight per column");
    let count = x.len() as f32;
    let mean = reduce(s, x, |x, sum| s.add(x, sum)) / count;
    for x in &mut *x {
        *x -= mean;
    }
    let variance = reduce(s, x, |x, sum| s.fma(x, x, sum)) / count;
    let scale = 1.0 / (variance + eps).sqrt();
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
    if let Some(bias) = bias {
        plain::add(s, bias, x);
    }
}

/// See [`crate::Kernels::is_finite`].
#[inline(always)]
pub(crate) fn is_finite<S: Simd>(s: S, x: &[f32]) -> bool {
    // 0 x is 0, or not a number where x is not finite, and that never goes away.
    reduce(s, x, |x, sum| s.fma(x, s.splat(0.0), sum)) == 0.0
}

/// See [`crate::Kernels::narrow`].
#[inline(always)]
pub(crate) fn narrow<S: Simd>(s: S, x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "operands of a conversion");
    let (chunks, rest) = x.as_chunks::<LANES>();
    let (targets, last) = out.as_chunks_mut::<LANES>();
    for (target, chunk) in targets.iter_mut().zip(chunks) {
        s.store_f16(s.load(chunk), target);
    }
    let mut padded = [0; LANES];
    s.store_f16(s.load(&pad(rest)), &mut padded);
    last.copy_from_slice(&padded[..last.len()]);
}

/// See [`crate::Kernels::widen`].
#[inline(always)]
pub(crate) fn widen<S: Simd>(s: S, x: &[u16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "operands of a conversion");
    let (chunks, rest) = x.as_chunks::<LANES>();
    let (targets, last) = out.as_chunks_mut::<LANES>();
    for (target, chunk) in targets.iter_mut().zip(chunks) {
        s.store(s.load_f16(chunk), target);
    }
    let mut padded = [0; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    let mut widened = [0.0; LANES];
    s.store(s.load_f16(&padded), &mut widened);
    last.copy_from_slice(&widened[..last.len()]);
}
