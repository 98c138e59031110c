//! What can go wrong with a tensor type or a run of blocks.

use crate::TensorType;

/// Errors of this crate. Callers add the file and tensor name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// The id is not in the GGUF list of types.
    #[error("unknown tensor type {id}")]
    UnknownType {
        /// The id found.
        id: u32,
    },
    /// The id once had a meaning; files with it must be made again.
    #[error("type {name} was removed from GGUF (id {id}); convert the model again")]
    RemovedType {
        /// The id found.
        id: u32,
        /// The name it had.
        name: &'static str,
    },
    /// The type is known but this engine has no reference for it.
    #[error("type {ty} cannot be {action} by this engine")]
    Unsupported {
        /// The type asked for.
        ty: TensorType,
        /// `"run"` or `"written"`.
        action: &'static str,
    },
    /// Bytes and elements do not describe the same number of whole blocks.
    #[error(
        "{ty}: found {bytes} bytes for {elements} elements, need {block_bytes} bytes for each {block_elements} elements"
    )]
    WrongLength {
        /// The type of the blocks.
        ty: TensorType,
        /// Bytes given.
        bytes: usize,
        /// Elements given.
        elements: usize,
        /// Bytes of one block.
        block_bytes: usize,
        /// Elements of one block.
        block_elements: usize,
    },
}
