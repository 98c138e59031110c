//! Tiny random models made from nothing, whole or broken on purpose, for tests of loading, of the
//! command line and of bad input.
//!
//! ```
//! use ocelli_testkit::tiny::{Sizes, qwen3vl_with};
//!
//! let mut pair = qwen3vl_with(1, &Sizes::default());
//! pair.text.set("qwen3vl.embedding_length", 64u32.into());
//! pair.mmproj.remove_tensor("v.blk.0.ln1.bias");
//! let (text, mmproj) = (pair.text.to_bytes(), pair.mmproj.to_bytes());
//! # assert!(text.starts_with(b"GGUF") && mmproj.starts_with(b"GGUF"));
//! ```

mod file;
mod qwen3vl;
mod random;
mod vocabulary;

pub use file::{TinyFile, TinyTensor};
pub use qwen3vl::{Pair, Sizes, qwen3vl_with};
pub use vocabulary::{SPECIAL_TOKENS, token_id, tokens};

/// A text GGUF and a projector GGUF of a tiny Qwen3-VL with random weights.
pub fn qwen3vl(seed: u64) -> (Vec<u8>, Vec<u8>) {
    let pair = qwen3vl_with(seed, &Sizes::default());
    (pair.text.to_bytes(), pair.mmproj.to_bytes())
}
