//! SIMD kernels on plain slices, one folder an instruction set.
//!
//! A backend takes a proof token ([`Scalar`], or one that detects an instruction set) for a `&dyn Kernels` and calls whole loops
//! on it. Kernels know slices and small views ([`Matrix`], [`MatrixMut`], [`Panels`]); they know nothing of tensors,
//! threads or files.
//!
//! - `scalar/` is the twin a student can read: each operation by its formula.
//! - `vector/` holds the algorithms of all vector instruction sets, written once on a vector of 16 `f32`.
//! - `x86_64/*` implement that vector and prove by a token that the processor has it.
//!
//! All vector sets give the same bits, because each has the same 16 lanes and fused multiply-add.
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "no vector set uses it on this processor yet")
)]

mod attention;
mod kernels;
mod matrix;
mod paged;
mod panels;
mod plain;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vector;
mod workspace;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use attention::{Attention, KeyValues, QueryRow};
pub use kernels::{Activation, Element, Finish, Kernels, Product, RopeStyle, Softmax, ValueRows};
pub use matrix::{Matrix, MatrixMut, Tile, Tiles};
pub use paged::PagedHead;
pub use panels::{CHUNK, Code, LANES, PanelFormat, Panels};
pub use scalar::Scalar;
pub use workspace::Workspace;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Avx2, Avx512};
