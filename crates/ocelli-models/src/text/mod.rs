//! Text decoders, one file an architecture.

mod gemma3;
mod llama;
mod qwen2;
mod qwen2vl;
mod qwen3;
mod qwen3vl;
mod qwen3vlmoe;

pub use gemma3::Gemma3Text;
pub use llama::LlamaText;
pub use qwen2::Qwen2Text;
pub use qwen2vl::Qwen2VlText;
pub use qwen3::Qwen3Text;
pub use qwen3vl::Qwen3VlText;
pub use qwen3vlmoe::Qwen3VlMoeText;
