//! Operations of AVX-512 on 16 lanes in one register, and what multiplies rounded operands.
#![allow(
    unsafe_code,
    reason = "loads, stores and calls into code with other target features"
)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::dots::{add_short, dot_16, dot_short, dot_signed, dot_vnni};
use super::entries::finish_part;
use super::{Avx512Set, Unit};
use crate::strided::StridedMut;
use crate::tiles::{self, Emulated, Meanwhile};
use crate::vector::{
    self, Bytes, CodeKind, GroupJob, Lanes, Pairs, PlainHalves, Simd, TileJob, WordJob, operations,
    run_tiles,
};
use crate::x86_64::amx::Amx;
use crate::x86_64::caches::first_level_bytes;
use crate::x86_64::pairs::{attend_pairs, attend_tiles, pair_tiles, unpack_pairs};
use crate::x86_64::transpose::transpose_block;
use crate::{Attention, CHUNK, Code, Kernels, LANES, MatrixMut, Product, Workspace};

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

impl<const VNNI: bool> Simd for Avx512Set<VNNI> {
    type Floats = __m512;
    type Ints = __m512i;
    const ROWS: usize = 4;
    const BIAS: i32 = if VNNI { 128 } else { 0 };
    const FEW_ROWS: usize = 8;
    const SHORT_SUMS: bool = !VNNI;

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
        fn load_ints(from: &[i32; 16]) -> __m512i {
            // SAFETY: 64 readable bytes; the load needs no alignment.
            unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
        }
        fn store_ints(x: __m512i, to: &mut [i32; 16]) {
            // SAFETY: 64 writable bytes; the store needs no alignment.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), x) }
        }
        fn store_halves(x: __m512i, to: &mut [u16; 16]) {
            let halves = _mm512_cvtepi32_epi16(x);
            // SAFETY: 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), halves) }
        }
        fn store_bytes(x: __m512i, to: &mut [u8; 16]) {
            let bytes = _mm512_cvtepi32_epi8(x);
            // SAFETY: 16 writable bytes; the store needs no alignment.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
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
        fn xor(a: __m512i, b: __m512i) -> __m512i {
            _mm512_xor_si512(a, b)
        }
        fn multiply_halves(a: __m512i, b: __m512i) -> __m512i {
            _mm512_mullo_epi16(a, b)
        }
        fn add_halves(a: __m512i, b: __m512i) -> __m512i {
            _mm512_add_epi16(a, b)
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
        fn round(a: __m512) -> __m512i {
            _mm512_cvtps_epi32(a)
        }
        fn float(bits: __m512i) -> __m512 {
            _mm512_castsi512_ps(bits)
        }
        fn bits(x: __m512) -> __m512i {
            _mm512_castps_si512(x)
        }
        fn any_less(a: __m512, b: __m512) -> bool {
            _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) != 0
        }
        fn sum(x: __m512) -> f32 {
            let x = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x));
            let x = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
            let x = _mm512_castps512_ps128(x);
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
        fn largest(x: __m512) -> f32 {
            let x = _mm512_max_ps(x, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x));
            let x = _mm512_max_ps(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
            let x = _mm512_castps512_ps128(x);
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
        fn power_of_two(x: __m512) -> __m512 {
            // x - floor(x), which is 0 for infinities; the polynomial is fitted on 0..=1, to a
            // relative error of 7.5e-5.
            let f = _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
            let mut p = _mm512_set1_ps(0.078_024_544);
            for c in [0.226_067_14, 0.695_833_56, 0.999_925_2] {
                p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
            }
            _mm512_scalef_ps(p, x)
        }
    }

    #[inline(always)]
    fn dot(self, sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        if VNNI {
            // SAFETY: `self` exists only if the processor has these features.
            unsafe { dot_vnni(sum, weights, x) }
        } else {
            // SAFETY: as above.
            unsafe { dot_16(sum, weights, x) }
        }
    }

    #[inline(always)]
    fn dot_biased(self, sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        if VNNI {
            // SAFETY: `self` exists only if the processor has these features.
            unsafe { dot_vnni(sum, weights, x) }
        } else {
            // SAFETY: as above.
            unsafe { dot_signed(sum, weights, x) }
        }
    }

    #[inline(always)]
    fn dot_short(self, sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        // SAFETY: `self` exists only if the processor has these features.
        unsafe { dot_short(sum, weights, x) }
    }

    #[inline(always)]
    fn add_short(self, sum: __m512i, short: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { add_short(sum, short) }
    }

    #[inline(always)]
    fn transpose_block(self, rows: [&[f32; LANES]; LANES], out: &mut [[f32; LANES]; LANES]) {
        // SAFETY: `self` exists only if the processor has these features.
        unsafe { transpose_block(rows, out) }
    }

    /// Two runs of keys take 32 KB: in a cache of that size lines on their way displace each other
    /// (Zen 4), in 48 KB they save 8 % of attention to 8192 tokens (Zen 5).
    #[inline(always)]
    fn first_level_holds_runs(self) -> bool {
        first_level_bytes() >= 48 << 10
    }

    /// 12 rows of 32 outputs: 24 sums, 2 weights and an activation of the 32 registers.
    #[inline(always)]
    fn tiles<L: Lanes>(self, job: &mut TileJob<'_, L>) {
        if job.rows <= 2 {
            // Many panels hide the latency that few rows do not.
            return run_tiles!(self, L, job, tile, 4, [2, 1]);
        }
        run_tiles!(self, L, job, tile, 2, [12, 8, 6, 3, 2, 1]);
    }

    #[inline(always)]
    fn stream<L: Lanes>(self, job: &mut TileJob<'_, L>) {
        match (job.rows, job.panel_step, job.panels) {
            // Whole rows of elements, in the order of memory.
            (..=2, LANES, 8..) => run_tiles!(self, L, job, stream_tile, 8, [2, 1]),
            (..=2, ..) => run_tiles!(self, L, job, stream_tile, 4, [2, 1]),
            _ => run_tiles!(self, L, job, stream_tile, 4, [4, 2, 1]),
        }
    }

    #[inline(always)]
    fn pair_tiles(self, job: &mut WordJob<'_>) {
        match self.0 {
            Unit::Bytes => run_tiles!(self, Pairs, job, word_tile, 2, [6, 3, 2, 1]),
            // SAFETY: the unit was found on this processor.
            Unit::Pairs => unsafe { pair_tiles(self, job) },
            Unit::Tiles(amx) => amx.pair_tiles(job, &mut ()),
        }
    }

    /// A matrix unit reads rows from the second-level cache: the panels that it reads again and
    /// again have to leave room for them in the first.
    #[inline(always)]
    fn stored_chunk(self) -> usize {
        match self.0 {
            Unit::Tiles(_) => CHUNK,
            Unit::Bytes | Unit::Pairs => 2 * CHUNK,
        }
    }

    /// An odd number of lines, so that the rows of a tile do not fall on the same ones of a cache.
    #[inline(always)]
    fn sums_stride(self, panels: usize) -> usize {
        match self.0 {
            Unit::Tiles(_) => (panels | 1) * LANES,
            Unit::Bytes | Unit::Pairs => panels * LANES,
        }
    }

    #[inline(always)]
    fn multiplies_alone(self) -> bool {
        matches!(self.0, Unit::Tiles(_))
    }

    #[inline(always)]
    fn pair_tiles_while(self, job: &mut WordJob<'_>, meanwhile: &mut dyn Meanwhile) {
        if let Unit::Tiles(amx) = self.0 {
            return amx.pair_tiles(job, meanwhile);
        }
        self.pair_tiles(job);
        tiles::run_behind(job, meanwhile);
    }

    #[inline(always)]
    fn finish_part(
        self,
        product: &mut Product<'_>,
        rows: Range<usize>,
        outputs: Range<usize>,
        sums: StridedMut<'_, f32>,
    ) {
        // SAFETY: the token exists only if the processor has these features.
        unsafe { finish_part(self, product, rows, outputs, sums) }
    }

    #[inline(always)]
    fn unpack_pairs(self, code: Code, blocks: &[u8], groups: Range<usize>, out: &mut [i32]) {
        match self.0 {
            // SAFETY: the unit was found on this processor; the matrix unit comes with it.
            Unit::Pairs | Unit::Tiles(Amx::Unit(_)) => unsafe {
                unpack_pairs(self, code, blocks, groups, out);
            },
            Unit::Bytes | Unit::Tiles(Amx::Emulated) => {
                vector::unpack_pairs::<_, PlainHalves>(self, code, blocks, groups, out);
            }
        }
    }

    #[inline(always)]
    fn attend_pairs(
        self,
        attention: &Attention<'_>,
        out: &mut MatrixMut<'_>,
        workspace: &mut Workspace,
    ) where
        Self: Kernels,
    {
        match self.0 {
            // SAFETY: the unit was found on this processor.
            Unit::Pairs => unsafe { attend_pairs(self, attention, out, workspace) },
            // SAFETY: the matrix unit comes with what makes pairs.
            Unit::Tiles(Amx::Unit(proof)) => unsafe {
                attend_tiles(self, proof, attention, out, workspace);
            },
            Unit::Tiles(Amx::Emulated) => {
                let unit = &mut Emulated::new();
                vector::attend_tiles_of::<_, _, PlainHalves>(unit, self, attention, out, workspace);
            }
            Unit::Bytes => {
                vector::attend_pairs_of::<_, PlainHalves>(self, attention, out, workspace);
            }
        }
    }

    #[inline(always)]
    fn byte_tiles(self, job: &mut WordJob<'_>) {
        match self.0 {
            // SAFETY: the unit was found on this processor, and AVX-512 with it.
            Unit::Tiles(amx) => unsafe { amx.byte_tiles(self, job) },
            _ => run_tiles!(self, Bytes, job, word_tile, 2, [12, 6, 3, 2, 1]),
        }
    }

    #[inline(always)]
    fn group_tiles<K: CodeKind>(self, job: &mut GroupJob<'_>) {
        run_tiles!(self, K, job, group_tile, 2, [6, 2, 1]);
    }
}
