//! Why files could not be opened as a model.

use std::path::PathBuf;

use crate::Misfit;

/// Errors of finding, opening and pairing model files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, unreadable or bad.
    #[error(transparent)]
    Gguf(#[from] ocelli_gguf::Error),
    /// A folder cannot be listed.
    #[error("cannot list {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder was given that holds no text model.
    #[error("no model: {}: found {found}, need a text model (GGUF). Name the file with -m", path.display())]
    NoModelInFolder {
        /// The folder.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A folder was given that holds more than one text model.
    #[error("several models: {}: found {names}, need one. Name the file with -m", path.display())]
    SeveralModelsInFolder {
        /// The folder.
        path: PathBuf,
        /// Names of the text models, by commas.
        names: String,
    },
    /// The text model was given where the projector belongs.
    #[error("{file} is {what}; --mmproj needs a vision projector (general.type=mmproj){hint}")]
    NotAProjector {
        /// File name.
        file: String,
        /// What it is, for example "a text model".
        what: String,
        /// Empty, or what to do, starting with ". ".
        hint: &'static str,
    },
    /// Something else was given where the text model belongs.
    #[error("{file} is {what}; -m needs a text model")]
    NotATextModel {
        /// File name.
        file: String,
        /// What it is, for example "a vision projector".
        what: String,
    },
    /// The text model already has its vision part inside.
    #[error(
        "{text} holds its own vision tensors; found {projector} besides, need none. Leave out --mmproj"
    )]
    MergedWithProjector {
        /// Name of the merged file.
        text: String,
        /// Name of the projector.
        projector: String,
    },
    /// Both files are what they should be, but do not belong together.
    #[error("{misfit}: wrong mmproj for this model (files {projector}, {text})")]
    Mismatch {
        /// Both facts.
        misfit: Misfit,
        /// Name of the projector.
        projector: String,
        /// Name of the text model.
        text: String,
    },
    /// Only a projector was given, and no text model beside it fits.
    #[error(
        "{projector} is a vision projector; found no text model beside it that fits{rejected}. Name one with -m"
    )]
    NoTextModel {
        /// Name of the projector.
        projector: String,
        /// Empty, or the files that were looked at with the reasons, starting with ": ".
        rejected: String,
    },
}

impl Error {
    /// True when each file may be fine and the choice of files is wrong (exit code 4 of the command).
    pub fn is_pair_mismatch(&self) -> bool {
        match self {
            Self::Gguf(_)
            | Self::Folder { .. }
            | Self::NoModelInFolder { .. }
            | Self::SeveralModelsInFolder { .. } => false,
            Self::NotAProjector { .. }
            | Self::NotATextModel { .. }
            | Self::MergedWithProjector { .. }
            | Self::Mismatch { .. }
            | Self::NoTextModel { .. } => true,
        }
    }
}
