//! What model files are, which belong together and why, and the memory they need. Nothing is loaded.
//!
//! ```no_run
//! use ocelli::inspect::{Cache, inspect};
//!
//! let report = inspect(&["model.gguf".into()], Cache::default())?;
//! for pair in &report.pairs {
//!     println!("{}: {}", pair.text.display(), pair.reason);
//! }
//! # Ok::<(), ocelli::Error>(())
//! ```

mod file;
mod memory;
mod pair;
mod template;

pub use file::{FileReport, SpecialToken, TypeReport, VocabularyReport};
pub use memory::MemoryReport;
pub use pair::{PairReport, Rejected};
pub use template::TemplateReport;

use std::path::{Path, PathBuf};

use ocelli_gguf::Gguf;
use serde::Serialize;

use crate::{Error, KvElement};

/// What is known about some files.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Each file; all parts of a split model are one.
    pub files: Vec<FileReport>,
    /// Each text model with its projector, and each projector without a text model.
    pub pairs: Vec<PairReport>,
    /// Files of a folder that could not be opened.
    pub unreadable: Vec<Unreadable>,
}

/// A file of a folder that could not be opened.
#[derive(Clone, Debug, Serialize)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// The cache that memory is counted with.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// Tokens; `None` for the least of the model's own and 32768.
    pub context: Option<usize>,
    /// What keys and values are kept in.
    pub kv: KvElement,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            context: None,
            kv: KvElement::F16,
        }
    }
}

/// An open file, and what it is.
struct Opened {
    path: PathBuf,
    file: Gguf,
    kind: ocelli_store::FileKind,
}

/// Looks at files, and at the GGUF files of folders. Memory is that with such a cache.
///
/// # Errors
/// When a named file is missing or bad, or a folder has no GGUF file.
pub fn inspect(paths: &[PathBuf], cache: Cache) -> Result<Report, Error> {
    let mut unreadable = Vec::new();
    let mut opened = Vec::new();
    for path in paths {
        if path.is_dir() {
            open_folder(path, &mut opened, &mut unreadable)?;
        } else {
            open_file(path, &mut opened)?;
        }
    }
    report(&opened, unreadable, cache)
}

/// Looks at the built-in model.
///
/// # Errors
/// When this build has none.
pub fn inspect_demo(cache: Cache) -> Result<Report, Error> {
    let (text, projector) = crate::demo::files()?;
    let mut opened = Vec::new();
    for (name, file) in [
        (crate::demo::TEXT_NAME, text),
        (crate::demo::PROJECTOR_NAME, projector),
    ] {
        opened.push(Opened {
            path: name.into(),
            kind: ocelli_store::classify(&file)?,
            file,
        });
    }
    report(&opened, Vec::new(), cache)
}

fn report(opened: &[Opened], unreadable: Vec<Unreadable>, cache: Cache) -> Result<Report, Error> {
    let mut files = Vec::with_capacity(opened.len());
    for one in opened {
        files.push(file::report(one)?);
    }
    Ok(Report {
        files,
        pairs: pair::reports(opened, cache),
        unreadable,
    })
}

fn open_file(path: &Path, opened: &mut Vec<Opened>) -> Result<(), Error> {
    // The parts of a split model are opened together, whichever is named.
    let is_there = |known: &Opened| known.file.paths().iter().any(|part| same(part, path));
    if opened.iter().any(is_there) {
        return Ok(());
    }
    let file = Gguf::open(path)?;
    let kind = ocelli_store::classify(&file)?;
    opened.push(Opened {
        path: path.to_owned(),
        file,
        kind,
    });
    Ok(())
}

fn open_folder(
    folder: &Path,
    opened: &mut Vec<Opened>,
    unreadable: &mut Vec<Unreadable>,
) -> Result<(), Error> {
    let failed = |source| Error::Path {
        action: "list",
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
        {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let what = format!(
            "{}: found no GGUF file in this folder, need at least one",
            folder.display()
        );
        return Err(Error::Settings(what));
    }
    for path in paths {
        if let Err(error) = open_file(&path, opened) {
            unreadable.push(Unreadable {
                path,
                why: error.to_string(),
            });
        }
    }
    Ok(())
}

/// Whether two paths lead to one file.
fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
