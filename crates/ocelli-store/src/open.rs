//! Opening what the user named as one model.

use std::path::{Path, PathBuf};

use ocelli_gguf::Gguf;

use crate::names::{file_name, some_of};
use crate::pairing::{Pairing, find_projector, find_text_model};
use crate::{Error, FileKind, ProjectorFacts, TextFacts, classify, fit, search};

/// The files of one model, checked to belong together.
#[derive(Debug)]
pub struct ModelFiles {
    /// The text model, or everything when the file is a merged one.
    pub text: Gguf,
    /// The projector; `None` when the model is merged or has no projector.
    pub projector: Option<Gguf>,
    /// True when `text` holds the vision tensors too.
    pub is_merged: bool,
    /// How the other half was found, or why it was not. `None` when both files were named, or none is needed.
    pub pairing: Option<Pairing>,
}

/// Opens a model from a text model (its projector is looked for beside it), a projector (its text
/// model is looked for), a pair, a merged file, or a folder that holds one text model.
///
/// A text model without a projector is no error here: it can answer text. [`ModelFiles::pairing`]
/// then says what was looked at, for the error that a picture will get.
///
/// # Errors
/// Files that are missing, unreadable or bad; files that are not what they are given as; a pair
/// that does not fit.
pub fn open(text: &Path, projector: Option<&Path>) -> Result<ModelFiles, Error> {
    let named = if text.is_dir() {
        only_text_model(text)?
    } else {
        text.to_owned()
    };
    let file = Gguf::open(&named)?;
    let kind = classify(&file)?;
    match projector {
        Some(projector) => open_pair(file, kind, projector),
        None => open_alone(&named, file, kind),
    }
}

fn open_alone(path: &Path, file: Gguf, kind: FileKind) -> Result<ModelFiles, Error> {
    match kind {
        FileKind::Text(facts) => {
            let (projector, pairing) = find_projector(path, &facts);
            Ok(ModelFiles {
                text: file,
                projector,
                is_merged: false,
                pairing: Some(pairing),
            })
        }
        FileKind::Merged(_) => Ok(ModelFiles {
            text: file,
            projector: None,
            is_merged: true,
            pairing: None,
        }),
        FileKind::Projector(facts) => {
            let (text, pairing) = find_text_model(path, &facts);
            let Some(text) = text else {
                return Err(Error::NoTextModel {
                    projector: file.name().to_owned(),
                    rejected: pairing.rejected_line(),
                });
            };
            Ok(ModelFiles {
                text,
                projector: Some(file),
                is_merged: false,
                pairing: Some(pairing),
            })
        }
        FileKind::Other(what) => Err(Error::NotATextModel {
            file: file.name().to_owned(),
            what,
        }),
    }
}

fn open_pair(text: Gguf, text_kind: FileKind, projector: &Path) -> Result<ModelFiles, Error> {
    let projector = Gguf::open(projector)?;
    let projector_kind = classify(&projector)?;
    match (text_kind, projector_kind) {
        (FileKind::Text(text_facts), FileKind::Projector(projector_facts)) => {
            require_fit((&text, &text_facts), (&projector, &projector_facts))?;
            Ok(ModelFiles {
                text,
                projector: Some(projector),
                is_merged: false,
                pairing: None,
            })
        }
        (FileKind::Merged(_), FileKind::Projector(_)) => Err(Error::MergedWithProjector {
            text: text.name().to_owned(),
            projector: projector.name().to_owned(),
        }),
        (FileKind::Text(_) | FileKind::Merged(_), other) => Err(Error::NotAProjector {
            file: projector.name().to_owned(),
            what: other.describe(),
            hint: "",
        }),
        (FileKind::Projector(_), FileKind::Text(facts)) => Err(Error::NotAProjector {
            file: projector.name().to_owned(),
            what: FileKind::Text(facts).describe(),
            hint: ". The two files are swapped: exchange -m and --mmproj",
        }),
        (other, _) => Err(Error::NotATextModel {
            file: text.name().to_owned(),
            what: other.describe(),
        }),
    }
}

fn require_fit(
    text: (&Gguf, &TextFacts),
    projector: (&Gguf, &ProjectorFacts),
) -> Result<(), Error> {
    fit(text.1, projector.1).map_err(|misfit| Error::Mismatch {
        misfit,
        projector: projector.0.name().to_owned(),
        text: text.0.name().to_owned(),
    })?;
    Ok(())
}

/// The text model of a folder that holds just one.
fn only_text_model(folder: &Path) -> Result<PathBuf, Error> {
    let inside = search::model_folder(folder);
    let files = search::gguf_files(&inside).map_err(|source| Error::Folder {
        path: inside.clone(),
        source,
    })?;
    let mut models = Vec::new();
    let mut others = Vec::new();
    for path in files {
        let kind = Gguf::open(&path).and_then(|file| classify(&file));
        match kind {
            Ok(FileKind::Text(_) | FileKind::Merged(_)) => models.push(path),
            Ok(other) => others.push(format!("{} ({})", file_name(&path), other.describe())),
            Err(error) => others.push(format!("{} ({error})", file_name(&path))),
        }
    }
    let path = folder.to_owned();
    match models.as_slice() {
        [one] => Ok(one.clone()),
        [] if others.is_empty() => Err(Error::NoModelInFolder {
            path,
            found: "no GGUF file".to_owned(),
        }),
        [] => Err(Error::NoModelInFolder {
            path,
            found: some_of(others),
        }),
        several => {
            let names: Vec<String> = several.iter().map(|path| file_name(path)).collect();
            Err(Error::SeveralModelsInFolder {
                path,
                names: some_of(names),
            })
        }
    }
}
