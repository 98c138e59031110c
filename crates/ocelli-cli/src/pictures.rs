//! Pictures and videos that arguments name: files, folders with all below them, and patterns.
//!
//! Nothing that was asked for is left out without a word: names need not be UTF-8, a folder that
//! cannot be listed is an error, and what cannot be read is named here all the same, for its own
//! error where it is read.

use std::ffi::OsString;
use std::fs::{DirEntry, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use crate::failure::{Failure, one_line};

/// Endings of files in a folder that are taken for pictures.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Endings of files that are taken for videos. Animations are pictures here: of most, one frame says enough.
const VIDEO_ENDINGS: [&str; 7] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg"];

/// Whether a file is taken for a video.
pub(crate) fn is_video(path: &Path) -> bool {
    has_ending(path, &VIDEO_ENDINGS)
}

fn is_picture(path: &Path) -> bool {
    has_ending(path, &ENDINGS) || is_video(path)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    endings
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

/// A picture's name in JSON: its path as it was found. Bytes that are no UTF-8 stand as `\xE9`, so
/// that two such names differ.
pub(crate) fn name(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        name.push_str(chunk.valid());
        name.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    name
}

/// Pictures of a folder and all below it, by name.
///
/// # Errors
/// When a folder cannot be listed.
pub(crate) fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let listed = entries(folder).map_err(|error| Failure::path("list", folder, &error))?;
    for entry in listed {
        let path = entry.path();
        if is_own_folder(&entry) {
            walk(&path, found)?;
        } else if path.is_dir() {
            leave_link(&path);
        } else if is_picture(&path) {
            found.push(path);
        } else if begins_like_a_picture(&path) {
            leave_name(&path);
        }
    }
    Ok(())
}

/// Whether a file's first bytes are those of a picture: a download may be called `photo.jpg.1`.
fn begins_like_a_picture(path: &Path) -> bool {
    // Opening a pipe would wait for its other end.
    if !path.is_file() {
        return false;
    }
    let mut start = Vec::new();
    let opened = File::open(path);
    let read = opened.and_then(|file| file.take(12).read_to_end(&mut start));
    let begins = |mark: &[u8]| start.starts_with(mark);
    let is_webp = begins(b"RIFF") && start.ends_with(b"WEBP");
    let is_other = begins(b"\x89PNG\r\n") || begins(b"\xff\xd8\xff") || begins(b"GIF8");
    read.is_ok() && (is_webp || is_other)
}

/// Files of a pattern such as `scans/**/*.png`, by name, for shells that leave it as it is. None
/// when nothing is there.
///
/// # Errors
/// When it is no pattern, or a folder that it leads into cannot be listed.
pub(crate) fn expand(pattern: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    // What is no UTF-8 is no pattern, and a file of this name would have been found.
    let Some(text) = pattern.to_str() else {
        return Ok(());
    };
    let (root, steps) = steps(text)
        .map_err(|error| Failure::usage(format_args!("{text}: not a pattern: {error}")))?;
    let mut files = Vec::new();
    follow(&root, &steps, &mut files)?;
    files.sort();
    files.dedup();
    found.append(&mut files);
    Ok(())
}

/// A component of a pattern.
enum Step {
    /// This very name.
    Name(OsString),
    /// Every name like this.
    Names(Pattern),
    /// Any folders below each other, or none: `**`.
    Folders,
}

/// Where a pattern begins, and what follows.
fn steps(text: &str) -> Result<(PathBuf, Vec<Step>), glob::PatternError> {
    Pattern::new(text)?;
    let (mut root, mut steps) = (PathBuf::new(), Vec::new());
    for component in Path::new(text).components() {
        let name = component.as_os_str();
        let text = name.to_str().unwrap_or_default();
        match component {
            Component::Prefix(_) | Component::RootDir => root.push(name),
            _ if text == "**" => {
                if !matches!(steps.last(), Some(Step::Folders)) {
                    steps.push(Step::Folders);
                }
            }
            _ if text.contains(['*', '?', '[']) => steps.push(Step::Names(Pattern::new(text)?)),
            _ => steps.push(Step::Name(name.to_owned())),
        }
    }
    Ok((root, steps))
}

fn follow(base: &Path, steps: &[Step], found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let Some((step, rest)) = steps.split_first() else {
        return Ok(());
    };
    match step {
        Step::Name(name) => arrive(base.join(name), rest, found),
        Step::Names(pattern) => {
            for entry in list_if_folder(base)? {
                if pattern.matches(&entry.file_name().to_string_lossy()) {
                    arrive(entry_path(base, &entry), rest, found)?;
                }
            }
            Ok(())
        }
        Step::Folders => {
            follow(base, rest, found)?;
            for entry in list_if_folder(base)? {
                let path = entry_path(base, &entry);
                if is_own_folder(&entry) {
                    follow(&path, steps, found)?;
                } else if path.is_dir() {
                    leave_link(&path);
                } else if rest.is_empty() {
                    found.push(path);
                }
            }
            Ok(())
        }
    }
}

/// Takes a path that the steps so far lead to, or goes on from it. What is there and cannot be read
/// is taken too.
fn arrive(path: PathBuf, rest: &[Step], found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let metadata = match rest.is_empty() {
        true => std::fs::symlink_metadata(&path),
        false => std::fs::metadata(&path),
    };
    match metadata {
        Err(error) if is_absence(&error) => {}
        Err(error) if !rest.is_empty() => return Err(Failure::path("read", &path, &error)),
        _ if !rest.is_empty() => follow(&path, rest, found)?,
        _ if path.is_dir() => {}
        _ => found.push(path),
    }
    Ok(())
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A path as the pattern spells it: what `.` holds has no `./` before it.
fn entry_path(base: &Path, entry: &DirEntry) -> PathBuf {
    base.join(entry.file_name())
}

/// What a folder holds, by name; nothing where the path is none.
fn list_if_folder(path: &Path) -> Result<Vec<DirEntry>, Failure> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    match entries(path) {
        Err(error) if is_absence(&error) => Ok(Vec::new()),
        listed => listed.map_err(|error| Failure::path("list", path, &error)),
    }
}

fn entries(folder: &Path) -> std::io::Result<Vec<DirEntry>> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

/// Whether an entry is a folder itself. Links to folders are not followed: they may lead back.
fn is_own_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

fn leave_link(path: &Path) {
    let path = one_line(&path.display().to_string());
    eprintln!("note: {path}: a link to a folder, left out; name it to have its pictures too");
}

fn leave_name(path: &Path) {
    let path = one_line(&path.display().to_string());
    eprintln!(
        "note: {path}: a picture whose name does not end like one, left out; name it, or a pattern, to have it too"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_utf8_differ_where_their_bytes_do() {
        use std::os::unix::ffi::OsStrExt as _;
        let of = |bytes: &[u8]| name(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(of(b"caf\xe9/b\xc3\xa9.png"), "caf\\xE9/b\u{e9}.png");
        assert_ne!(of(b"\xe8.png"), of(b"\xe9.png"));
    }
}
