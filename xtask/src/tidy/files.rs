//! Which files belong to the repository, and which rules look at each.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Finding, docs, source};

/// Larger files make every clone slow, and the registry refuses packages over 10 MiB.
const FILE_LIMIT_BYTES: u64 = 12 * 1024 * 1024;

/// Text that is ours to keep clean; goldens and models are data.
const TEXT_ENDINGS: [&str; 9] = [
    ".rs", ".md", ".toml", ".py", ".sh", ".yml", ".yaml", ".jinja", ".ci/run",
];

/// A file that git tracks, or would.
pub(super) struct RepositoryFile {
    /// Path from the root, with `/`.
    path: String,
}

/// The files of the repository. Outside of git (an unpacked archive) every file counts.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn list(root: &Path) -> Result<Vec<RepositoryFile>> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output();
    let mut paths = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            // A tracked file that was deleted but not yet committed.
            .filter(|path| root.join(path).is_file())
            .map(str::to_owned)
            .collect(),
        _ => walk(root)?,
    };
    paths.sort();
    paths.dedup();
    Ok(paths
        .into_iter()
        .map(|path| RepositoryFile { path })
        .collect())
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if let Ok(relative) = path.strip_prefix(root) {
                paths.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(paths)
}

impl RepositoryFile {
    /// Everything the rules find in this file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn check(&self, root: &Path) -> Result<Vec<Finding>> {
        let path = self.path.as_str();
        let full = root.join(path);
        let context = || format!("reading {path}");
        let bytes = std::fs::metadata(&full).with_context(context)?.len();
        let mut findings = Vec::from_iter(check_size(path, bytes));
        if !TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            return Ok(findings);
        }
        let text = std::fs::read_to_string(&full).with_context(context)?;
        findings.extend(source::check_machine_paths(path, &text));
        if path.ends_with(".rs") {
            findings.extend(source::check(path, &text));
        }
        if path.ends_with(".md") {
            findings.extend(docs::check_links(path, &text, |target| {
                root.join(target).exists()
            }));
        }
        Ok(findings)
    }
}

fn check_size(path: &str, bytes: u64) -> Option<Finding> {
    (bytes > FILE_LIMIT_BYTES).then(|| {
        Finding::error(
            path,
            None,
            format!("{bytes} bytes, limit {FILE_LIMIT_BYTES}; keep large files out of git"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_found() {
        assert!(check_size("model.gguf", FILE_LIMIT_BYTES).is_none());
        let finding = check_size("model.gguf", FILE_LIMIT_BYTES + 1).expect("too large");
        assert!(finding.message.contains("12582913 bytes"), "{finding}");
    }

    #[test]
    fn a_folder_without_git_is_walked() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let paths = walk(root).expect("readable");
        assert!(paths.contains(&"src/tidy/files.rs".to_owned()), "{paths:?}");
    }
}
