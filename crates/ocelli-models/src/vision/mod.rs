//! Vision encoders with their projectors, one file an architecture.

mod config;
mod gemma3;
mod llava;
mod pixtral;
mod qwen25vl;
mod qwen2vl;
mod qwen3vl;
mod reach;
mod square;
mod tiled;

pub use gemma3::Gemma3Vision;
pub use llava::LlavaVision;
pub use pixtral::PixtralVision;
pub use qwen2vl::Qwen2VlVision;
pub use qwen3vl::Qwen3VlVision;
pub use qwen25vl::Qwen25VlVision;
