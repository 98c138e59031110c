//! Where the chat's history of typed lines is kept.

use std::path::PathBuf;

/// The history file, and its folder made. `None` when the system names no place for it.
pub(crate) fn file() -> Option<PathBuf> {
    let folder = state_folder()?.join("ocelli");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// `$XDG_STATE_HOME`, else its default; on Windows the local application data.
fn state_folder() -> Option<PathBuf> {
    // The convention says that relative paths in these variables are to be ignored.
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if cfg!(windows) {
        return folder("LOCALAPPDATA");
    }
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local").join("state")))
}
