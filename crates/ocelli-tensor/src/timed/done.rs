//! How much an operation does, by the shapes of its operands.

use crate::{Tensor, Weight};

/// How much an operation does.
#[derive(Clone, Copy, Default)]
pub(super) struct Done {
    /// Multiplications and additions.
    pub(super) operations: u64,
    /// Bytes of weights that it reads.
    pub(super) weight_bytes: u64,
}

impl Done {
    pub(super) fn without_weights(operations: u64) -> Self {
        Self {
            operations,
            weight_bytes: 0,
        }
    }
}

/// Products of `x` with weights.
pub(super) fn work(x: Tensor, weights: &[&Weight]) -> Done {
    let mut done = Done::default();
    for weight in weights {
        let elements = weight.inputs() as u64 * weight.outputs() as u64;
        done.operations += 2 * x.rows() as u64 * elements;
        done.weight_bytes += weight.bytes() as u64;
    }
    done
}
