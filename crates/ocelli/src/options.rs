//! What a model is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use ocelli_tensor::{Backend, KvElement};

use crate::{Ffmpeg, Isa, Message, Precision};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The small model that is built in.
    Demo,
    /// A GGUF file (text model, projector, any shard, or a merged file) or a folder with one model.
    File(PathBuf),
}

/// A backend of the caller's: of a crate of its own, or one that fails on purpose, for tests.
#[derive(Clone)]
pub struct OwnBackend(pub Arc<dyn Backend>);

impl std::fmt::Debug for OwnBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnBackend")
            .field(&self.0.describe())
            .finish()
    }
}

/// What is about to be done to the text of a request.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// The template makes a prompt of a conversation.
    Render(&'a [Message]),
    /// A prompt, whole, is cut into tokens.
    Tokenize(&'a str),
}

/// Is told of [`Work`] before it is done, on the thread that does it. One that panics stands for a fault there, for tests.
#[derive(Clone)]
pub struct Witness(pub Arc<dyn Fn(Work<'_>) + Send + Sync>);

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

/// Settings of a loaded model. The default is right for most.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The projector; `None` to look for it beside the text model.
    pub projector: Option<PathBuf>,
    /// Tokens that prompt and answer may have together; `None` for the least of the model's own, 32768,
    /// and what half of the free memory holds.
    pub context: Option<usize>,
    /// Requests that run at the same time, 1 to 544; `None` for one.
    pub sequences: Option<usize>,
    /// Tokens that the cache holds for all of them, at least `context`; `None` for `sequences` times the
    /// context, if half of the free memory holds that.
    pub cache_tokens: Option<usize>,
    /// Threads that compute; `None` for as many as the process may use.
    pub threads: Option<usize>,
    /// Instruction set; `None` for the fastest there is.
    pub isa: Option<Isa>,
    /// Arithmetic.
    pub precision: Precision,
    /// What keys and values are kept in; `None` for halves, or singles with [`Precision::F32`].
    pub kv: Option<KvElement>,
    /// What computes, in place of the processor with these threads, set and arithmetic.
    pub backend: Option<OwnBackend>,
    /// Smaller pictures are scaled up to this many tokens; `None` for the family's own.
    pub image_min_tokens: Option<u32>,
    /// Larger pictures are scaled down to this many tokens; `None` for the smaller of the family's own
    /// and 4096.
    pub image_max_tokens: Option<u32>,
    /// Smaller videos are scaled up to this many tokens; `None` for the family's own size of a frame.
    pub video_min_tokens: Option<u32>,
    /// Larger videos are scaled down to this many tokens; `None` for 12288, or three quarters of the context
    /// if that is less, unless frames would become smaller than the family wants them.
    pub video_max_tokens: Option<u32>,
    /// The programs that read video files.
    pub ffmpeg: Ffmpeg,
    /// Folder in which outputs of the vision encoder are kept over restarts, and most bytes of it.
    pub image_cache: Option<(PathBuf, u64)>,
    /// Reads every weight once at load and refuses files with values that are not finite.
    pub check: bool,
    /// Sees what is done to the texts of requests.
    pub witness: Option<Witness>,
}
