//! From the name of a model to its files, wherever a program of this machine put them. Files are
//! used in place.

use std::cmp::Reverse;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::model_name::{ModelName, RepoName};
use crate::names::some_of;
use crate::pairing::{open, pick_projector};
use crate::shelf::{Shelf, shelves};
use crate::{Error, FileKind, Places, choose, ollama, search};

/// Where a model was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// At the path that was given.
    Path,
    /// In a Hugging Face hub cache.
    HuggingFace,
    /// In llama.cpp's older cache.
    LlamaCpp,
    /// In LM Studio's folder.
    LmStudio,
    /// In Ollama's store.
    Ollama,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "path",
            Self::HuggingFace => "Hugging Face cache",
            Self::LlamaCpp => "llama.cpp cache",
            Self::LmStudio => "LM Studio",
            Self::Ollama => "Ollama",
        })
    }
}

/// The files that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedModel {
    /// The text model, its first part, or a merged file; for a path what was given.
    pub text: PathBuf,
    /// The projector; `None` when there is none, none is needed, or [`open`](crate::open) is to look for it.
    pub projector: Option<PathBuf>,
    /// Where it was found.
    pub source: Origin,
}

/// Finds the model that a name stands for: a path that exists, else `user/repo[:quant]` (also after
/// `hf.co/`) in the caches of Hugging Face, llama.cpp, LM Studio and Ollama, else `name[:tag]` of
/// Ollama's; `ollama:` before a name looks there only. Without a quantisation it is `Q4_K_M`, then
/// `Q8_0`, then the first by name.
///
/// A text that can be nothing but a path is given back as it is, for opening it to say what is wrong.
///
/// # Errors
/// [`Error::NotFound`] with the places that were looked at and names that are near;
/// [`Error::Unusable`] for an entry of Ollama's that is broken; the error of the file when the only
/// one of that name is bad.
pub fn resolve(name: &str, places: &Places) -> Result<ResolvedModel, Error> {
    let path = Path::new(name);
    let as_path = || ResolvedModel {
        text: path.to_owned(),
        projector: None,
        source: Origin::Path,
    };
    if path.exists() {
        return Ok(as_path());
    }
    let Some(parsed) = ModelName::parse(name) else {
        return Ok(as_path());
    };
    let shelves = shelves(places);
    let mut other_quants = Vec::new();
    if let Some(repo) = &parsed.repo {
        for shelf in shelves.iter().filter(|shelf| shelf.is_called(&repo.id())) {
            match choose::texts(&shelf.files, repo.quant.as_deref()).as_slice() {
                [] => other_quants.extend(quants(shelf)),
                texts => return first_that_opens(shelf, texts),
            }
        }
    }
    let tags: Vec<ollama::Tag> = places.ollama.iter().flat_map(|s| ollama::tags(s)).collect();
    if let Some(wanted) = &parsed.ollama
        && let Some(tag) = tags.iter().find(|tag| tag.name.is_same(wanted))
    {
        return of_ollama(name, tag);
    }
    Err(not_found(
        name,
        &parsed,
        places,
        &Known {
            shelves,
            tags,
            other_quants,
        },
    ))
}

/// What there is, for the error.
struct Known {
    shelves: Vec<Shelf>,
    tags: Vec<ollama::Tag>,
    other_quants: Vec<String>,
}

fn quants(shelf: &Shelf) -> Vec<String> {
    let texts = choose::texts(&shelf.files, None);
    texts
        .into_iter()
        .map(|text| choose::quant_label(text).unwrap_or_else(|| text.to_owned()))
        .collect()
}

/// The first of some files that is a text model, with its projector.
fn first_that_opens(shelf: &Shelf, texts: &[&str]) -> Result<ResolvedModel, Error> {
    let mut first_error = None;
    for text in texts {
        let path = shelf.path(text);
        let opened = ocelli_gguf::Gguf::open(&path).and_then(|file| crate::classify(&file));
        let projector = match opened {
            Ok(FileKind::Text(facts)) => {
                pick_projector((&path, &facts), projector_groups(shelf, text), open)
                    .1
                    .chosen
            }
            Ok(FileKind::Merged(_)) => None,
            Ok(other) => {
                first_error.get_or_insert(Error::NotATextModel {
                    file: (*text).to_owned(),
                    what: other.describe(),
                });
                continue;
            }
            Err(error) => {
                first_error.get_or_insert(Error::Gguf(error));
                continue;
            }
        };
        return Ok(ResolvedModel {
            text: path,
            projector,
            source: shelf.origin,
        });
    }
    Err(first_error.unwrap_or_else(|| Error::Unusable {
        name: shelf.id.clone().unwrap_or_default(),
        why: "no file".to_owned(),
    }))
}

/// Where the projector of a shelf's text model may be.
pub(crate) fn projector_groups(shelf: &Shelf, text: &str) -> std::io::Result<search::Groups> {
    if shelf.origin != Origin::LlamaCpp {
        return search::projector_groups(&shelf.path(text));
    }
    // All repositories share this folder: only the own one's files count, however well another's fit.
    let projectors = shelf.files.iter().filter(|file| choose::is_projector(file));
    Ok(vec![projectors.map(|file| shelf.path(file)).collect()])
}

fn of_ollama(name: &str, tag: &ollama::Tag) -> Result<ResolvedModel, Error> {
    let blobs = tag.blobs().map_err(|why| Error::Unusable {
        name: name.to_owned(),
        why,
    })?;
    Ok(ResolvedModel {
        text: blobs.text,
        projector: blobs.projector,
        source: Origin::Ollama,
    })
}

fn not_found(name: &str, parsed: &ModelName, places: &Places, known: &Known) -> Error {
    let is_ollama_only = parsed.repo.is_none();
    let mut looked = Vec::new();
    let mut add = |origin: Origin, roots: &[PathBuf]| {
        looked.extend(roots.iter().map(|root| {
            let models = match origin {
                Origin::Ollama => known.tags.iter().filter(|tag| tag.is_in(root)).count(),
                _ => {
                    let is_here = |s: &&Shelf| s.origin == origin && s.root.starts_with(root);
                    known.shelves.iter().filter(is_here).count()
                }
            };
            let what = if root.is_dir() {
                format!("{models} models")
            } else {
                "not there".to_owned()
            };
            format!("{origin} {} ({what})", root.display())
        }));
    };
    if !is_ollama_only {
        add(Origin::HuggingFace, &places.hf_hub);
        add(Origin::LlamaCpp, &places.llama_cache);
        add(Origin::LmStudio, &places.lm_studio);
    }
    add(Origin::Ollama, &places.ollama);
    Error::NotFound {
        name: name.to_owned(),
        looked: some_of(looked),
        hint: hint(name, parsed.repo.as_ref(), known),
    }
}

fn hint(name: &str, repo: Option<&RepoName>, known: &Known) -> String {
    let mut hint = String::new();
    if !known.other_quants.is_empty() {
        let quants = some_of(known.other_quants.clone());
        hint.push_str(&format!(". Of this repository there is {quants}"));
    }
    let of_shelves = known.shelves.iter().filter_map(|shelf| shelf.id.clone());
    let of_tags = known.tags.iter().map(|tag| tag.name.short());
    let near = near(name, of_shelves.chain(of_tags).collect());
    if !near.is_empty() && known.other_quants.is_empty() {
        hint.push_str(&format!(". Did you mean {}?", near.join(" or ")));
    }
    if repo.is_some() {
        hint.push_str(&format!(". 'ocelli pull {name}' downloads it"));
    }
    hint.replace("?.", "?")
}

/// Up to three names that are written much like `name`, the nearest first.
fn near(name: &str, mut all: Vec<String>) -> Vec<String> {
    const LEAST_PERCENT: usize = 40;
    all.sort();
    all.dedup();
    let wanted = letter_pairs(name);
    let mut rated: Vec<(usize, String)> = all
        .into_iter()
        .map(|other| (percent_alike(&wanted, &letter_pairs(&other)), other))
        .filter(|(percent, _)| *percent >= LEAST_PERCENT)
        .collect();
    rated.sort_by_key(|(percent, _)| Reverse(*percent));
    rated.into_iter().take(3).map(|(_, name)| name).collect()
}

fn letter_pairs(name: &str) -> Vec<(char, char)> {
    let name = name.trim_start_matches("ollama:").to_lowercase();
    let mut pairs: Vec<_> = name.chars().zip(name.chars().skip(1)).collect();
    pairs.sort_unstable();
    pairs
}

/// Twice the pairs in common in percent of all pairs of both; both lists are sorted.
fn percent_alike(a: &[(char, char)], b: &[(char, char)]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0_usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x == y {
            common += 1;
        }
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    (200 * common)
        .checked_div(a.len() + b.len())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_near_its_model_and_not_near_others() {
        let all = ["ggml-org/Qwen3-VL-2B-GGUF", "ollama:gemma3:4b", "u/llava"];
        let all = || all.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            near("ggml-org/qwen3vl-2b-gguf", all()),
            ["ggml-org/Qwen3-VL-2B-GGUF"]
        );
        assert_eq!(near("gema3", all()), ["ollama:gemma3:4b"]);
        assert_eq!(near("zzz", all()), [""; 0]);
    }
}
