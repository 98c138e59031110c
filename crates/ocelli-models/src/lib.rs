//! Model architectures: text decoders, vision encoders, positions, names.
