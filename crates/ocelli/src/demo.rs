//! The built-in model.

use crate::Error;
use ocelli_gguf::Gguf;

/// The names that its files would have; the model is called `ocelli-demo` everywhere.
pub(crate) const TEXT_NAME: &str = "ocelli-demo.gguf";
/// See [`TEXT_NAME`].
pub(crate) const PROJECTOR_NAME: &str = "ocelli-demo-mmproj.gguf";

#[cfg(feature = "demo")]
const TEXT: &[u8] = include_bytes!("../models/ocelli-demo-text.gguf");
#[cfg(feature = "demo")]
const PROJECTOR: &[u8] = include_bytes!("../models/ocelli-demo-mmproj.gguf");

/// Bytes of both files.
#[cfg(feature = "demo")]
pub(crate) fn bytes() -> u64 {
    (TEXT.len() + PROJECTOR.len()) as u64
}

/// None, without the files.
#[cfg(not(feature = "demo"))]
pub(crate) fn bytes() -> u64 {
    0
}

/// Text model and projector of the demo.
#[cfg(feature = "demo")]
pub(crate) fn files() -> Result<(Gguf, Gguf), Error> {
    use std::borrow::Cow;
    Ok((
        Gguf::from_bytes(TEXT_NAME, Cow::Borrowed(TEXT))?,
        Gguf::from_bytes(PROJECTOR_NAME, Cow::Borrowed(PROJECTOR))?,
    ))
}

/// Says that there is none.
#[cfg(not(feature = "demo"))]
pub(crate) fn files() -> Result<(Gguf, Gguf), Error> {
    Err(Error::Settings(
        "this build has no demo model; name a model file".to_owned(),
    ))
}
