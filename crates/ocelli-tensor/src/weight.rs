//! Weights as a backend holds them: packed once at load, never looked into by models.

use std::any::Any;
use std::sync::Arc;

use ocelli_quant::TensorType;

/// A matrix in a file: `[rows, columns]`, a row is `columns` consecutive elements of type `ty`.
#[derive(Clone, Copy, Debug)]
pub struct WeightSource<'a> {
    /// Element or block type of the bytes.
    pub ty: TensorType,
    /// `rows * ty.row_bytes(columns)` bytes.
    pub data: &'a [u8],
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
}

/// What a weight will be asked for, so that it is held once, in the right form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Products `x * W^T`.
    Product,
    /// Single rows: a token embedding.
    Rows,
    /// Products and single rows: an embedding tied to the output.
    Both,
}

/// A weight and its bias, if it has one: `x W^T + b`.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// `[outputs, inputs]`.
    pub weight: &'a Weight,
    /// `[outputs]`.
    pub bias: Option<&'a Vector>,
}

/// Why a backend could not take a weight.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The type is known but this backend has no arithmetic for it.
    #[error("type {0} cannot be run by this backend")]
    UnsupportedType(&'static str),
    /// The backend has no memory left for the weight.
    #[error("no memory for a weight of {bytes} bytes")]
    OutOfMemory {
        /// Size that was asked for.
        bytes: usize,
    },
}

/// A packed `[outputs, inputs]` matrix, cheap to clone.
#[derive(Clone)]
pub struct Weight {
    outputs: usize,
    inputs: usize,
    bytes: usize,
    stored: Option<TensorType>,
    packed: Arc<dyn Any + Send + Sync>,
}

impl Weight {
    /// Wraps a backend's packed form. `bytes` is what it occupies.
    pub fn new(
        outputs: usize,
        inputs: usize,
        bytes: usize,
        packed: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            outputs,
            inputs,
            bytes,
            stored: None,
            packed,
        }
    }

    /// The same weight, which says of itself what type it had in its file.
    #[must_use]
    pub fn stored_as(mut self, ty: TensorType) -> Self {
        self.stored = Some(ty);
        self
    }

    /// The type it had in its file, if whoever packed it said so.
    pub fn stored(&self) -> Option<TensorType> {
        self.stored
    }

    /// Output features: rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Input features: columns of the matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Memory that the packed form occupies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The backend's own form.
    pub fn packed(&self) -> &(dyn Any + Send + Sync) {
        self.packed.as_ref()
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weight[{}, {}]", self.outputs, self.inputs)
    }
}

/// A vector of `f32` on the backend: a bias or the scale of a norm.
#[derive(Clone)]
pub struct Vector {
    len: usize,
    values: Arc<dyn Any + Send + Sync>,
}

impl Vector {
    /// Wraps a backend's vector of `len` elements.
    pub fn new(len: usize, values: Arc<dyn Any + Send + Sync>) -> Self {
        Self { len, values }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The backend's own form.
    pub fn values(&self) -> &(dyn Any + Send + Sync) {
        self.values.as_ref()
    }
}

impl std::fmt::Debug for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vector[{}]", self.len)
    }
}
