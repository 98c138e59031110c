//! The built-in model.

use crate::Error;
use ocelli_gguf::Gguf;

/// Text model and projector of the demo.
#[cfg(feature = "demo")]
pub(crate) fn files() -> Result<(Gguf, Gguf), Error> {
    use std::borrow::Cow;
    const TEXT: &[u8] = include_bytes!("../models/ocelli-demo-text.gguf");
    const PROJECTOR: &[u8] = include_bytes!("../models/ocelli-demo-mmproj.gguf");
    Ok((
        Gguf::from_bytes("ocelli-demo-text.gguf", Cow::Borrowed(TEXT))?,
        Gguf::from_bytes("ocelli-demo-mmproj.gguf", Cow::Borrowed(PROJECTOR))?,
    ))
}

/// Says that there is none.
#[cfg(not(feature = "demo"))]
pub(crate) fn files() -> Result<(Gguf, Gguf), Error> {
    Err(Error::Settings(
        "this build has no demo model; name a model file".to_owned(),
    ))
}
