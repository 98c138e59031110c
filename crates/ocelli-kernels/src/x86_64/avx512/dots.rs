//! Dot products of bytes, four to a word.

use std::arch::x86_64::*;

/// `sum + weights x` over the four bytes of each word, weights unsigned and below 129.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
pub(super) fn dot_16(sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
    let pairs = _mm512_maddubs_epi16(weights, x);
    _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
}

/// Halves of 16 bits: `sum` and two products each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
pub(super) fn dot_short(sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
    _mm512_add_epi16(sum, _mm512_maddubs_epi16(weights, x))
}

/// `sum` and both halves of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
pub(super) fn add_short(sum: __m512i, short: __m512i) -> __m512i {
    _mm512_add_epi32(sum, _mm512_madd_epi16(short, _mm512_set1_epi16(1)))
}

/// What [`dot_16`] does, for weights with a sign.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
pub(super) fn dot_signed(sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
    let turned = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(weights), _mm512_setzero_si512(), x);
    dot_16(sum, _mm512_abs_epi8(weights), turned)
}

/// What [`dot_16`] does, in one instruction and for all unsigned weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512vnni")]
pub(super) fn dot_vnni(sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
    _mm512_dpbusd_epi32(sum, weights, x)
}
