//! Finding model files on disk and pairing them: a text model and its vision projector.
//!
//! [`open`] takes what the user gave (a text model, a projector, both, a merged file or a folder)
//! and returns [`ModelFiles`]: files that belong together, with the reason. What a file is and
//! whether two files fit is decided by their metadata and tensors ([`classify`], [`fit`]); names
//! only break ties.
//!
//! [`resolve`] turns a name (`user/repo:Q4_K_M`, `ollama:name:tag`) into files that other programs
//! already have on this machine, [`list`] shows all of them, and `pull` (feature `download`)
//! fetches new ones into the Hugging Face cache.
//!
//! What is not here: whether this engine can run a model (`ocelli-models`). The environment is read
//! by programs only; they hand it to [`Places::from_env`].
#![forbid(unsafe_code)]

mod choose;
#[cfg(feature = "download")]
mod download;
mod error;
mod facts;
mod fit;
mod list;
mod model_name;
mod names;
mod ollama;
mod open;
mod pairing;
mod places;
mod resolve;
mod search;
mod shelf;

#[cfg(feature = "download")]
pub use download::{Hub, Patience, Progress, Pulled, WebOptions, fetch_public, pull};
pub use error::{Error, ErrorKind};
pub use facts::{FileKind, ProjectorFacts, TextFacts, classify};
pub use fit::{Misfit, fit};
pub use list::{Found, list};
pub use open::{ModelFiles, open};
pub use pairing::{Pairing, find_projector, find_text_model};
pub use places::Places;
pub use resolve::{Origin, ResolvedModel, resolve};
