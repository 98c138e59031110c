//! SIMD kernels on plain slices, one folder an instruction set.
//!
//! A backend takes a proof token ([`Scalar`], or one that detects an instruction set) for a `&dyn
//! Kernels` and calls whole loops on it. Kernels know slices and small views ([`Matrix`],
//! [`MatrixMut`], [`Panels`]); they know nothing of tensors, threads or files.
//!
//! - `scalar/` is the twin a student can read: each operation by its formula.
//! - `vector/` holds the algorithms of all vector instruction sets, written once on a vector of 16 `f32`.
//! - `x86_64/*` and `aarch64/*` implement that vector and prove by a token that the processor has it.
//!
//! All vector sets give the same bits, because each has the same 16 lanes and fused multiply-add.
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "no vector set uses it on this processor yet")
)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod attention;
mod kept;
mod kernels;
mod matrix;
mod operand;
mod paged;
mod panels;
pub mod peak;
mod plain;
mod scalar;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod strided;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiles;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector;
mod word_job;
mod workspace;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::Neon;
pub use attention::{Attention, Decode, KeyValues, QueryRow};
pub use kept::{KEPT_GROUP, Kept};
pub use kernels::{
    Activation, Element, Finish, Kernels, KeyPanels, Product, Rates, RopeStyle, Softmax, ValueRows,
};
pub use matrix::{Matrix, MatrixMut, Tile, Tiles};
pub use operand::Operand;
pub use paged::PagedHead;
pub use panels::{CHUNK, Code, LANES, PanelFormat, Panels};
pub use scalar::Scalar;
pub use workspace::Workspace;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{AmxRefusal, Avx2, Avx512, Avx512Vnni};
