//! Finding model files on disk and pairing them: a text model and its vision projector.
//!
//! [`open`] takes what the user gave (a text model, a projector, both, a merged file or a folder) and returns
//! [`ModelFiles`]: files that belong together, with the reason. What a file is and whether two files fit is decided by
//! their metadata and tensors ([`classify`], [`fit`]); names only break ties.
//!
//! What is not here: whether this engine can run a model (`ocelli-models`), and downloading.
#![forbid(unsafe_code)]

mod error;
mod facts;
mod fit;
mod names;
mod open;
mod pairing;
mod search;

pub use error::Error;
pub use facts::{FileKind, ProjectorFacts, TextFacts, classify};
pub use fit::{Misfit, fit};
pub use open::{ModelFiles, open};
pub use pairing::{Pairing, find_projector, find_text_model};
