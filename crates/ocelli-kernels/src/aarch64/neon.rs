//! NEON, which every 64-bit ARM processor has: 16 lanes in four registers.
//!
//! Products of bytes are made of widening multiplications, which need no later extension.
#![allow(
    unsafe_code,
    reason = "loads, stores and calls into code with target features"
)]

use std::arch::aarch64::*;
use std::ops::Range;

use half::f16;

use crate::vector::{
    Bytes, CodeKind, GroupJob, Lanes, Pairs, Simd, TileJob, WordJob, kernels, operations, run_tiles,
};
use crate::{
    Activation, Attention, Element, KeyPanels, Matrix, MatrixMut, Operand, Panels, Product, Rates,
    RopeStyle, Softmax, ValueRows, Workspace,
};

/// Proof that this processor has NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The proof, if the processor and the system have the instructions.
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    fn set_name(self) -> &'static str {
        "neon"
    }

    fn set_rates(self) -> Rates {
        Rates {
            few_bytes: true,
            ..Rates::default()
        }
    }
}

kernels!(Neon, "neon");

/// 16 `f32`.
type Floats = [float32x4_t; 4];
/// 16 `i32`.
type Ints = [int32x4_t; 4];

/// Four equal parts of an array.
#[inline(always)]
fn quarters<T, const N: usize>(all: &[T]) -> [&[T; N]; 4] {
    let (parts, _) = all.as_chunks::<N>();
    [&parts[0], &parts[1], &parts[2], &parts[3]]
}

/// `f` of each part.
macro_rules! each {
    (|$i:ident| $body:expr) => {
        [
            {
                const $i: usize = 0;
                $body
            },
            {
                const $i: usize = 1;
                $body
            },
            {
                const $i: usize = 2;
                $body
            },
            {
                const $i: usize = 3;
                $body
            },
        ]
    };
}

/// `sum + weights x` over the four signed bytes of each word; sums of two products stay below 2^15.
#[inline]
#[target_feature(enable = "neon")]
fn dot_4(sum: int32x4_t, weights: int32x4_t, x: int32x4_t) -> int32x4_t {
    let (weights, x) = (vreinterpretq_s8_s32(weights), vreinterpretq_s8_s32(x));
    let low = vmull_s8(vget_low_s8(weights), vget_low_s8(x));
    let high = vmull_high_s8(weights, x);
    vpadalq_s16(sum, vpaddq_s16(low, high))
}

/// Shifts by a number of bits, to the right where it is negative, zeros in.
#[inline]
#[target_feature(enable = "neon")]
fn shift(a: int32x4_t, bits: i32) -> int32x4_t {
    vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(bits)))
}

impl Simd for Neon {
    type Floats = Floats;
    type Ints = Ints;
    const ROWS: usize = 2;
    const BIAS: i32 = 0;
    const FEW_ROWS: usize = 2;
    const SHORT_SUMS: bool = false;

    operations! { "neon";
        fn splat(x: f32) -> Floats {
            [vdupq_n_f32(x); 4]
        }
        fn load(from: &[f32; 16]) -> Floats {
            // SAFETY: 16 readable bytes each; the load needs no alignment.
            quarters::<f32, 4>(from).map(|part| unsafe { vld1q_f32(part.as_ptr()) })
        }
        fn store(x: Floats, to: &mut [f32; 16]) {
            for (part, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                // SAFETY: 16 writable bytes; the store needs no alignment.
                unsafe { vst1q_f32(part.as_mut_ptr(), x) };
            }
        }
        fn load_f16(from: &[u16; 16]) -> Floats {
            let wide = from.map(|half| f16::from_bits(half).to_f32());
            // SAFETY: 16 readable bytes each; the load needs no alignment.
            quarters::<f32, 4>(&wide).map(|part| unsafe { vld1q_f32(part.as_ptr()) })
        }
        fn store_f16(x: Floats, to: &mut [u16; 16]) {
            let mut wide = [0.0; 16];
            for (part, x) in wide.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                // SAFETY: 16 writable bytes; the store needs no alignment.
                unsafe { vst1q_f32(part.as_mut_ptr(), x) };
            }
            *to = wide.map(|x| f16::from_f32(x).to_bits());
        }
        fn load_words(from: &[u8; 64]) -> Ints {
            // SAFETY: 16 readable bytes each; the load needs no alignment.
            quarters::<u8, 16>(from).map(|part| vreinterpretq_s32_u8(unsafe { vld1q_u8(part.as_ptr()) }))
        }
        fn load_u8(from: &[u8; 16]) -> Ints {
            // SAFETY: 16 readable bytes; the load needs no alignment.
            let bytes = unsafe { vld1q_u8(from.as_ptr()) };
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            [
                vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
                vreinterpretq_s32_u32(vmovl_high_u16(low)),
                vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
                vreinterpretq_s32_u32(vmovl_high_u16(high)),
            ]
        }
        fn load_i8(from: &[u8; 16]) -> Ints {
            // SAFETY: 16 readable bytes; the load needs no alignment.
            let bytes = vreinterpretq_s8_u8(unsafe { vld1q_u8(from.as_ptr()) });
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ]
        }
        fn load_ints(from: &[i32; 16]) -> Ints {
            // SAFETY: 16 readable bytes each; the load needs no alignment.
            quarters::<i32, 4>(from).map(|part| unsafe { vld1q_s32(part.as_ptr()) })
        }
        fn store_ints(x: Ints, to: &mut [i32; 16]) {
            for (part, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                // SAFETY: 16 writable bytes; the store needs no alignment.
                unsafe { vst1q_s32(part.as_mut_ptr(), x) };
            }
        }
        fn store_halves(x: Ints, to: &mut [u16; 16]) {
            for (part, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                // SAFETY: 8 writable bytes; the store needs no alignment.
                unsafe { vst1_u16(part.as_mut_ptr(), vmovn_u32(vreinterpretq_u32_s32(x))) };
            }
        }
        fn store_bytes(x: Ints, to: &mut [u8; 16]) {
            let halves = [
                vcombine_s16(vmovn_s32(x[0]), vmovn_s32(x[1])),
                vcombine_s16(vmovn_s32(x[2]), vmovn_s32(x[3])),
            ];
            let bytes = vcombine_s8(vmovn_s16(halves[0]), vmovn_s16(halves[1]));
            // SAFETY: 16 writable bytes; the store needs no alignment.
            unsafe { vst1q_u8(to.as_mut_ptr(), vreinterpretq_u8_s8(bytes)) };
        }
        fn add(a: Floats, b: Floats) -> Floats {
            each!(|I| vaddq_f32(a[I], b[I]))
        }
        fn sub(a: Floats, b: Floats) -> Floats {
            each!(|I| vsubq_f32(a[I], b[I]))
        }
        fn mul(a: Floats, b: Floats) -> Floats {
            each!(|I| vmulq_f32(a[I], b[I]))
        }
        fn div(a: Floats, b: Floats) -> Floats {
            each!(|I| vdivq_f32(a[I], b[I]))
        }
        fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
            each!(|I| vfmaq_f32(c[I], a[I], b[I]))
        }
        fn min(a: Floats, b: Floats) -> Floats {
            each!(|I| vbslq_f32(vcltq_f32(a[I], b[I]), a[I], b[I]))
        }
        fn max(a: Floats, b: Floats) -> Floats {
            each!(|I| vbslq_f32(vcgtq_f32(a[I], b[I]), a[I], b[I]))
        }
        fn any_less(a: Floats, b: Floats) -> bool {
            let [first, second, third, fourth] = each!(|I| vcltq_f32(a[I], b[I]));
            let less = vorrq_u32(vorrq_u32(first, second), vorrq_u32(third, fourth));
            vmaxvq_u32(less) != 0
        }
        fn select_less(a: Floats, b: Floats, x: Floats, y: Floats) -> Floats {
            each!(|I| vbslq_f32(vcltq_f32(a[I], b[I]), x[I], y[I]))
        }
        fn splat_int(x: i32) -> Ints {
            [vdupq_n_s32(x); 4]
        }
        fn add_int(a: Ints, b: Ints) -> Ints {
            each!(|I| vaddq_s32(a[I], b[I]))
        }
        fn sub_int(a: Ints, b: Ints) -> Ints {
            each!(|I| vsubq_s32(a[I], b[I]))
        }
        fn and(a: Ints, b: Ints) -> Ints {
            each!(|I| vandq_s32(a[I], b[I]))
        }
        fn or(a: Ints, b: Ints) -> Ints {
            each!(|I| vorrq_s32(a[I], b[I]))
        }
        fn xor(a: Ints, b: Ints) -> Ints {
            each!(|I| veorq_s32(a[I], b[I]))
        }
        fn multiply_halves(a: Ints, b: Ints) -> Ints {
            each!(|I| vreinterpretq_s32_s16(vmulq_s16(vreinterpretq_s16_s32(a[I]), vreinterpretq_s16_s32(b[I]))))
        }
        fn add_halves(a: Ints, b: Ints) -> Ints {
            each!(|I| vreinterpretq_s32_s16(vaddq_s16(vreinterpretq_s16_s32(a[I]), vreinterpretq_s16_s32(b[I]))))
        }
        fn dot(sum: Ints, weights: Ints, x: Ints) -> Ints {
            each!(|I| dot_4(sum[I], weights[I], x[I]))
        }
        fn dot_biased(sum: Ints, weights: Ints, x: Ints) -> Ints {
            each!(|I| dot_4(sum[I], weights[I], x[I]))
        }
        fn shift_left(a: Ints, bits: i32) -> Ints {
            each!(|I| shift(a[I], bits))
        }
        fn shift_right(a: Ints, bits: i32) -> Ints {
            each!(|I| shift(a[I], -bits))
        }
        fn shift_right_signed(a: Ints, bits: i32) -> Ints {
            each!(|I| vshlq_s32(a[I], vdupq_n_s32(-bits)))
        }
        fn to_float(a: Ints) -> Floats {
            each!(|I| vcvtq_f32_s32(a[I]))
        }
        fn look_up(table: &[i8; 16], bytes: Ints) -> Ints {
            // SAFETY: 16 readable bytes; the load needs no alignment.
            let table = unsafe { vld1q_s8(table.as_ptr()) };
            each!(|I| vreinterpretq_s32_s8(vqtbl1q_s8(table, vreinterpretq_u8_s32(bytes[I]))))
        }
        fn round(a: Floats) -> Ints {
            each!(|I| vcvtnq_s32_f32(a[I]))
        }
        fn float(bits: Ints) -> Floats {
            each!(|I| vreinterpretq_f32_s32(bits[I]))
        }
        fn bits(x: Floats) -> Ints {
            each!(|I| vreinterpretq_s32_f32(x[I]))
        }
    }

    /// Stable Rust has no prefetch for this processor; its own ones follow the streams.
    #[inline(always)]
    fn prefetch(self, _: &[u8], _: usize) {}

    /// 6 rows of 16 outputs: 24 sums, 4 weights and an activation of the 32 registers.
    #[inline(always)]
    fn tiles<L: Lanes>(self, job: &mut TileJob<'_, L>) {
        run_tiles!(self, L, job, tile, 1, [6, 3, 2, 1]);
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
        run_tiles!(self, K, job, group_tile, 1, [2, 1]);
    }
}
