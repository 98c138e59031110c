//! Which files to look at: lists of paths, nothing is opened here.

use std::io;
use std::path::{Path, PathBuf};

use crate::names::{file_name, sounds_like_projector};

/// Files to open, best guesses first: once a group has a file that fits, later groups are left alone.
pub(crate) type Groups = Vec<Vec<PathBuf>>;

/// Where the projector of a text model may be: beside it, or, by its name only, in a folder above.
///
/// Repositories keep quantisations in folders of their own and the projector at their root.
///
/// # Errors
/// When the model's folder cannot be listed.
pub(crate) fn projector_groups(text: &Path) -> io::Result<Groups> {
    let (named, others) = beside(text)?
        .into_iter()
        .partition(|path| sounds_like_projector(path));
    let mut groups = vec![named, others];
    for folder in folders_above(text) {
        // A folder above may be unreadable or hold anything; it is a bonus.
        let files = gguf_files(&folder).unwrap_or_default();
        groups.push(
            files
                .into_iter()
                .filter(|path| sounds_like_projector(path))
                .collect(),
        );
    }
    Ok(groups)
}

/// Where the text model of a projector may be: beside it.
///
/// # Errors
/// When the projector's folder cannot be listed.
pub(crate) fn text_groups(projector: &Path) -> io::Result<Groups> {
    let (named, others) = beside(projector)?
        .into_iter()
        .partition(|path| sounds_like_projector(path));
    Ok(vec![others, named])
}

/// GGUF files of a folder in order of their names; of split models only the first part.
///
/// # Errors
/// When the folder cannot be listed.
pub(crate) fn gguf_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_gguf = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        // `is_file` follows links: caches link to their blobs.
        if is_gguf && !is_later_part(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The folder that holds the files of a model folder: itself, or the current snapshot of a Hugging
/// Face cache entry.
pub(crate) fn model_folder(folder: &Path) -> PathBuf {
    let snapshot = commit_of_main(folder).map(|commit| folder.join("snapshots").join(commit));
    match snapshot {
        Some(snapshot) if snapshot.is_dir() => snapshot,
        _ => folder.to_owned(),
    }
}

/// The commit that `refs/main` of a Hugging Face cache entry names.
pub(crate) fn commit_of_main(repository: &Path) -> Option<String> {
    let text = std::fs::read_to_string(repository.join("refs").join("main")).ok()?;
    let commit = text.trim();
    // The text becomes part of a path: nothing but a commit's name may pass.
    let is_commit = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit.to_owned())
}

/// Other GGUF files in the folder of `path`, and in that of the file it links to.
fn beside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let real = path.canonicalize().ok();
    let folder = folder_of(path);
    let mut files = gguf_files(&folder)?;
    if let Some(linked) = real.as_deref().map(folder_of)
        && linked != folder.canonicalize().unwrap_or_default()
    {
        files.extend(gguf_files(&linked).unwrap_or_default());
    }
    files.retain(|other| real.is_none() || other.canonicalize().ok() != real);
    Ok(files)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The folder above, and within a snapshot of a Hugging Face cache all up to the snapshot.
fn folders_above(path: &Path) -> Vec<PathBuf> {
    let Some(folder) = folder_of(path).canonicalize().ok() else {
        return Vec::new();
    };
    let is_snapshot = |folder: &Path| {
        folder
            .parent()
            .is_some_and(|above| above.ends_with("snapshots"))
    };
    if folder.ancestors().any(is_snapshot) {
        let mut above = Vec::new();
        let mut at = folder.as_path();
        while !is_snapshot(at) {
            let Some(parent) = at.parent() else { break };
            above.push(parent.to_owned());
            at = parent;
        }
        return above;
    }
    folder.parent().map(Path::to_owned).into_iter().collect()
}

/// True for the second and later parts of a split model: `x-00002-of-00003.gguf`.
fn is_later_part(path: &Path) -> bool {
    part_of(&file_name(path)).is_some_and(|(_, number, _)| number != 1)
}

/// What comes before the numbers, number and count in a path like `x-00002-of-00003.gguf`.
pub(crate) fn part_of(path: &str) -> Option<(&str, u32, u32)> {
    let (stem, ending) = path.split_at_checked(path.len().checked_sub(".gguf".len())?)?;
    if !ending.eq_ignore_ascii_case(".gguf") {
        return None;
    }
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| {
        let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    Some((prefix, digits(number)?, digits(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_parts_of_split_models_are_recognised_by_name() {
        for (name, later) in [
            ("a-00001-of-00003.gguf", false),
            ("a-00002-of-00003.gguf", true),
            ("a-2-of-3.gguf", false),
            ("a.gguf", false),
        ] {
            assert_eq!(is_later_part(Path::new(name)), later, "{name}");
        }
    }

    #[test]
    fn a_file_without_a_folder_is_in_the_current_one() {
        assert_eq!(folder_of(Path::new("a.gguf")), Path::new("."));
        assert_eq!(folder_of(Path::new("b/a.gguf")), Path::new("b"));
    }
}
