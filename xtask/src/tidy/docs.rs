//! Rules of the documentation: links lead somewhere, and every crate is described.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;

/// Pages whose table lists the crates.
const PAGES_WITH_CRATES: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

/// Relative links of a Markdown page that lead nowhere. `exists` is asked for paths from the root.
pub(super) fn check_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
        }
        if in_code_block {
            continue;
        }
        for target in link_targets(&without_inline_code(line)) {
            let Some(file) = linked_file(path, target) else {
                continue;
            };
            if !exists(&file) {
                let message = format!("link to `{target}`: there is no `{file}`");
                findings.push(Finding::error(path, Some(index + 1), message));
            }
        }
    }
    findings
}

fn without_inline_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The `target` of each `[text](target)` or `[text](target "title")`.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|tail| {
        let inside = tail.split(')').next()?;
        inside.split_whitespace().next()
    })
}

/// The file that a link on page `path` names, as a path from the root; `None` for other links.
fn linked_file(path: &str, target: &str) -> Option<String> {
    let file = target.split('#').next().unwrap_or_default();
    if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
        return None;
    }
    let mut parts: Vec<&str> = match file.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => path.split('/').collect(),
    };
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// Crates that the tables of README and ARCHITECTURE miss, and rows without a crate.
///
/// # Errors
/// When a page cannot be read.
pub(super) fn check_crate_tables(root: &Path, crates: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for page in PAGES_WITH_CRATES {
        let text =
            std::fs::read_to_string(root.join(page)).with_context(|| format!("reading {page}"))?;
        findings.extend(check_crate_table(page, &text, crates));
    }
    Ok(findings)
}

fn check_crate_table(page: &str, text: &str, crates: &[String]) -> Vec<Finding> {
    let rows: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, crate_of_row(line)?)))
        .collect();
    let missing = crates
        .iter()
        .filter(|name| !rows.iter().any(|(_, row)| row == name))
        .map(|name| Finding::error(page, None, format!("crate `{name}` has no row in a table")));
    let stale = rows
        .iter()
        .filter(|(_, row)| !crates.iter().any(|name| name == row))
        .map(|(line, row)| Finding::error(page, Some(*line), format!("no crate `{row}`")));
    missing.chain(stale).collect()
}

/// The crate that a table row is about: its first cell is the crate's name as code.
fn crate_of_row(line: &str) -> Option<&str> {
    let cell = line.strip_prefix("| ")?.split('|').next()?.trim();
    let cell = match cell.strip_prefix('[') {
        Some(link) => link.split(']').next()?,
        None => cell,
    };
    let name = cell.strip_prefix('`')?.strip_suffix('`')?;
    let ours = name == "ocelli" || name == "xtask" || name.starts_with("ocelli-");
    ours.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_relative_link_is_found_with_its_line() {
        let text =
            "# A\nSee [b](b.md#part) and [up](../README.md \"top\") and [web](https://x.org).\n";
        let found = check_links("docs/a.md", text, |path| path == "README.md");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].line, Some(2));
        assert!(found[0].message.contains("no `docs/b.md`"), "{found:?}");
    }

    #[test]
    fn code_is_not_searched_for_links() {
        let text = "`[a](b)`\n```\n[a](b)\n```\n[c](#here)\n";
        assert!(check_links("a.md", text, |_| false).is_empty());
    }

    #[test]
    fn links_that_leave_the_repository_lead_nowhere() {
        assert_eq!(linked_file("a.md", "../x").as_deref(), Some("../x"));
        assert_eq!(linked_file("docs/a.md", "/x.md").as_deref(), Some("x.md"));
    }

    #[test]
    fn crates_without_a_row_and_rows_without_a_crate_are_found() {
        let text = "| `ocelli` | the library |\n| `ocelli-gone` | was here |\n| `--flag` | no |\n";
        let crates = ["ocelli".to_owned(), "ocelli-text".to_owned()];
        let found: Vec<String> = check_crate_table("README.md", text, &crates)
            .iter()
            .map(Finding::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "error: README.md: crate `ocelli-text` has no row in a table",
                "error: README.md:2: no crate `ocelli-gone`"
            ]
        );
    }

    #[test]
    fn a_row_may_link_to_its_crate() {
        let row = "| [`ocelli-text`](crates/ocelli-text) | words |";
        assert_eq!(crate_of_row(row), Some("ocelli-text"));
    }
}
