//! The operations that an instruction set must have: 16 `f32` or 16 `i32` at a time.
//!
//! 16 lanes everywhere, in however many registers, make results the same on all sets.

use std::ops::Range;

use crate::strided::StridedMut;
use crate::tiles::{self, Meanwhile};
use crate::vector::{
    CodeKind, GroupJob, Lanes, PlainHalves, TileJob, WordJob, attend_pairs_of, finish_part, math,
    stream_tiles, unpack_pairs,
};
use crate::{Attention, CHUNK, Code, Kernels, LANES, MatrixMut, Product, Workspace};

/// A vector instruction set; the value is the proof that the processor has it.
///
/// Methods are `#[inline(always)]` and must be called from code compiled with the set's features.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// 16 `f32`.
    type Floats: Copy;
    /// 16 `i32`.
    type Ints: Copy;
    /// Activation rows for which a quantised weight is decoded once: what the registers hold.
    const ROWS: usize;
    /// What byte products want added to signed weights: 128 where an instruction takes unsigned
    /// ones only, else 0.
    const BIAS: i32;
    /// Generated rows for which the codes of a panel are decoded once in products of bytes: 2, 4 or 8.
    const FEW_ROWS: usize;
    /// Whether byte products are faster when sums of few of them stay in 16 bits.
    const SHORT_SUMS: bool;

    /// All lanes the same.
    fn splat(self, x: f32) -> Self::Floats;
    /// 16 values.
    fn load(self, from: &[f32; 16]) -> Self::Floats;
    /// 16 values.
    fn store(self, x: Self::Floats, to: &mut [f32; 16]);
    /// 16 halves as `f32`, exact.
    fn load_f16(self, from: &[u16; 16]) -> Self::Floats;
    /// `f32` to half precision, to nearest even.
    fn store_f16(self, x: Self::Floats, to: &mut [u16; 16]);
    /// 16 words of 32 bits.
    fn load_words(self, from: &[u8; 64]) -> Self::Ints;
    /// 16 bytes, each to an `i32`.
    fn load_u8(self, from: &[u8; 16]) -> Self::Ints;
    /// 16 signed bytes, each to an `i32`.
    fn load_i8(self, from: &[u8; 16]) -> Self::Ints;

    /// 16 words of 32 bits.
    fn load_ints(self, from: &[i32; 16]) -> Self::Ints;
    /// 16 words of 32 bits.
    fn store_ints(self, x: Self::Ints, to: &mut [i32; 16]);
    /// The low halves of 16 words.
    fn store_halves(self, x: Self::Ints, to: &mut [u16; 16]);
    /// The low bytes of 16 words.
    fn store_bytes(self, x: Self::Ints, to: &mut [u8; 16]);

    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a - b`.
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b`.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a / b`.
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// The smaller; `b` where either is not a number.
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The larger; `b` where either is not a number.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `x` where `a < b`, else `y`.
    fn select_less(
        self,
        a: Self::Floats,
        b: Self::Floats,
        x: Self::Floats,
        y: Self::Floats,
    ) -> Self::Floats;

    /// All lanes the same.
    fn splat_int(self, x: i32) -> Self::Ints;
    /// `a + b`, wrapping.
    fn add_int(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// `a - b`, wrapping.
    fn sub_int(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Bits of both.
    fn and(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Bits of either.
    fn or(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Bits of one of them.
    fn xor(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// `a * b` of each half of 16 bits, wrapping.
    fn multiply_halves(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// `a + b` of each half of 16 bits, wrapping.
    fn add_halves(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// `sum + weights x` over the four bytes of each word: weights below 64, `x` in -127..=127.
    fn dot(self, sum: Self::Ints, weights: Self::Ints, x: Self::Ints) -> Self::Ints;
    /// `sum + weights x` over the four bytes of each word: signed weights with [`Simd::BIAS`]
    /// added, `x` in -127..=127.
    fn dot_biased(self, sum: Self::Ints, weights: Self::Ints, x: Self::Ints) -> Self::Ints;
    /// Adds two products of each word's halves to halves of 16 bits, where [`Simd::SHORT_SUMS`];
    /// what [`Simd::dot`] does elsewhere.
    #[inline(always)]
    fn dot_short(self, sum: Self::Ints, weights: Self::Ints, x: Self::Ints) -> Self::Ints {
        self.dot(sum, weights, x)
    }
    /// `sum + short`, a sum that [`Simd::dot_short`] made from zeros.
    #[inline(always)]
    fn add_short(self, sum: Self::Ints, short: Self::Ints) -> Self::Ints {
        self.add_int(sum, short)
    }
    /// Shifts to the left by a constant below 32.
    fn shift_left(self, a: Self::Ints, bits: i32) -> Self::Ints;
    /// Shifts to the right by a constant below 32, zeros in.
    fn shift_right(self, a: Self::Ints, bits: i32) -> Self::Ints;
    /// Shifts to the right by a constant below 32, signs in.
    fn shift_right_signed(self, a: Self::Ints, bits: i32) -> Self::Ints;
    /// `i32` to `f32`.
    fn to_float(self, a: Self::Ints) -> Self::Floats;
    /// Each byte, below 16, replaced by that entry of the table.
    fn look_up(self, table: &[i8; 16], bytes: Self::Ints) -> Self::Ints;
    /// `f32` to the nearest `i32`, to even between two.
    fn round(self, a: Self::Floats) -> Self::Ints;
    /// The `f32` with these bits.
    fn float(self, bits: Self::Ints) -> Self::Floats;
    /// The bits of an `f32`.
    fn bits(self, x: Self::Floats) -> Self::Ints;

    /// Asks for the cache line `offset` bytes behind the start of `bytes`, which may lie behind their end.
    fn prefetch(self, bytes: &[u8], offset: usize);
    /// [`Simd::prefetch`] into the second-level cache, where the first is full of rows.
    #[inline(always)]
    fn prefetch_second(self, bytes: &[u8], offset: usize) {
        self.prefetch(bytes, offset);
    }

    /// Whether the first-level cache has room for the keys or values that are read and for those
    /// behind them, on their way.
    #[inline(always)]
    fn first_level_holds_runs(self) -> bool {
        false
    }

    /// [`Simd::prefetch`] of a line that will be written: no other core keeps it, so that the first
    /// store need not wait for theirs.
    #[inline(always)]
    fn prefetch_to_write(self, bytes: &[u8], offset: usize) {
        self.prefetch(bytes, offset);
    }

    /// Register tiles of a product; see [`TileJob`].
    fn tiles<L: Lanes>(self, job: &mut TileJob<'_, L>);

    /// [`Simd::tiles`] for a few rows that read their elements from memory.
    #[inline(always)]
    fn stream<L: Lanes>(self, job: &mut TileJob<'_, L>) {
        stream_tiles(self, job);
    }

    /// `out[i][j] = rows[j][i]`.
    #[inline(always)]
    fn transpose_block(self, rows: [&[f32; LANES]; LANES], out: &mut [[f32; LANES]; LANES]) {
        for (i, out) in out.iter_mut().enumerate() {
            for (out, row) in out.iter_mut().zip(rows) {
                *out = row[i];
            }
        }
    }

    /// Register tiles, or tiles of a matrix unit, of a product of pairs; see [`WordJob`].
    fn pair_tiles(self, job: &mut WordJob<'_>);

    /// Inputs of a chunk of pairs that are used as they are stored: two panels of it fill half a
    /// first-level cache.
    #[inline(always)]
    fn stored_chunk(self) -> usize {
        2 * CHUNK
    }

    /// Elements from one row of a product's sums to the next, for so many panels.
    #[inline(always)]
    fn sums_stride(self, panels: usize) -> usize {
        panels * LANES
    }

    /// Whether products of pairs leave registers to other work.
    #[inline(always)]
    fn multiplies_alone(self) -> bool {
        false
    }

    /// [`Simd::pair_tiles`], and other work meanwhile.
    #[inline(always)]
    fn pair_tiles_while(self, job: &mut WordJob<'_>, meanwhile: &mut dyn Meanwhile) {
        self.pair_tiles(job);
        tiles::run_behind(job, meanwhile);
    }

    /// Finishes sums of some outputs of some rows, the first of `sums` that of the first row and
    /// output: `[rows, outputs]`.
    #[inline(always)]
    fn finish_part(
        self,
        product: &mut Product<'_>,
        rows: Range<usize>,
        outputs: Range<usize>,
        sums: StridedMut<'_, f32>,
    ) {
        finish_part(self, product, rows, outputs, sums);
    }

    /// Some groups of a panel's blocks as words of pairs, to nearest even.
    #[inline(always)]
    fn unpack_pairs(self, code: Code, blocks: &[u8], groups: Range<usize>, out: &mut [i32]) {
        unpack_pairs::<_, PlainHalves>(self, code, blocks, groups, out);
    }

    /// [`Simd::pair_tiles`] for a product of bytes.
    fn byte_tiles(self, job: &mut WordJob<'_>);

    /// Register tiles of a product of bytes with codes; see [`GroupJob`].
    fn group_tiles<K: CodeKind>(self, job: &mut GroupJob<'_>);

    /// See [`Kernels::attend_pairs`]; a set with instructions for it rounds with them.
    #[inline(always)]
    fn attend_pairs(
        self,
        attention: &Attention<'_>,
        out: &mut MatrixMut<'_>,
        workspace: &mut Workspace,
    ) where
        Self: Kernels,
    {
        attend_pairs_of::<_, PlainHalves>(self, attention, out, workspace);
    }

    /// `2^x` with a relative error below 1e-4; 0 far below the smallest normal number, `2^127` at
    /// least where it would be more. What is not a number stays so.
    #[inline(always)]
    fn power_of_two(self, x: Self::Floats) -> Self::Floats {
        math::power_of_two(self, x)
    }

    /// Whether `a < b` in any lane.
    #[inline(always)]
    fn any_less(self, a: Self::Floats, b: Self::Floats) -> bool {
        let less = self.select_less(a, b, self.splat(1.0), self.splat(0.0));
        self.largest(less) > 0.0
    }

    /// The upper half of each `f32`, to nearest even, in the low half of its word.
    #[inline(always)]
    fn upper_half(self, x: Self::Floats) -> Self::Ints {
        let bits = self.bits(x);
        let odd = self.and(self.shift_right(bits, 16), self.splat_int(1));
        let rounded = self.add_int(self.add_int(bits, odd), self.splat_int(0x7FFF));
        // What is not a number could wrap round to one: it is cut instead.
        let finite = self.select_less(x, self.splat(f32::INFINITY), self.float(rounded), x);
        self.shift_right(self.bits(finite), 16)
    }

    /// The sum of all lanes: halves are added until one is left.
    #[inline(always)]
    fn sum(self, x: Self::Floats) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes);
        fold(lanes, |a, b| a + b)
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, x: Self::Floats) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes);
        fold(lanes, f32::max)
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; 16], f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

/// Methods of [`Simd`] for an instruction set, each compiled with its features and inlined into
/// code that has them.
macro_rules! operations {
    ($features:tt; $(
        fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block
    )*) => { $(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) $(-> $result)? {
            #[inline]
            #[target_feature(enable = $features)]
            fn operation($($argument: $type),*) $(-> $result)? $body
            // SAFETY: `self` exists only if the processor has these features.
            unsafe { operation($($argument),*) }
        }
    )* };
}
pub(crate) use operations;
