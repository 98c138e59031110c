//! Finding the other half of a model: opens candidates, keeps those that fit, takes the best, says why.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_gguf::Gguf;

use crate::names::{file_name, likeness, quantisation_rank, some_of, type_rank};
use crate::search::{self, Groups};
use crate::{FileKind, ProjectorFacts, TextFacts, classify, fit};

/// More files than this are not opened in search of the other half.
const CANDIDATES: usize = 64;

/// Which file was taken as the other half, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    /// The other half; `None` when no file fits.
    pub chosen: Option<PathBuf>,
    /// Why this file, or why none. One line.
    pub reason: String,
    /// The other files that were looked at, each with the reason against it.
    pub rejected: Vec<(PathBuf, String)>,
}

impl Pairing {
    /// The rejected files as one line, `: a.gguf (why), b.gguf (why)`; empty when there are none.
    pub(crate) fn rejected_line(&self) -> String {
        let why = |(path, why): &(PathBuf, String)| format!("{} ({why})", file_name(path));
        match self.rejected.is_empty() {
            true => String::new(),
            false => format!(": {}", some_of(self.rejected.iter().map(why).collect())),
        }
    }
}

/// A candidate that fits; `F` is the opened file, or nothing when only the choice is wanted.
struct Fitting<F> {
    path: PathBuf,
    file: F,
    matched: Vec<String>,
    /// Percent of common words in the names.
    likeness: u32,
    /// Place of its type among the preferred ones, and the type.
    rank: (usize, String),
}

/// Looks beside a text model for its projector.
pub fn find_projector(text_path: &Path, text: &TextFacts) -> (Option<Gguf>, Pairing) {
    pick_projector((text_path, text), search::projector_groups(text_path), open)
}

/// Takes the best projector among groups of files that `open` opens.
pub(crate) fn pick_projector<F>(
    text: (&Path, &TextFacts),
    groups: io::Result<Groups>,
    open: impl FnMut(&Path) -> Result<(F, FileKind), String>,
) -> (Option<F>, Pairing) {
    let name = (text.0, text.1.name.as_deref());
    look(groups, open, |path, file, kind| match kind {
        FileKind::Projector(facts) => {
            let matched = check(text.1, &facts)?;
            let likeness = likeness(name, (path, facts.name.as_deref()));
            let rank = (type_rank(&facts.element_type), facts.element_type);
            Ok(Fitting {
                path: path.to_owned(),
                file,
                matched,
                likeness,
                rank,
            })
        }
        other => Err(format!("this is {}, not a projector", other.describe())),
    })
}

/// Looks beside a projector for its text model.
pub fn find_text_model(
    projector_path: &Path,
    projector: &ProjectorFacts,
) -> (Option<Gguf>, Pairing) {
    let groups = search::text_groups(projector_path);
    let name = (projector_path, projector.name.as_deref());
    look(groups, open, |path, file, kind| match kind {
        FileKind::Text(facts) => {
            let matched = check(&facts, projector)?;
            let likeness = likeness(name, (path, facts.name.as_deref()));
            let rank = (quantisation_rank(path), file_name(path));
            Ok(Fitting {
                path: path.to_owned(),
                file,
                matched,
                likeness,
                rank,
            })
        }
        other => Err(format!("this is {}, not a text model", other.describe())),
    })
}

/// As [`fit`], but a file that nobody named must say enough about itself.
fn check(text: &TextFacts, projector: &ProjectorFacts) -> Result<Vec<String>, String> {
    if !fit::is_known(&projector.projector_type) {
        return Err(format!(
            "projector type {} is not known",
            projector.projector_type
        ));
    }
    let matched = fit(text, projector).map_err(|misfit| misfit.to_string())?;
    if projector.output_width.is_none() || text.embedding_length.is_none() {
        return Err("no width is stated, so that nothing says that it fits".to_owned());
    }
    Ok(matched)
}

fn look<F>(
    groups: io::Result<Groups>,
    mut open: impl FnMut(&Path) -> Result<(F, FileKind), String>,
    judge: impl Fn(&Path, F, FileKind) -> Result<Fitting<F>, String>,
) -> (Option<F>, Pairing) {
    let mut pairing = Pairing::default();
    let groups = match groups {
        Ok(groups) => groups,
        Err(error) => {
            pairing.reason = format!("the folder cannot be listed: {error}");
            return (None, pairing);
        }
    };
    let mut left = CANDIDATES;
    for group in groups {
        let mut fitting = Vec::new();
        for path in group {
            if left == 0 {
                let why = format!("not opened: more than {CANDIDATES} files");
                pairing.rejected.push((path, why));
                continue;
            }
            left -= 1;
            match open(&path).and_then(|(file, kind)| judge(&path, file, kind)) {
                Ok(candidate) => fitting.push(candidate),
                Err(why) => pairing.rejected.push((path, why)),
            }
        }
        if let Some(file) = take_best(fitting, &mut pairing) {
            return (Some(file), pairing);
        }
    }
    pairing.reason = match pairing.rejected.len() {
        0 => "no other GGUF file beside it".to_owned(),
        1 => "the one other file does not fit".to_owned(),
        several => format!("none of {several} other files fits"),
    };
    (None, pairing)
}

pub(crate) fn open(path: &Path) -> Result<(Gguf, FileKind), String> {
    let file = Gguf::open(path).map_err(|error| error.to_string())?;
    let kind = classify(&file).map_err(|error| error.to_string())?;
    Ok((file, kind))
}

/// Takes the candidate with the most alike name, then the best type, then the first name.
fn take_best<F>(mut fitting: Vec<Fitting<F>>, pairing: &mut Pairing) -> Option<F> {
    fitting.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut fitting = fitting.into_iter();
    let best = fitting.next()?;
    for other in fitting {
        let why = if other.likeness != best.likeness {
            format!(
                "fits too, but its name is {} % alike, not {} %",
                other.likeness, best.likeness
            )
        } else if other.rank.0 != best.rank.0 {
            format!(
                "fits too, but {} is preferred to {}",
                best.rank.1, other.rank.1
            )
        } else {
            format!("fits too, but {} comes first", file_name(&best.path))
        };
        pairing.rejected.push((other.path, why));
    }
    pairing.reason = format!(
        "{}; names {} % alike",
        best.matched.join(", "),
        best.likeness
    );
    pairing.chosen = Some(best.path);
    Some(best.file)
}

fn key<F>(fitting: &Fitting<F>) -> (Reverse<u32>, usize, &Path) {
    (Reverse(fitting.likeness), fitting.rank.0, &fitting.path)
}
