//! Instruction sets of 64-bit ARM processors.

mod neon;

pub use neon::Neon;
