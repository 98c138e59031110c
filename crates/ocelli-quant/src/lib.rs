//! Block formats of quantised tensors: layout, scalar reference, quantisation.
