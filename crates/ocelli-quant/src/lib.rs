//! Block formats of quantised tensors: layout, scalar reference, quantisation.
//!
//! A tensor is stored as rows of `ne0` elements; each row is a whole number of blocks, and a block
//! is plain bytes without padding or alignment. Every format has a module with its byte offsets
//! ([`q4_k::D`], ...), the one-block reference `dequantize_block(&[u8; BYTES], &mut [f32;
//! ELEMENTS])`, and nothing else. Byte slices become blocks with `bytes.as_chunks::<BYTES>().0`, so
//! no `unsafe` is needed to view a file.
//!
//! - [`TensorType`]: all types a GGUF file can name, their sizes, and whether this engine can run them.
//! - [`dequantize`]: any run of whole blocks to `f32`; the formula that faster kernels are tested against.
//! - [`quantize`]: the reference rule without importance data, byte for byte what common tools write.

#![forbid(unsafe_code)]

mod blocks32;
mod codebook;
mod dequantize;
mod error;
mod float;
mod grids;
mod k_quants;
mod quantize;
mod tensor_type;

pub use blocks32::{q4_0, q4_1, q5_0, q5_1, q8_0};
pub use codebook::{IQ4_VALUES, MXFP4_VALUES, iq4_nl, iq4_xs, mxfp4};
pub use dequantize::{dequantize, is_dequantizable};
pub use error::QuantError;
pub use float::{bf16_to_f32, f32_to_bf16, read_f16, write_f16};
pub use grids::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs};
pub use k_quants::{q2_k, q3_k, q4_k, q5_k, q6_k, scale_and_min};
pub use quantize::{is_quantizable, quantize, quantize_into};
pub use tensor_type::TensorType;
