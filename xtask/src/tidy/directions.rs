//! Which crate may depend on which: the direction of the design, read from `cargo metadata`.
//!
//! Development dependencies are exempt: tests may reach upwards.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Finding;
use crate::check::cargo_program;

/// Each crate and the crates of ours it may depend on.
///
/// What a crate reaches through another it may also name itself, except that programs
/// see only `ocelli`, and that models and engine never see a backend.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("ocelli-quant", &[]),
    ("ocelli-image", &[]),
    ("ocelli-kernels", &["ocelli-quant"]),
    ("ocelli-gguf", &["ocelli-quant"]),
    ("ocelli-tensor", &["ocelli-quant"]),
    (
        "ocelli-cpu",
        &["ocelli-tensor", "ocelli-kernels", "ocelli-quant"],
    ),
    ("ocelli-text", &["ocelli-gguf", "ocelli-quant"]),
    ("ocelli-store", &["ocelli-gguf", "ocelli-quant"]),
    (
        "ocelli-models",
        &[
            "ocelli-tensor",
            "ocelli-gguf",
            "ocelli-image",
            "ocelli-quant",
        ],
    ),
    (
        "ocelli-convert",
        &[
            "ocelli-gguf",
            "ocelli-quant",
            "ocelli-models",
            "ocelli-tensor",
            "ocelli-image",
        ],
    ),
    (
        "ocelli-engine",
        &[
            "ocelli-models",
            "ocelli-text",
            "ocelli-image",
            "ocelli-tensor",
            "ocelli-gguf",
            "ocelli-quant",
        ],
    ),
    (
        "ocelli",
        &[
            "ocelli-engine",
            "ocelli-store",
            "ocelli-convert",
            "ocelli-cpu",
            "ocelli-models",
            "ocelli-text",
            "ocelli-image",
            "ocelli-tensor",
            "ocelli-gguf",
            "ocelli-quant",
            "ocelli-kernels",
        ],
    ),
    ("ocelli-server", &["ocelli"]),
    ("ocelli-cli", &["ocelli", "ocelli-server"]),
    (
        "ocelli-testkit",
        &["ocelli-gguf", "ocelli-quant", "ocelli-tensor"],
    ),
    ("xtask", &[]),
];

/// Crates that compile C or look for C libraries; a default build must not need a C compiler.
const C_BUILDERS: [&str; 4] = ["cc", "cmake", "bindgen", "pkg-config"];

/// What `cargo metadata` says, with the dependencies that a default build here resolves to.
///
/// # Errors
/// When cargo fails.
pub(super) fn metadata(root: &Path) -> Result<Value> {
    let output = Command::new(cargo_program())
        .args(["metadata", "--format-version", "1"])
        // Without it cargo downloads the crates of every other platform.
        .args(["--filter-platform", "host-tuple"])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

/// Every package that a default build here compiles, one `name version` a line. `cargo metadata`
/// and the lock file also list what features leave out.
///
/// # Errors
/// When cargo fails.
pub(super) fn built(root: &Path) -> Result<String> {
    let output = Command::new(cargo_program())
        .args(["tree", "--workspace", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root)
        .output()
        .context("cannot start cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("cargo tree printed no text")
}

/// Crates among those that are built which would need a C compiler.
pub(super) fn check_built(built: &str) -> Vec<Finding> {
    let names = built.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| C_BUILDERS.contains(name))
        .map(|name| {
            let message = format!("`{name}` compiles C; a default build needs Rust only");
            Finding::error("Cargo.lock", None, message)
        })
        .collect()
}

/// Names of the workspace's packages, sorted.
pub(super) fn names(metadata: &Value) -> Vec<String> {
    let mut names: Vec<String> = members(metadata)
        .filter_map(|package| Some(package["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Dependencies that point the wrong way.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let names = names(metadata);
    let mut findings = Vec::new();
    for package in members(metadata) {
        findings.extend(check_package(package, &names));
    }
    findings
}

fn check_package(package: &Value, ours: &[String]) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let path = format!("{name}/Cargo.toml");
    let Some((_, allowed)) = ALLOWED.iter().find(|(from, _)| *from == name) else {
        let message = "has no row in xtask/src/tidy/directions.rs: say what it may depend on";
        return vec![Finding::error(&path, None, message)];
    };
    array(&package["dependencies"])
        .filter(|dependency| dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|to| ours.iter().any(|name| name == to) && !allowed.contains(to))
        .map(|to| {
            let message = format!("must not depend on `{to}`; allowed: {}", list(allowed));
            Finding::error(&path, None, message)
        })
        .collect()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none of ours".to_owned()
    } else {
        names.join(", ")
    }
}

fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    array(&metadata["packages"])
        .filter(|package| array(&metadata["workspace_members"]).any(|id| id == &package["id"]))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(name: &str, dependency: &str, kind: Value) -> Value {
        json!({
            "packages": [
                {"name": name, "id": "a", "dependencies": [{"name": dependency, "kind": kind}]},
                {"name": dependency, "id": "b", "dependencies": []},
            ],
            "workspace_members": ["a", "b"],
            "resolve": {"nodes": [{"id": "a"}, {"id": "b"}]},
        })
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        for (from, to) in [
            ("ocelli-models", "ocelli-cpu"),
            ("ocelli-engine", "ocelli-cpu"),
            ("ocelli-quant", "ocelli-gguf"),
            ("ocelli-cli", "ocelli-engine"),
            ("ocelli-text", "ocelli-testkit"),
            ("xtask", "ocelli"),
        ] {
            let found = check(&workspace(from, to, Value::Null));
            assert_eq!(found.len(), 1, "{from} -> {to}");
            assert!(found[0].message.contains("must not depend on"));
        }
    }

    #[test]
    fn the_direction_holds_for_build_scripts_but_not_for_tests() {
        let build = workspace("ocelli-quant", "ocelli-gguf", json!("build"));
        assert_eq!(check(&build).len(), 1);
        let tests = workspace("ocelli-text", "ocelli-testkit", json!("dev"));
        assert!(check(&tests).is_empty());
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let found = check(&workspace("ocelli-new", "ocelli-quant", Value::Null));
        assert!(found[0].message.contains("has no row"), "{found:?}");
    }

    #[test]
    fn a_crate_that_compiles_c_is_found_where_it_is_built() {
        assert!(check_built("libc v0.2.0\nccc v1.0.0\n").is_empty());
        assert_eq!(check_built("libc v0.2.0\ncc v1.11.1\n").len(), 1);
    }
}
