//! AVX2 with FMA and F16C: 16 lanes in two registers.
#![allow(
    unsafe_code,
    reason = "loads, stores and calls into code with other target features"
)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use crate::vector::{
    Bytes, CodeKind, GroupJob, Lanes, Pairs, Simd, TileJob, WordJob, kernels, operations, run_tiles,
};
use crate::{
    Activation, Attention, Element, KeyPanels, Matrix, MatrixMut, Operand, Panels, Product, Rates,
    RopeStyle, Softmax, ValueRows, Workspace,
};

/// Proof that this processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if the processor and the system have the instructions.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        present.then_some(Self(()))
    }
}

kernels!(Avx2, "avx2,fma,f16c");

impl Avx2 {
    fn set_name(self) -> &'static str {
        "avx2"
    }

    fn set_rates(self) -> Rates {
        Rates {
            few_bytes: true,
            many_bytes: true,
            few_rows: 8,
            ..Rates::default()
        }
    }
}

/// 16 `f32`.
type Floats = [__m256; 2];
/// 16 `i32`.
type Ints = [__m256i; 2];

/// A load of 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_16(from: &[u8; 16]) -> __m128i {
    // SAFETY: 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// A load of 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_32(from: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// A load of 8 halves of 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_halves(from: &[u16; 8]) -> __m128i {
    // SAFETY: 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// `sum + weights x` over the four bytes of each word, weights unsigned.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_8(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(weights, x);
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Two equal parts of an array.
#[inline(always)]
fn halves<T, const N: usize>(all: &[T]) -> [&[T; N]; 2] {
    let (parts, _) = all.as_chunks::<N>();
    [&parts[0], &parts[1]]
}

impl Simd for Avx2 {
    type Floats = Floats;
    type Ints = Ints;
    const ROWS: usize = 2;
    const BIAS: i32 = 0;
    const FEW_ROWS: usize = 4;
    const SHORT_SUMS: bool = true;

    operations! { "avx2,fma,f16c";
        fn splat(x: f32) -> Floats {
            [_mm256_set1_ps(x); 2]
        }
        fn load(from: &[f32; 16]) -> Floats {
            // SAFETY: 32 readable bytes; the load needs no alignment.
            halves::<f32, 8>(from).map(|half| unsafe { _mm256_loadu_ps(half.as_ptr()) })
        }
        fn store(x: Floats, to: &mut [f32; 16]) {
            let (parts, _) = to.as_chunks_mut::<8>();
            // SAFETY: 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_ps(parts[0].as_mut_ptr(), x[0]) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(parts[1].as_mut_ptr(), x[1]) };
        }
        fn load_f16(from: &[u16; 16]) -> Floats {
            let [low, high] = halves::<u16, 8>(from);
            [_mm256_cvtph_ps(load_halves(low)), _mm256_cvtph_ps(load_halves(high))]
        }
        fn store_f16(x: Floats, to: &mut [u16; 16]) {
            let (parts, _) = to.as_chunks_mut::<8>();
            let [low, high] = [
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]),
            ];
            // SAFETY: 16 writable bytes; the store needs no alignment.
            unsafe { _mm_storeu_si128(parts[0].as_mut_ptr().cast(), low) };
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(parts[1].as_mut_ptr().cast(), high) };
        }
        fn load_words(from: &[u8; 64]) -> Ints {
            let [low, high] = halves::<u8, 32>(from);
            [load_32(low), load_32(high)]
        }
        fn load_u8(from: &[u8; 16]) -> Ints {
            let bytes = load_16(from);
            [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))]
        }
        fn load_i8(from: &[u8; 16]) -> Ints {
            let bytes = load_16(from);
            [_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))]
        }
        fn load_ints(from: &[i32; 16]) -> Ints {
            // SAFETY: 32 readable bytes; the load needs no alignment.
            halves::<i32, 8>(from).map(|half| unsafe { _mm256_loadu_si256(half.as_ptr().cast()) })
        }
        fn store_ints(x: Ints, to: &mut [i32; 16]) {
            let (parts, _) = to.as_chunks_mut::<8>();
            // SAFETY: 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_si256(parts[0].as_mut_ptr().cast(), x[0]) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(parts[1].as_mut_ptr().cast(), x[1]) };
        }
        fn store_halves(x: Ints, to: &mut [u16; 16]) {
            let low = _mm256_set1_epi32(0xFFFF);
            let packed = _mm256_packus_epi32(_mm256_and_si256(x[0], low), _mm256_and_si256(x[1], low));
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            // SAFETY: 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), ordered) };
        }
        fn store_bytes(x: Ints, to: &mut [u8; 16]) {
            let low = _mm256_set1_epi32(0xFF);
            let packed = _mm256_packus_epi32(_mm256_and_si256(x[0], low), _mm256_and_si256(x[1], low));
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256::<1>(ordered));
            // SAFETY: 16 writable bytes; the store needs no alignment.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) };
        }
        fn add(a: Floats, b: Floats) -> Floats {
            [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
        }
        fn sub(a: Floats, b: Floats) -> Floats {
            [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
        }
        fn mul(a: Floats, b: Floats) -> Floats {
            [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
        }
        fn div(a: Floats, b: Floats) -> Floats {
            [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
        }
        fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        }
        fn min(a: Floats, b: Floats) -> Floats {
            [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
        }
        fn max(a: Floats, b: Floats) -> Floats {
            [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
        }
        fn any_less(a: Floats, b: Floats) -> bool {
            let less = _mm256_or_ps(
                _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]),
                _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1]),
            );
            _mm256_movemask_ps(less) != 0
        }
        fn select_less(a: Floats, b: Floats, x: Floats, y: Floats) -> Floats {
            [
                _mm256_blendv_ps(y[0], x[0], _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0])),
                _mm256_blendv_ps(y[1], x[1], _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])),
            ]
        }
        fn splat_int(x: i32) -> Ints {
            [_mm256_set1_epi32(x); 2]
        }
        fn add_int(a: Ints, b: Ints) -> Ints {
            [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
        }
        fn sub_int(a: Ints, b: Ints) -> Ints {
            [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])]
        }
        fn and(a: Ints, b: Ints) -> Ints {
            [_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])]
        }
        fn or(a: Ints, b: Ints) -> Ints {
            [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])]
        }
        fn xor(a: Ints, b: Ints) -> Ints {
            [_mm256_xor_si256(a[0], b[0]), _mm256_xor_si256(a[1], b[1])]
        }
        fn multiply_halves(a: Ints, b: Ints) -> Ints {
            [_mm256_mullo_epi16(a[0], b[0]), _mm256_mullo_epi16(a[1], b[1])]
        }
        fn add_halves(a: Ints, b: Ints) -> Ints {
            [_mm256_add_epi16(a[0], b[0]), _mm256_add_epi16(a[1], b[1])]
        }
        fn dot(sum: Ints, weights: Ints, x: Ints) -> Ints {
            [dot_8(sum[0], weights[0], x[0]), dot_8(sum[1], weights[1], x[1])]
        }
        fn dot_biased(sum: Ints, weights: Ints, x: Ints) -> Ints {
            // |w| sign(w) x keeps every sum of two products below 2^15.
            [
                dot_8(sum[0], _mm256_abs_epi8(weights[0]), _mm256_sign_epi8(x[0], weights[0])),
                dot_8(sum[1], _mm256_abs_epi8(weights[1]), _mm256_sign_epi8(x[1], weights[1])),
            ]
        }
        fn dot_short(sum: Ints, weights: Ints, x: Ints) -> Ints {
            [
                _mm256_add_epi16(sum[0], _mm256_maddubs_epi16(weights[0], x[0])),
                _mm256_add_epi16(sum[1], _mm256_maddubs_epi16(weights[1], x[1])),
            ]
        }
        fn add_short(sum: Ints, short: Ints) -> Ints {
            let ones = _mm256_set1_epi16(1);
            [
                _mm256_add_epi32(sum[0], _mm256_madd_epi16(short[0], ones)),
                _mm256_add_epi32(sum[1], _mm256_madd_epi16(short[1], ones)),
            ]
        }
        fn shift_left(a: Ints, bits: i32) -> Ints {
            let bits = _mm256_set1_epi32(bits);
            [_mm256_sllv_epi32(a[0], bits), _mm256_sllv_epi32(a[1], bits)]
        }
        fn shift_right(a: Ints, bits: i32) -> Ints {
            let bits = _mm256_set1_epi32(bits);
            [_mm256_srlv_epi32(a[0], bits), _mm256_srlv_epi32(a[1], bits)]
        }
        fn shift_right_signed(a: Ints, bits: i32) -> Ints {
            let bits = _mm256_set1_epi32(bits);
            [_mm256_srav_epi32(a[0], bits), _mm256_srav_epi32(a[1], bits)]
        }
        fn to_float(a: Ints) -> Floats {
            [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])]
        }
        fn look_up(table: &[i8; 16], bytes: Ints) -> Ints {
            let table = _mm256_broadcastsi128_si256(load_16(&table.map(|entry| entry as u8)));
            [_mm256_shuffle_epi8(table, bytes[0]), _mm256_shuffle_epi8(table, bytes[1])]
        }
        fn prefetch(bytes: &[u8], offset: usize) {
            let line = bytes.as_ptr().wrapping_add(offset);
            // A prefetch does not fault, whatever the address.
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
        fn prefetch_second(bytes: &[u8], offset: usize) {
            let line = bytes.as_ptr().wrapping_add(offset);
            // As above.
            _mm_prefetch::<_MM_HINT_T1>(line.cast());
        }
        fn prefetch_to_write(bytes: &[u8], offset: usize) {
            let line = bytes.as_ptr().wrapping_add(offset);
            // SAFETY: as above; processors without the instruction do nothing.
            unsafe { asm!("prefetchw [{}]", in(reg) line, options(nostack, readonly, preserves_flags)) }
        }
        fn round(a: Floats) -> Ints {
            [_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1])]
        }
        fn float(bits: Ints) -> Floats {
            [_mm256_castsi256_ps(bits[0]), _mm256_castsi256_ps(bits[1])]
        }
        fn bits(x: Floats) -> Ints {
            [_mm256_castps_si256(x[0]), _mm256_castps_si256(x[1])]
        }
    }

    /// 6 rows of 16 outputs: 12 sums, 2 weights and an activation fill the 16 registers.
    #[inline(always)]
    fn tiles<L: Lanes>(self, job: &mut TileJob<'_, L>) {
        if job.rows <= 2 {
            // Many panels hide the latency that few rows do not.
            return run_tiles!(self, L, job, tile, 2, [2, 1]);
        }
        run_tiles!(self, L, job, tile, 1, [6, 4, 3, 2, 1]);
    }

    #[inline(always)]
    fn pair_tiles(self, job: &mut WordJob<'_>) {
        run_tiles!(self, Pairs, job, word_tile, 1, [4, 2, 1]);
    }

    #[inline(always)]
    fn byte_tiles(self, job: &mut WordJob<'_>) {
        run_tiles!(self, Bytes, job, word_tile, 1, [4, 2, 1]);
    }

    #[inline(always)]
    fn group_tiles<K: CodeKind>(self, job: &mut GroupJob<'_>) {
        run_tiles!(self, K, job, group_tile, 1, [4, 2, 1]);
    }
}
