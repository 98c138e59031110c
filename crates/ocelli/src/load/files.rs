//! The files of a model.

use std::path::Path;

use ocelli_gguf::Gguf;
use ocelli_models::Part;
use ocelli_models::registry::{load_text, load_vision};
use ocelli_store::Pairing;
use ocelli_tensor::Measure;

use crate::assumed::assumed;
use crate::{Error, Options, Source, demo};

/// The files of a model.
pub(crate) struct Files {
    pub(crate) text: Gguf,
    projector: Option<Gguf>,
    is_merged: bool,
    pairing: Option<Pairing>,
}

impl Files {
    pub(crate) fn open(source: &Source, options: &Options) -> Result<Self, Error> {
        match source {
            Source::Demo => {
                let (text, projector) = demo::files()?;
                Ok(Self {
                    text,
                    projector: Some(projector),
                    is_merged: false,
                    pairing: None,
                })
            }
            Source::File(path) => {
                let files = ocelli_store::open(path, options.projector.as_deref())
                    .map_err(|error| blame(path, options.projector.as_deref(), error))?;
                Ok(Self {
                    text: files.text,
                    projector: files.projector,
                    is_merged: files.is_merged,
                    pairing: files.pairing,
                })
            }
        }
    }

    /// A pair that lies in no file.
    pub(crate) fn from_memory(text: Gguf, projector: Gguf) -> Self {
        Self {
            text,
            projector: Some(projector),
            is_merged: false,
            pairing: None,
        }
    }

    /// The file with the vision tensors.
    pub(crate) fn vision(&self) -> Option<&Gguf> {
        match self.is_merged {
            true => Some(&self.text),
            false => self.projector.as_ref(),
        }
    }

    /// What was assumed about files of old or foreign layouts.
    pub(super) fn assumed(&self) -> Vec<String> {
        let mut notes = assumed(&self.text, &[Part::Text]);
        if let Some(vision) = self.vision() {
            notes.extend(assumed(vision, &[Part::Vision]));
        }
        notes
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Gguf> {
        std::iter::once(&self.text).chain(&self.projector)
    }

    /// Why there is no projector, for the error that a picture gets.
    pub(crate) fn why_blind(&self) -> String {
        let found = self.pairing.as_ref().map(|pairing| pairing.reason.clone());
        found.unwrap_or_else(|| "no projector was given".to_owned())
    }

    /// Bytes of all weights: what is to be held in memory, which a file with gaps is larger than.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let tensors = self.all().flat_map(Gguf::tensors);
        tensors.map(|tensor| tensor.bytes() as u64).sum()
    }
}

/// A pair may not fit because one of its files is bad by itself: then that is what is wrong.
fn blame(text: &Path, projector: Option<&Path>, error: ocelli_store::Error) -> Error {
    if !matches!(error, ocelli_store::Error::Mismatch { .. }) {
        return error.into();
    }
    let text = Gguf::open(text).map(|file| load_text(&file, &Measure, &|_| {}).err());
    let projector = projector
        .map(|path| Gguf::open(path).map(|file| load_vision(&file, &Measure, &|_| {}).err()));
    let bad_text = text.ok().flatten();
    let bad_projector = projector.and_then(Result::ok).flatten();
    match (bad_text, bad_projector) {
        (Some(own), _) | (None, Some(own)) => own.into(),
        (None, None) => error.into(),
    }
}
