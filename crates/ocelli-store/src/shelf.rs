//! Files that one name stands for: a snapshot of a repository, a folder of LM Studio, one
//! repository's files in llama.cpp's older cache. Folders are only listed here; nothing is opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::search::commit_of_main;
use crate::{Origin, Places};

/// Folders below a repository are followed this deep.
const DEPTH: usize = 4;
/// More entries of a folder than this are not looked at.
const ENTRIES: usize = 8192;

/// Files that one name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shelf {
    /// `user/repo`; `None` when the files do not tell.
    pub(crate) id: Option<String>,
    pub(crate) origin: Origin,
    /// The folder that the files are relative to.
    pub(crate) root: PathBuf,
    /// GGUF files with `/` between folders, sorted. Links may lead nowhere.
    pub(crate) files: Vec<String>,
}

impl Shelf {
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(file.split('/'));
        path
    }

    pub(crate) fn is_called(&self, id: &str) -> bool {
        self.id
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(id))
    }
}

/// The shelves of all places but Ollama's, in the order of the search.
pub(crate) fn shelves(places: &Places) -> Vec<Shelf> {
    let mut all = Vec::new();
    places.hf_hub.iter().for_each(|root| hub(root, &mut all));
    places
        .llama_cache
        .iter()
        .for_each(|root| flat(root, &mut all));
    places
        .lm_studio
        .iter()
        .for_each(|root| publishers(root, &mut all));
    all
}

/// The repositories of a hub cache: for each the current snapshot, then the others, which may hold
/// files that the current one has not.
fn hub(root: &Path, shelves: &mut Vec<Shelf>) {
    for folder in names(root) {
        let Some((user, repo)) = folder
            .strip_prefix("models--")
            .and_then(|rest| rest.split_once("--"))
        else {
            continue;
        };
        let repository = root.join(&folder);
        let snapshots = repository.join("snapshots");
        let current = commit_of_main(&repository);
        let mut commits = names(&snapshots);
        commits.sort_by_key(|commit| Some(commit) != current.as_ref());
        for commit in commits {
            let root = snapshots.join(commit);
            let files = gguf_below(&root);
            if !files.is_empty() {
                shelves.push(Shelf {
                    id: Some(format!("{user}/{repo}")),
                    origin: Origin::HuggingFace,
                    root,
                    files,
                });
            }
        }
    }
}

/// The repositories of llama.cpp's older cache, told apart by the beginnings of the files' names.
fn flat(root: &Path, shelves: &mut Vec<Shelf>) {
    let names = names(root);
    let known: Vec<(String, String)> = names
        .iter()
        .filter_map(|name| name.strip_prefix("manifest="))
        .filter_map(|rest| {
            let (user, rest) = rest.split_once('=')?;
            let (repo, _) = rest.split_once('=')?;
            Some((format!("{user}_{repo}_"), format!("{user}/{repo}")))
        })
        .collect();
    let mut by_prefix: BTreeMap<(String, Option<String>), Vec<String>> = BTreeMap::new();
    for name in names.into_iter().filter(|name| is_gguf(name)) {
        let group = known
            .iter()
            .filter(|(prefix, _)| name.starts_with(prefix))
            .max_by_key(|(prefix, _)| prefix.len());
        let group = match group {
            Some((prefix, id)) => (prefix.clone(), Some(id.clone())),
            None => guessed_repository(&name),
        };
        by_prefix.entry(group).or_default().push(name);
    }
    for ((_, id), files) in by_prefix {
        shelves.push(Shelf {
            id,
            origin: Origin::LlamaCpp,
            root: root.to_owned(),
            files,
        });
    }
}

/// Splits `user_repo-GGUF_file.gguf`. Names of users have no underscore, but those of repositories may.
fn guessed_repository(name: &str) -> (String, Option<String>) {
    let end = name.to_ascii_lowercase().find("-gguf_");
    let cut = end.and_then(|end| {
        let prefix = name.get(..end + "-gguf_".len())?;
        let (user, repo) = prefix.trim_end_matches('_').split_once('_')?;
        Some((prefix.to_owned(), Some(format!("{user}/{repo}"))))
    });
    cut.unwrap_or_else(|| (name.to_owned(), None))
}

/// LM Studio's folders `publisher/model`.
fn publishers(root: &Path, shelves: &mut Vec<Shelf>) {
    for publisher in names(root) {
        for model in names(&root.join(&publisher)) {
            let root = root.join(&publisher).join(&model);
            let files = gguf_below(&root);
            if !files.is_empty() {
                shelves.push(Shelf {
                    id: Some(format!("{publisher}/{model}")),
                    origin: Origin::LmStudio,
                    root,
                    files,
                });
            }
        }
    }
}

/// Names in a folder, sorted; none when it cannot be listed. Names that are no text cannot be asked
/// for either.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .take(ENTRIES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn gguf_below(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for name in names(&folder) {
            let path = folder.join(&name);
            let relative = format!("{prefix}{name}");
            // Links to files are followed later; links to folders are not, for they may run in circles.
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir());
            if is_folder && depth < DEPTH {
                folders.push((path, format!("{relative}/"), depth + 1));
            } else if !is_folder && is_gguf(&name) && files.len() < ENTRIES {
                files.push(relative);
            }
        }
    }
    files.sort();
    files
}

fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_name_is_cut_after_the_repository_where_it_says_gguf() {
        let (prefix, id) = guessed_repository("ggml-org_Eye-2B-GGUF_Eye-2B-Q8_0.gguf");
        assert_eq!(prefix, "ggml-org_Eye-2B-GGUF_");
        assert_eq!(id.as_deref(), Some("ggml-org/Eye-2B-GGUF"));
        assert_eq!(guessed_repository("x_y_z.gguf").1, None);
    }
}
