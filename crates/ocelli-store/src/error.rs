//! Why files could not be opened as a model.

use std::path::PathBuf;

use crate::Misfit;

/// Errors of finding, opening and pairing model files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// No model of this name on this machine.
    #[error("no model '{name}': found no file or folder of this name; looked in {looked}{hint}")]
    NotFound {
        /// The name that was given.
        name: String,
        /// The places, with what is there.
        looked: String,
        /// Empty, or names that are near and what to do, starting with ". ".
        hint: String,
    },
    /// An entry of a store that is broken or of a kind that cannot be used.
    #[error("model '{name}' cannot be used: {why}")]
    Unusable {
        /// The name that was given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was to be downloaded is no name of a repository.
    #[error("no repository: '{name}': need user/repo or user/repo:QUANT")]
    NoRepository {
        /// The name that was given.
        name: String,
    },
    /// A repository has no file that is wanted.
    #[error("nothing to download: {repo}: found {found}, need {need}")]
    NoFile {
        /// `user/repo`.
        repo: String,
        /// What the repository has.
        found: String,
        /// What is wanted.
        need: String,
    },
    /// Downloading is switched off.
    #[error(
        "offline: HF_HUB_OFFLINE is set, so that {what} is not downloaded. Unset it, or name a model of 'ocelli list'"
    )]
    Offline {
        /// What was to be downloaded.
        what: String,
    },
    /// An address that must not be asked, or cannot be.
    #[error("address refused: {url}: {why}")]
    Address {
        /// The address.
        url: String,
        /// Why.
        why: String,
    },
    /// A picture of the web that did not come.
    #[error("image URL could not be fetched: {why}")]
    Fetch {
        /// What happened.
        why: String,
    },
    /// The server could not be reached, or broke off, more often than is tried.
    #[error(
        "download failed: {url}: {why}; tried {tries} times. What has arrived is kept; try again later"
    )]
    Network {
        /// The address.
        url: String,
        /// What happened last.
        why: String,
        /// Number of tries.
        tries: u32,
    },
    /// The server refuses.
    #[error("download refused: {url}: found status {status}, need 200{hint}")]
    Refused {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Empty, or what to do, starting with ". ".
        hint: &'static str,
    },
    /// The server sends something else than the file.
    #[error(
        "not the file: {what}: found {found}, need {need}. Is there a login page or proxy between?"
    )]
    WrongContent {
        /// The file or address.
        what: String,
        /// What it is.
        found: String,
        /// What it must be.
        need: String,
    },
    /// All bytes arrived, and are not the right ones.
    #[error(
        "checksum: {file}: found SHA-256 {found}, need {need}. The bytes were thrown away; download it again"
    )]
    Checksum {
        /// The file.
        file: String,
        /// SHA-256 of what arrived.
        found: String,
        /// SHA-256 that the hub states.
        need: String,
    },
    /// The disk is too full.
    #[error("no space: {}: need {need} bytes more, have {have}. Free some space and download again", path.display())]
    NoSpace {
        /// A folder on the disk.
        path: PathBuf,
        /// Bytes that are still needed.
        need: u64,
        /// Bytes that are free.
        have: u64,
    },
    /// A file or folder of the cache that cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Path {
        /// `create`, `write`, ...
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The caller stopped a download.
    #[error("download stopped; what has arrived is kept, and the next download goes on from there")]
    Stopped,
}

/// What kind of trouble an error is; programs map it to exit codes and statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A model file that opens but is bad.
    Model,
    /// A path that is missing or unreadable, an unknown name, a full disk.
    Path,
    /// A wrong request.
    Usage,
    /// Each file may be fine and the choice of files is wrong.
    Pair,
    /// Network, server or checksum.
    Network,
    /// The caller stopped it.
    Stopped,
}

impl Error {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(ocelli_gguf::Error::Io { .. })
            | Self::Folder { .. }
            | Self::NotFound { .. }
            | Self::NoSpace { .. }
            | Self::Path { .. } => ErrorKind::Path,
            Self::Gguf(_) | Self::Unusable { .. } => ErrorKind::Model,
            Self::NoModelInFolder { .. }
            | Self::SeveralModelsInFolder { .. }
            | Self::NoRepository { .. }
            | Self::NoFile { .. } => ErrorKind::Usage,
            Self::NotAProjector { .. }
            | Self::NotATextModel { .. }
            | Self::MergedWithProjector { .. }
            | Self::Mismatch { .. }
            | Self::NoTextModel { .. } => ErrorKind::Pair,
            Self::Offline { .. }
            | Self::Address { .. }
            | Self::Fetch { .. }
            | Self::Network { .. }
            | Self::Refused { .. }
            | Self::WrongContent { .. }
            | Self::Checksum { .. } => ErrorKind::Network,
            Self::Stopped => ErrorKind::Stopped,
        }
    }
}
