//! AVX-512 (F, BW, DQ, VL): 16 lanes in one register.
#![allow(
    unsafe_code,
    reason = "loads, stores and calls into code with other target features"
)]

use std::arch::x86_64::*;
use std::ops::Range;

use crate::vector::{Lanes, Simd, TileJob, kernels, operations, run_tiles};
use crate::{
    Activation, Element, Matrix, Panels, Product, RopeStyle, Softmax, ValueRows, Workspace,
};

/// Proof that this processor has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, if the processor and the system have the instructions.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        present.then_some(Self(()))
    }
}

kernels!(
    Avx512,
    "avx512",
    "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c"
);

/// A load of 16 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
fn load_16(from: &[u8; 16]) -> __m128i {
    // SAFETY: 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// A load of 16 halves of 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
fn load_halves(from: &[u16; 16]) -> __m256i {
    // SAFETY: 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

impl Simd for Avx512 {
    type Floats = __m512;
    type Ints = __m512i;
    const ROWS: usize = 4;

    operations! { "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c";
        fn splat(x: f32) -> __m512 {
            _mm512_set1_ps(x)
        }
        fn load(from: &[f32; 16]) -> __m512 {
            // SAFETY: 64 readable bytes; the load needs no alignment.
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        }
        fn store(x: __m512, to: &mut [f32; 16]) {
            // SAFETY: 64 writable bytes; the store needs no alignment.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
        }
        fn load_f16(from: &[u16; 16]) -> __m512 {
            _mm512_cvtph_ps(load_halves(from))
        }
        fn store_f16(x: __m512, to: &mut [u16; 16]) {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            // SAFETY: 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), halves) }
        }
        fn load_bf16(from: &[u16; 16]) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(load_halves(from))))
        }
        fn load_words(from: &[u8; 64]) -> __m512i {
            // SAFETY: 64 readable bytes; the load needs no alignment.
            unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
        }
        fn load_u8(from: &[u8; 16]) -> __m512i {
            _mm512_cvtepu8_epi32(load_16(from))
        }
        fn load_i8(from: &[u8; 16]) -> __m512i {
            _mm512_cvtepi8_epi32(load_16(from))
        }
        fn add(a: __m512, b: __m512) -> __m512 {
            _mm512_add_ps(a, b)
        }
        fn sub(a: __m512, b: __m512) -> __m512 {
            _mm512_sub_ps(a, b)
        }
        fn mul(a: __m512, b: __m512) -> __m512 {
            _mm512_mul_ps(a, b)
        }
        fn div(a: __m512, b: __m512) -> __m512 {
            _mm512_div_ps(a, b)
        }
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            _mm512_fmadd_ps(a, b, c)
        }
        fn min(a: __m512, b: __m512) -> __m512 {
            _mm512_min_ps(a, b)
        }
        fn max(a: __m512, b: __m512) -> __m512 {
            _mm512_max_ps(a, b)
        }
        fn select_less(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x)
        }
        fn splat_int(x: i32) -> __m512i {
            _mm512_set1_epi32(x)
        }
        fn add_int(a: __m512i, b: __m512i) -> __m512i {
            _mm512_add_epi32(a, b)
        }
        fn sub_int(a: __m512i, b: __m512i) -> __m512i {
            _mm512_sub_epi32(a, b)
        }
        fn and(a: __m512i, b: __m512i) -> __m512i {
            _mm512_and_si512(a, b)
        }
        fn or(a: __m512i, b: __m512i) -> __m512i {
            _mm512_or_si512(a, b)
        }
        fn shift_left(a: __m512i, bits: i32) -> __m512i {
            _mm512_sllv_epi32(a, _mm512_set1_epi32(bits))
        }
        fn shift_right(a: __m512i, bits: i32) -> __m512i {
            _mm512_srlv_epi32(a, _mm512_set1_epi32(bits))
        }
        fn shift_right_signed(a: __m512i, bits: i32) -> __m512i {
            _mm512_srav_epi32(a, _mm512_set1_epi32(bits))
        }
        fn to_float(a: __m512i) -> __m512 {
            _mm512_cvtepi32_ps(a)
        }
        fn look_up(table: &[i8; 16], bytes: __m512i) -> __m512i {
            let table = load_16(&table.map(|entry| entry as u8));
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), bytes)
        }
        fn prefetch(bytes: &[u8], offset: usize) {
            let line = bytes.as_ptr().wrapping_add(offset);
            // A prefetch does not fault, whatever the address.
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
        fn round(a: __m512) -> __m512i {
            _mm512_cvtps_epi32(a)
        }
        fn float(bits: __m512i) -> __m512 {
            _mm512_castsi512_ps(bits)
        }
    }

    /// 12 rows of 32 outputs: 24 sums, 2 weights and an activation of the 32 registers.
    #[inline(always)]
    fn tiles<L: Lanes>(self, job: &mut TileJob<'_, L>) {
        run_tiles!(self, job, 2, [12, 6, 3, 2, 1]);
    }
}
