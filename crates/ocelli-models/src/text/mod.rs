//! Text decoders, one file an architecture.

mod qwen3vl;

pub use qwen3vl::Qwen3VlText;
