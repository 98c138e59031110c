//! Tensors, weights and the backend trait: what a model says and a backend does.
//!
//! Models write their forward pass against [`Pass`], which knows a [`Backend`], the
//! [`Memory`] that temporaries live in, the [`KvStore`] of the text model and a [`Probe`].
//! Backends implement [`Backend`]: a few primitives that each must have, and fused
//! operations whose default bodies are written in primitives.
//!
//! What is not here: arithmetic (`ocelli-kernels`), threads (`ocelli-cpu`), models.
#![forbid(unsafe_code)]

mod attention;
mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
mod kv;
mod measure;
mod memory;
mod operation;
mod pass;
mod probe;
mod tensor;
mod timed;
mod weight;

pub use attention::{AttentionPlan, Heads, Mask, QueryKeyValue, Span};
pub use backend::Backend;
pub use kv::{KvElement, KvLayer, KvLayout, KvStore, LayerCache, PageId};
pub use measure::{Measure, Work};
pub use memory::{Mark, Memory, Storage};
pub use operation::{
    Activation, After, Attend, AttentionPart, GatedMlp, LayerNorm, Linear, RmsNorm, Rope,
    RopeStyle, Within, WriteKv,
};
pub use pass::Pass;
pub use probe::{Probe, Stage};
pub use tensor::Tensor;
pub use timed::{Operation, OperationTime, Timed, WeightShape};
pub use weight::{Affine, PackError, Use, Vector, Weight, WeightSource};
