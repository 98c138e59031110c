//! Tensors, weights and the backend trait.
