//! GGUF container: metadata, tensors, shards, writing.
