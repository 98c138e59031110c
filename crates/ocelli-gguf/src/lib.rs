//! GGUF container: metadata, tensors, shards, writing.
//!
//! [`Gguf::open`] maps a file (and the other parts of a split one), checks everything that can be
//! checked without knowing the model, and gives [`Metadata`], [`TensorInfo`]s and their bytes.
//! After it returned `Ok`, every tensor's bytes are inside the file, so [`Gguf::data`] cannot fail.
//! A tensor type that this engine cannot run is no error here: such files can still be inspected.
//! [`Writer`] writes version 3 files that this and other readers accept.
//!
//! Nothing in a file is trusted: counts are bounded by the bytes that remain before anything is
//! allocated, sizes are computed with checked arithmetic, and no byte string makes the reader
//! panic.
//!
//! ```
//! use ocelli_gguf::{Gguf, Writer};
//! use ocelli_quant::TensorType;
//!
//! let mut writer = Writer::new();
//! writer.set("general.architecture", "example").set("example.block_count", 2u32);
//! writer.add_tensor("token_embd.weight", &[4, 1], TensorType::F32, vec![0; 16]);
//!
//! let model = Gguf::from_bytes("example.gguf", writer.to_bytes()?.into())?;
//! assert_eq!(model.metadata().required_u32("example.block_count")?, 2);
//! let tensor = model.tensor("token_embd.weight").expect("written above");
//! assert_eq!((tensor.shape(), model.data(tensor)), (&[4, 1][..], &[0; 16][..]));
//! # Ok::<(), ocelli_gguf::Error>(())
//! ```

#![deny(unsafe_code)]

mod cursor;
mod error;
mod file;
pub mod limits;
mod metadata;
mod mmap;
mod parse;
mod shards;
mod shared;
mod tensor;
mod value;
mod writer;

pub use error::{Error, Problem};
pub use file::Gguf;
pub use metadata::Metadata;
pub use shared::SharedTensor;
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value};
pub use writer::{Parts, StreamWriter, Writer};
