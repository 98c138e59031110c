//! `cargo xtask goldens`: calls the Python script that makes the golden files.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SCRIPT: &str = "tools/reference/make_goldens.py";

/// Runs the script with `$PYTHON`, else `python3`; `false` when it failed.
///
/// # Errors
/// When the script or Python is missing.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    ensure!(root.join(SCRIPT).is_file(), "{SCRIPT} is missing");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let status = Command::new(&python)
        .arg(SCRIPT)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| {
            format!(
                "cannot start {}; set PYTHON to an interpreter",
                python.display()
            )
        })?;
    Ok(status.success())
}
