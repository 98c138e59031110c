//! Products of pairs of halves in registers: AVX512-BF16.
#![allow(unsafe_code, reason = "calls into code with other target features")]

use std::arch::x86_64::*;

use super::avx512::Avx512Set;
use crate::vector::{Dot, Pairs, Simd, WordJob, run_tiles};

/// `sum + a0 b0 + a1 b1` in one instruction, which takes numbers below the smallest normal one as 0.
#[derive(Clone, Copy)]
struct NativePairs;

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(sum: __m512, b: __m512i, a: i32) -> __m512 {
    let a = _mm512_set1_epi32(a);
    // SAFETY: both types are 64 bytes for which all bits are valid.
    let a: __m512bh = unsafe { std::mem::transmute(a) };
    // SAFETY: as above.
    let b: __m512bh = unsafe { std::mem::transmute(b) };
    _mm512_dpbf16_ps(sum, b, a)
}

impl<const VNNI: bool> Dot<Avx512Set<VNNI>> for NativePairs {
    type Sum = __m512;

    #[inline(always)]
    fn first(s: Avx512Set<VNNI>, job: &WordJob<'_>, place: (usize, usize)) -> __m512i {
        Pairs::first(s, job, place)
    }

    #[inline(always)]
    fn open(s: Avx512Set<VNNI>, bits: __m512i) -> __m512 {
        s.float(bits)
    }

    #[inline(always)]
    fn dot(_: Avx512Set<VNNI>, sum: __m512, b: __m512i, a: i32) -> __m512 {
        // SAFETY: only `pair_tiles` uses this type, and its caller found the instructions.
        unsafe { dot(sum, b, a) }
    }

    #[inline(always)]
    fn close(s: Avx512Set<VNNI>, sum: __m512) -> __m512i {
        s.bits(sum)
    }

    #[inline(always)]
    fn last(s: Avx512Set<VNNI>, bits: __m512i, job: &mut WordJob<'_>, place: (usize, usize)) {
        Pairs::last(s, bits, job, place);
    }
}

/// 12 rows of 32 outputs: 24 sums, 2 weights and an activation of the 32 registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512bf16")]
pub(super) fn pair_tiles<const VNNI: bool>(s: Avx512Set<VNNI>, job: &mut WordJob<'_>) {
    run_tiles!((s, NativePairs), job, word_tile, 2, [12, 6, 3, 2, 1]);
}
