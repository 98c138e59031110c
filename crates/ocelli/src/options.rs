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

/// A backend that the caller brings along: one from another crate, or one that fails on purpose, for tests.
#[derive(Clone)]
pub struct OwnBackend(pub Arc<dyn Backend>);

impl std::fmt::Debug for OwnBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnBackend")
            .field(&self.0.describe())
            .finish()
    }
}

/// What is about to be done to the text of a request; for [`Witness`].
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// A conversation is rendered with the chat template.
    Render(&'a [Message]),
    /// A rendered prompt is cut into tokens.
    Tokenize(&'a str),
}

/// Is called before each piece of [`Work`], on the thread that does it. For tests: a witness that
/// panics stands for a fault in that work.
#[derive(Clone)]
pub struct Witness(pub Arc<dyn Fn(Work<'_>) + Send + Sync>);

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

/// Settings of a loaded model. The defaults suit most uses.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The projector; `None` to look for it beside the text model.
    pub projector: Option<PathBuf>,
    /// Tokens that prompt and answer may have together; `None` for the smallest of: the model's
    /// own, 32768, what half of the free memory holds.
    pub context: Option<usize>,
    /// Requests that run at the same time, 1 to 544; `None` for one.
    pub sequences: Option<usize>,
    /// Tokens that the cache holds for all of them, at least `context`; `None` for `sequences` times the
    /// context, if half of the free memory holds that.
    pub cache_tokens: Option<usize>,
    /// Threads to compute with; `None` for as many as the process may use.
    pub threads: Option<usize>,
    /// Instruction set; `None` for the fastest of this machine.
    pub isa: Option<Isa>,
    /// How the operands of matrix products are rounded.
    pub precision: Precision,
    /// Most tokens of an answer that are guessed in a step, by what followed the same tokens before, 0
    /// to 16; `None` for 8. Answers do not depend on it.
    pub draft_tokens: Option<usize>,
    /// Type in which keys and values are kept; `None` for F16, or F32 with [`Precision::F32`].
    pub kv: Option<KvElement>,
    /// What computes in place of the CPU backend. `threads`, `isa` and `precision` then have no
    /// effect on products.
    pub backend: Option<OwnBackend>,
    /// Smaller pictures are enlarged to this many tokens; `None` for the family's own.
    pub image_min_tokens: Option<u32>,
    /// Larger pictures are shrunk to this many tokens; `None` for the family's own, at most 4096.
    pub image_max_tokens: Option<u32>,
    /// Smaller videos are enlarged to this many tokens; `None` for the family's own size of a frame.
    pub video_min_tokens: Option<u32>,
    /// Larger videos are shrunk to this many tokens; `None` for 12288, or three quarters of the
    /// context if that is less, unless frames would become smaller than the family wants them.
    pub video_max_tokens: Option<u32>,
    /// The programs that read video files.
    pub ffmpeg: Ffmpeg,
    /// Folder in which outputs of the vision encoder are kept across restarts, and its most bytes.
    pub image_cache: Option<(PathBuf, u64)>,
    /// Reads every weight once when loading, and refuses files with values that are not finite.
    pub check: bool,
    /// Is told what is done to the texts of requests; for tests.
    pub witness: Option<Witness>,
}
