//! SIMD kernels on plain slices, one folder an instruction set.
