//! Two vectors rounded to upper halves at a time.

use crate::LANES;
use crate::vector::Simd;

/// How upper halves are made, as a type so that it is inlined.
pub(crate) trait Halves<S: Simd>: Copy {
    /// Words of two halves, to nearest even: lane `i` has `even[i]` in its lower and `odd[i]` in its upper half.
    fn join(s: S, even: S::Floats, odd: S::Floats) -> S::Ints;
    /// 32 halves, those of `first` and those of `second` behind them.
    fn store(s: S, first: S::Floats, second: S::Floats, out: &mut [u16; 2 * LANES]);
}

/// In steps that every instruction set has.
#[derive(Clone, Copy)]
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
