//! A Hugging Face model folder: configuration, tokenizer and tensors, nothing of which is trusted.

mod config;
mod gemma3;
mod settings;
mod shards;
mod still;
mod tensor;
mod tokenizer;

pub(crate) use config::{
    Experts, Family, FullLayers, RopeScaling, TextConfig, USUAL_POSITIONS, USUAL_SIDE,
    VisionConfig, Windows, read as read_config,
};
pub(crate) use settings::{Settings, read_json};
pub(crate) use shards::Shelf;
pub(crate) use still::Still;
pub(crate) use tensor::HubTensor;
pub(crate) use tokenizer::Tokenizer;
