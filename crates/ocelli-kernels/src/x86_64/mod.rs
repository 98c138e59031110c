//! Instruction sets of 64-bit x86 processors.

mod amx;
mod avx2;
mod avx512;
mod caches;
mod pairs;
pub(crate) mod peak;
mod transpose;

pub use amx::AmxRefusal;
pub use avx2::Avx2;
pub use avx512::{Avx512, Avx512Vnni};
