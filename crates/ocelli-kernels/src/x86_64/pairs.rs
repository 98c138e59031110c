//! Products of pairs of halves in registers, and rounding to them: AVX512-BF16.
#![allow(unsafe_code, reason = "calls into code with other target features")]

use std::arch::x86_64::*;
use std::ops::Range;

use super::amx::{Proof, Tiles};
use super::avx512::Avx512Set;
use crate::vector::{
    self, Dot, Halves, Pairs, TilePlace, WordJob, attend_pairs_of, attend_tiles_of, run_tiles,
};
use crate::{Attention, Code, Kernels, LANES, MatrixMut, Workspace};

/// `sum + a0 b0 + a1 b1` in one instruction, which takes numbers below the smallest normal one as 0.
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
    unsafe fn first<const ROWS: usize, const PANELS: usize>(
        s: Avx512Set<VNNI>,
        job: &WordJob<'_>,
        place: TilePlace,
    ) -> [[__m512; PANELS]; ROWS] {
        // SAFETY: as the caller promises.
        unsafe { Pairs::first(s, job, place) }
    }

    #[inline(always)]
    fn dot(_: Avx512Set<VNNI>, sum: __m512, b: __m512i, a: i32) -> __m512 {
        // SAFETY: only `pair_tiles` uses this type, and its caller found the instructions.
        unsafe { dot(sum, b, a) }
    }

    #[inline(always)]
    unsafe fn last<const ROWS: usize, const PANELS: usize>(
        s: Avx512Set<VNNI>,
        tile: &[[__m512; PANELS]; ROWS],
        job: &mut WordJob<'_>,
        place: TilePlace,
    ) {
        // SAFETY: as the caller promises.
        unsafe { Pairs::last(s, tile, job, place) };
    }
}

/// 12 rows of 32 outputs: 24 sums, 2 weights and an activation of the 32 registers. Four rows still
/// hide the latency of products.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512bf16")]
pub(super) fn pair_tiles<const VNNI: bool>(s: Avx512Set<VNNI>, job: &mut WordJob<'_>) {
    run_tiles!(s, NativePairs, job, word_tile, 2, [12, 8, 4, 2, 1]);
}

/// Two vectors in one instruction, which takes numbers below the smallest normal one as 0, as the
/// products do.
struct NativeHalves;

/// Halves of `first`, and those of `second` behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(first: __m512, second: __m512) -> __m512i {
    let halves = _mm512_cvtne2ps_pbh(second, first);
    // SAFETY: both types are 64 bytes for which all bits are valid.
    unsafe { std::mem::transmute(halves) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn join(even: __m512, odd: __m512) -> __m512i {
    let halves = round(even, odd);
    // Half `i` of the one, half `i` of the other, which is 16 places behind it.
    let order: [u16; 2 * LANES] = std::array::from_fn(|i| (i / 2 + i % 2 * LANES) as u16);
    // SAFETY: 64 readable bytes; the load needs no alignment.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, halves)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn store(first: __m512, second: __m512, out: &mut [u16; 2 * LANES]) {
    let halves = round(first, second);
    // SAFETY: 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), halves) }
}

impl<const VNNI: bool> Halves<Avx512Set<VNNI>> for NativeHalves {
    #[inline(always)]
    fn join(_: Avx512Set<VNNI>, even: __m512, odd: __m512) -> __m512i {
        // SAFETY: only `attend_pairs` uses this type, and its caller found the instructions.
        unsafe { join(even, odd) }
    }

    #[inline(always)]
    fn store(_: Avx512Set<VNNI>, first: __m512, second: __m512, out: &mut [u16; 2 * LANES]) {
        // SAFETY: as above.
        unsafe { store(first, second, out) }
    }
}

/// Some groups of blocks of a panel as words of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512bf16")]
pub(super) fn unpack_pairs<const VNNI: bool>(
    s: Avx512Set<VNNI>,
    code: Code,
    blocks: &[u8],
    groups: Range<usize>,
    out: &mut [i32],
) {
    vector::unpack_pairs::<_, NativeHalves>(s, code, blocks, groups, out);
}

/// See [`Kernels::attend_pairs`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512bf16")]
pub(super) fn attend_pairs<const VNNI: bool>(
    s: Avx512Set<VNNI>,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) where
    Avx512Set<VNNI>: Kernels,
{
    attend_pairs_of::<_, NativeHalves>(s, attention, out, workspace);
}

/// The same on the matrix unit.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512bf16")]
pub(super) fn attend_tiles<const VNNI: bool>(
    s: Avx512Set<VNNI>,
    proof: Proof,
    attention: &Attention<'_>,
    out: &mut MatrixMut<'_>,
    workspace: &mut Workspace,
) where
    Avx512Set<VNNI>: Kernels,
{
    let mut unit = Tiles::new(proof);
    attend_tiles_of::<_, _, NativeHalves>(&mut unit, s, attention, out, workspace);
}
