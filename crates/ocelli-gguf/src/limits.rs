//! The most a file may hold. These are ceilings for hostile files; real models stay far below.

/// Metadata entries of one file.
pub const METADATA_ENTRIES: u64 = 65_536;
/// Tensors of one file.
pub const TENSORS: u64 = 262_144;
/// Bytes of a metadata key.
pub const KEY_BYTES: u64 = 65_535;
/// Bytes of one string.
pub const STRING_BYTES: u64 = 64 << 20;
/// Elements of one array.
pub const ARRAY_ELEMENTS: u64 = 1 << 27;
/// Bytes of all strings of one array together.
pub const STRING_ARRAY_BYTES: u64 = u32::MAX as u64;
/// Bytes of a tensor name.
pub const TENSOR_NAME_BYTES: u64 = 63;
/// Dimensions of a tensor.
pub const DIMENSIONS: usize = 4;
/// Smallest alignment of the data section.
pub const ALIGNMENT_MIN: u32 = 8;
/// Largest alignment of the data section.
pub const ALIGNMENT_MAX: u32 = 65_536;
/// Alignment of a file that does not state one.
pub const ALIGNMENT_DEFAULT: u32 = 32;
/// Parts of a split file.
pub const SHARDS: u32 = 1024;
/// Layers that a per-layer value may have.
pub const LAYERS: usize = 1024;
