//! The CPU backend: threads, packing, buffers.
