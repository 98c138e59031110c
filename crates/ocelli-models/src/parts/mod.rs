//! Parts that architectures are made of. A part never asks which model runs.

mod attention;
mod decoder;
mod deepstack;
mod encoder;
mod experts;
mod linear;
mod merger;
mod mlp;
mod norm;
mod patch;
mod rope;
mod tokens;
mod windows;

pub use attention::{Angles, QkNorm, SelfAttention};
pub use decoder::{DecoderLayer, DecoderMlp};
pub use deepstack::add_deepstack;
pub use encoder::{EncoderLayer, EncoderSizes, GatedEncoderLayer};
pub use experts::{ExpertSizes, Experts};
pub use linear::Linear;
pub use merger::PatchMerger;
pub use mlp::{GatedMlp, Mlp};
pub use norm::{LayerNorm, RmsNorm};
pub use patch::{PatchEmbedding, PositionTable, average_cells};
pub use rope::{
    AxisOfFrequency, Rotary, Scaling, Temperature, grid_angles, interleaved_grid_angles,
};
pub use tokens::TokenTable;
pub use windows::Windows;
