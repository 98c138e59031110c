//! Parts that architectures are made of. A part never asks which model runs.

mod attention;
mod linear;
mod mlp;
mod norm;
mod patch;
mod rope;

pub use attention::{QkNorm, SelfAttention};
pub use linear::Linear;
pub use mlp::{GatedMlp, Mlp};
pub use norm::{LayerNorm, RmsNorm};
pub use patch::{PatchEmbedding, PositionTable};
pub use rope::{AxisOfFrequency, Rotary, grid_angles};
