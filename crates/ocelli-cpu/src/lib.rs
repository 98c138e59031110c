//! The CPU backend: threads, packing, buffers; arithmetic is in `ocelli-kernels`.
//!
//! ```
//! use ocelli_cpu::{CpuBackend, CpuOptions};
//! use ocelli_tensor::Backend;
//!
//! let backend = CpuBackend::new(&CpuOptions::default())?;
//! println!("{}", backend.describe());
//! # Ok::<(), ocelli_cpu::CpuError>(())
//! ```
#![deny(unsafe_code)]

mod arithmetic;
mod attention;
mod backend;
mod kept;
mod kv;
mod machine;
mod memory;
mod options;
mod pool;
mod product;
mod rows;
mod upcoming;
mod weight;

pub use backend::CpuBackend;
pub use machine::{Machine, Peak};
pub use options::{CpuError, CpuOptions, Isa, Precision};
