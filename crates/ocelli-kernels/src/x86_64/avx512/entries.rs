//! The kernels of both AVX-512 sets.
#![allow(unsafe_code, reason = "calls into code with other target features")]

use std::ops::Range;

use super::{Avx512Set, Avx512Vnni, Unit};
use crate::strided::StridedMut;
use crate::vector::{self, kernels};
use crate::{
    Activation, Attention, Element, Kernels, KeyPanels, Matrix, MatrixMut, Operand, Panels,
    Product, Rates, RopeStyle, Softmax, ValueRows, Workspace,
};

kernels!(
    Avx512Set<false>,
    "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c"
);
/// Implements [`crate::Kernels`] by the set without byte products, but for what they are used in.
macro_rules! forward {
    ($(fn $entry:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Kernels for Avx512Vnni {
            $(
                fn $entry(&self, $($argument: $type),*) $(-> $result)? {
                    Kernels::$entry(&Avx512Set::<false>(self.0), $($argument),*)
                }
            )*

            fn name(&self) -> &'static str {
                self.set_name()
            }

            fn rates(&self) -> Rates {
                self.set_rates()
            }

            fn product(&self, product: Product<'_>, workspace: &mut Workspace) {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512vnni")]
                fn entry(s: Avx512Vnni, product: Product<'_>, workspace: &mut Workspace) {
                    vector::product_bytes(s, product, workspace);
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512vnni")]
                fn groups(s: Avx512Vnni, product: Product<'_>, workspace: &mut Workspace) {
                    vector::product_groups(s, product, workspace);
                }
                let _tiles = match self.0 {
                    Unit::Tiles(amx) if product.operand != Operand::F32 => amx.held(),
                    _ => None,
                };
                match product.operand {
                    // SAFETY: the token exists only if the processor has these features.
                    Operand::Int8Chunks => return unsafe { entry(*self, product, workspace) },
                    // SAFETY: as above.
                    Operand::Int8Groups => return unsafe { groups(*self, product, workspace) },
                    Operand::F32 | Operand::Bf16 => {}
                }
                Kernels::product(&Avx512Set::<false>(self.0), product, workspace);
            }

            fn attend_bytes(
                &self,
                attention: &Attention<'_>,
                out: &mut MatrixMut<'_>,
                workspace: &mut Workspace,
            ) {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512vnni")]
                fn entry(
                    s: Avx512Vnni,
                    attention: &Attention<'_>,
                    out: &mut MatrixMut<'_>,
                    workspace: &mut Workspace,
                ) {
                    vector::attend_bytes(s, attention, out, workspace);
                }
                if matches!(self.0, Unit::Tiles(_)) || !vector::fits_bytes(attention) {
                    return self.attend_pairs(attention, out, workspace);
                }
                // SAFETY: the token exists only if the processor has these features.
                unsafe { entry(*self, attention, out, workspace) }
            }

            fn product_few(&self, product: Product<'_>, workspace: &mut Workspace) {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx512vnni")]
                fn entry(s: Avx512Vnni, product: Product<'_>, workspace: &mut Workspace) {
                    vector::product_few_bytes(s, product, workspace);
                }
                if product.operand == Operand::Int8Groups {
                    // SAFETY: the token exists only if the processor has these features.
                    return unsafe { entry(*self, product, workspace) };
                }
                Kernels::product_few(&Avx512Set::<false>(self.0), product, workspace);
            }
        }
    };
}

/// See [`vector::finish_part`]: compiled once, for whoever calls it.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
pub(super) fn finish_part<const VNNI: bool>(
    s: Avx512Set<VNNI>,
    product: &mut Product<'_>,
    rows: Range<usize>,
    outputs: Range<usize>,
    sums: StridedMut<'_, f32>,
) {
    vector::finish_part(s, product, rows, outputs, sums);
}

forward! {
    fn round(operand: Operand, x: &[f32], out: &mut [f32]);
    fn unpack(weight: Panels<'_>, panel: usize, inputs: Range<usize>, out: &mut [f32]);
    fn add(x: &[f32], out: &mut [f32]);
    fn multiply(x: &[f32], out: &mut [f32]);
    fn activate(activation: Activation, values: &mut [f32]);
    fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32);
    fn layer_norm(x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32);
    fn rope(head: &mut [f32], angles: &[f32], style: RopeStyle);
    fn is_finite(x: &[f32]) -> bool;
    fn narrow(x: &[f32], out: &mut [u16]);
    fn widen(x: &[u16], out: &mut [f32]);
    fn widen_keys(panel: &[u16], out: &mut [f32]);
    fn widen_values(run: &[u16], tokens: Range<usize>, out: &mut [f32]);
    fn round_group(x: &[f32], codes: &mut [i8]) -> u16;
    fn transpose(x: Matrix<'_>, out: &mut [f32]);
    fn scores(queries: Matrix<'_>, keys: KeyPanels<'_>, scores: &mut [f32], stride: usize);
    fn ask_for(elements: Element<'_>);
    fn softmax(softmax: Softmax<'_>);
    fn attend_pairs(attention: &Attention<'_>, out: &mut MatrixMut<'_>, workspace: &mut Workspace);
    fn weigh(weights: Matrix<'_>, values: ValueRows<'_>, sums: &mut [f32]);
}
