//! Vision encoders with their projectors, one file an architecture.

mod config;
mod qwen3vl;

pub use qwen3vl::Qwen3VlVision;
