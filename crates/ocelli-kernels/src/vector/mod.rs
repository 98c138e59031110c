//! The algorithms of all vector instruction sets, written once on a vector of 16 `f32`.
//!
//! [`Simd`] has exactly the operations needed. An instruction set implements it and names its
//! entries by [`kernels!`](kernels), which compiles each algorithm once with that set's
//! instructions. Every function here is `#[inline(always)]`, because a function that is not inlined
//! would be compiled without them.

mod ahead;
mod attend_bytes;
mod attend_pairs;
mod attend_tiles;
mod attention;
mod bytes;
mod codes;
mod decode;
mod few;
mod few_chunks;
mod few_pairs;
mod few_singles;
mod finish;
mod groups;
mod halves;
mod kept;
mod math;
mod product;
mod round;
mod rounded;
mod rows;
mod simd;
mod tile;
mod unpack;
mod weights;
mod words;

pub(crate) use crate::word_job::{TilePlace, WordJob};
pub(crate) use attend_bytes::{attend_bytes, fits_bytes};
pub(crate) use attend_pairs::{attend_pairs, attend_pairs_of};
pub(crate) use attend_tiles::attend_tiles_of;
pub(crate) use attention::{ask_for, scores, softmax, transpose, weigh};
pub(crate) use decode::unpack_pairs;
pub(crate) use finish::finish_part;
pub(crate) use groups::{CodeKind, GroupJob, group_tile};
pub(crate) use halves::{Halves, PlainHalves};
pub(crate) use kept::{widen_keys, widen_values};
pub(crate) use product::{product, product_bytes, product_few, product_few_bytes, product_groups};
pub(crate) use round::round;
pub(crate) use rows::{activate, is_finite, layer_norm, narrow, rms_norm, widen};
pub(crate) use simd::{Simd, operations};
pub(crate) use tile::{Lanes, TileJob, TiledJob, run_tiles, stream_tile, stream_tiles, tile};
pub(crate) use unpack::{halves_of, unpack};
pub(crate) use words::{Bytes, Dot, Pairs, word_tile};

/// Implements [`crate::Kernels`] for the proof token of an instruction set.
macro_rules! kernels {
    ($token:ty, $features:tt) => {
        kernels! { @entries $token, $features;
            fn round(operand: Operand, x: &[f32], out: &mut [f32]) = vector::round;
            fn unpack(weight: Panels<'_>, panel: usize, inputs: Range<usize>, out: &mut [f32]) = vector::unpack;
            fn product(product: Product<'_>, workspace: &mut Workspace) = vector::product;
            fn product_few(product: Product<'_>, workspace: &mut Workspace) = vector::product_few;
            fn add(x: &[f32], out: &mut [f32]) = plain::add;
            fn multiply(x: &[f32], out: &mut [f32]) = plain::multiply;
            fn activate(activation: Activation, values: &mut [f32]) = vector::activate;
            fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32) = vector::rms_norm;
            fn layer_norm(x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) = vector::layer_norm;
            fn rope(head: &mut [f32], angles: &[f32], style: RopeStyle) = plain::rope;
            fn is_finite(x: &[f32]) -> bool = vector::is_finite;
            fn narrow(x: &[f32], out: &mut [u16]) = vector::narrow;
            fn widen(x: &[u16], out: &mut [f32]) = vector::widen;
            fn widen_keys(panel: &[u16], out: &mut [f32]) = vector::widen_keys;
            fn widen_values(run: &[u16], tokens: Range<usize>, out: &mut [f32]) = vector::widen_values;
            fn round_group(x: &[f32], codes: &mut [i8]) -> u16 = plain::round_group;
            fn transpose(x: Matrix<'_>, out: &mut [f32]) = vector::transpose;
            fn scores(queries: Matrix<'_>, keys: KeyPanels<'_>, scores: &mut [f32], stride: usize) = vector::scores;
            fn ask_for(elements: Element<'_>) = vector::ask_for;
            fn softmax(softmax: Softmax<'_>) = vector::softmax;
            fn attend_pairs(attention: &Attention<'_>, out: &mut MatrixMut<'_>, workspace: &mut Workspace) = vector::attend_pairs;
            fn weigh(weights: Matrix<'_>, values: ValueRows<'_>, sums: &mut [f32]) = vector::weigh;
        }
    };
    (@entries $token:ty, $features:tt;
        $(fn $entry:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $module:ident::$function:ident;)*
    ) => {
        impl crate::Kernels for $token {
            fn name(&self) -> &'static str {
                self.set_name()
            }
            fn rates(&self) -> Rates {
                self.set_rates()
            }
            $(
                fn $entry(&self, $($argument: $type),*) $(-> $result)? {
                    #[target_feature(enable = $features)]
                    fn entry(token: $token, $($argument: $type),*) $(-> $result)? {
                        crate::$module::$function(token, $($argument),*)
                    }
                    // SAFETY: the token exists only if the processor has these features.
                    unsafe { entry(*self, $($argument),*) }
                }
            )*
        }
    };
}
pub(crate) use kernels;
