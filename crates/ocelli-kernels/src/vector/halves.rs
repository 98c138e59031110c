//! Two vectors rounded to upper halves at a time.

use crate::LANES;
use crate::vector::Simd;

/// How upper halves are made, as a type so that it is inlined.
pub(crate) trait Halves<S: Simd> {
    /// Words of two halves, to nearest even: lane `i` has `even[i]` in its lower and `odd[i]` in
    /// its upper half.
    fn join(s: S, even: S::Floats, odd: S::Floats) -> S::Ints;
    /// 32 halves, those of `first` and those of `second` behind them.
    fn store(s: S, first: S::Floats, second: S::Floats, out: &mut [u16; 2 * LANES]);
}

/// In steps that every instruction set has.
pub(crate) struct PlainHalves;

impl<S: Simd> Halves<S> for PlainHalves {
    #[inline(always)]
    fn join(s: S, even: S::Floats, odd: S::Floats) -> S::Ints {
        s.or(s.upper_half(even), s.shift_left(s.upper_half(odd), 16))
    }

    #[inline(always)]
    fn store(s: S, first: S::Floats, second: S::Floats, out: &mut [u16; 2 * LANES]) {
        if let [low, high] = out.as_chunks_mut::<LANES>().0 {
            s.store_halves(s.upper_half(first), low);
            s.store_halves(s.upper_half(second), high);
        }
    }
}

/// `out = upper halves of x`, then zeros. `out` is a multiple of 32 halves, with room for all of `x`.
#[inline(always)]
pub(crate) fn round_row<S: Simd, H: Halves<S>>(s: S, x: &[f32], out: &mut [u16]) {
    let (whole, rest) = x.as_chunks::<{ 2 * LANES }>();
    let mut out = out.as_chunks_mut::<{ 2 * LANES }>().0.iter_mut();
    for (x, out) in whole.iter().zip(&mut out) {
        H::store(s, lanes(s, x, 0), lanes(s, x, LANES), out);
    }
    if !rest.is_empty()
        && let Some(out) = out.next()
    {
        H::store(s, lanes(s, rest, 0), lanes(s, rest, LANES), out);
    }
    for out in out {
        out.fill(0);
    }
}

/// 16 elements from `at` on, or those there are and zeros.
#[inline(always)]
pub(crate) fn lanes<S: Simd>(s: S, x: &[f32], at: usize) -> S::Floats {
    let x = x.get(at..).unwrap_or_default();
    match x.first_chunk() {
        Some(x) => s.load(x),
        None => {
            let mut padded = [0.0; LANES];
            padded[..x.len()].copy_from_slice(x);
            s.load(&padded)
        }
    }
}
