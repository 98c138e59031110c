//! Exponentials and what is made of them, accurate to a few units in the last place.

use crate::vector::Simd;

/// `e^x`, with an error of about one unit in the last place.
///
/// `x = n ln 2 + r` with `n` whole and `|r| <= ln 2 / 2`; `e^r` by a polynomial (Cephes), then
/// `2^n` in two steps so that results near the largest and below the smallest normal number come
/// out right.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::Floats) -> S::Floats {
    // Limits come first so that a value that is not a number stays one.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let whole = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let n = s.to_float(whole);
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let coefficients = [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    let mut p = s.splat(1.987_569_1e-4);
    for c in coefficients {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.fma(s.mul(r, r), p, s.add(r, s.splat(1.0)));
    let half = s.shift_right_signed(whole, 1);
    let rest = s.sub_int(whole, half);
    s.mul(s.mul(p, whole_power(s, half)), whole_power(s, rest))
}

/// `2^n` for `n` within the exponents of normal numbers.
#[inline(always)]
fn whole_power<S: Simd>(s: S, n: S::Ints) -> S::Floats {
    s.float(s.shift_left(s.add_int(n, s.splat_int(127)), 23))
}

/// See [`Simd::power_of_two`]: a polynomial, fitted on -0.5..=0.5 for the least relative error
/// (7.5e-5), times a whole power.
#[inline(always)]
pub(crate) fn power_of_two<S: Simd>(s: S, x: S::Floats) -> S::Floats {
    /// Numbers this far below have a power of 0.
    const LEAST: f32 = -120.0;
    /// Numbers above have the power of this one.
    const MOST: f32 = 127.0;
    let limited = s.min(s.splat(MOST), s.max(s.splat(LEAST), x));
    let whole = s.round(limited);
    let f = s.sub(limited, s.to_float(whole));
    let mut p = s.splat(0.055_171_266);
    for c in [0.242_611_29, 0.693_261_1, 0.999_928_06] {
        p = s.fma(p, f, s.splat(c));
    }
    // Added to the exponent, the whole part leaves what is not a number as it is: no set rounds
    // that to a number whose lowest nine bits are not 0.
    let scaled = s.float(s.add_int(s.bits(p), s.shift_left(whole, 23)));
    s.select_less(x, s.splat(LEAST), s.splat(0.0), scaled)
}

/// A function of one element. A type, not a closure: what a closure does would be compiled without
/// the instruction set's features.
pub(crate) trait Function {
    /// `f(x)`.
    fn apply<S: Simd>(s: S, x: S::Floats) -> S::Floats;
}

/// `x * sigmoid(x)`.
pub(crate) struct Silu;
/// `x * Phi(x)`.
pub(crate) struct GeluErf;
/// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
pub(crate) struct GeluTanh;
/// `x * sigmoid(1.702 x)`.
pub(crate) struct QuickGelu;

impl Function for Silu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::Floats) -> S::Floats {
        times_sigmoid(s, x, x)
    }
}

impl Function for GeluErf {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::Floats) -> S::Floats {
        gelu(s, x)
    }
}

impl Function for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::Floats) -> S::Floats {
        // 0.5 (1 + tanh(u)) = sigmoid(2 u), which loses nothing where tanh(u) is near -1.
        let square = s.mul(x, x);
        let slope = s.fma(square, s.splat(0.071_354_814), s.splat(1.595_769));
        times_sigmoid(s, x, s.mul(x, slope))
    }
}

impl Function for QuickGelu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::Floats) -> S::Floats {
        times_sigmoid(s, x, s.mul(x, s.splat(1.702)))
    }
}

/// `x / (1 + e^-u)`.
#[inline(always)]
fn times_sigmoid<S: Simd>(s: S, x: S::Floats, u: S::Floats) -> S::Floats {
    let e = exp(s, s.sub(s.splat(0.0), u));
    s.div(x, s.add(s.splat(1.0), e))
}

/// `x Phi(x)` with `Phi(-a) = e^(-a^2 / 2) R(a)`.
///
/// `R` is smooth: `R(a) = t P(t)` with `t = 1 / (1 + 0.35 a)`, fitted to a relative error of 3e-8
/// on 0..15. Working with the tail itself keeps the relative precision that `1 + erf(x)` loses for
/// negative `x`.
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::Floats) -> S::Floats {
    let zero = s.splat(0.0);
    let a = s.min(s.splat(20.0), s.max(x, s.sub(zero, x)));
    let t = s.div(s.splat(1.0), s.fma(a, s.splat(0.35), s.splat(1.0)));
    let coefficients = [
        0.144_060_84,
        -0.255_901_93,
        0.159_392_98,
        -0.023_263_887,
        0.105_574_82,
        0.119_815_49,
        0.139_864_34,
        0.139_621_26,
    ];
    let mut p = s.splat(-0.029_163_932);
    for c in coefficients {
        p = s.fma(p, t, s.splat(c));
    }
    // a^2 in two parts: the rounding of the first would cost 7 units in the last place at a = 5.
    let square = s.mul(a, a);
    let lost = s.fma(a, a, s.sub(zero, square));
    let e = exp(s, s.mul(square, s.splat(-0.5)));
    let e = s.fma(s.mul(lost, s.splat(-0.5)), e, e);
    let tail = s.mul(e, s.mul(t, p));
    let phi = s.select_less(x, zero, tail, s.sub(s.splat(1.0), tail));
    s.mul(x, phi)
}
