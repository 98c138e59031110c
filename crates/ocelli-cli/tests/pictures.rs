//! Which files arguments name: none that was asked for is left out without a word.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Folder, Model, Ran, command, finish, ocelli, picture};
use serde_json::Value;

fn batch(model: &Model, inputs: &str, out: &str) -> Ran {
    let fixed = [inputs, "-p", "What?", "--out", out, "-n", "2"];
    ocelli(&model.arguments(
        "batch",
        &[&fixed[..], &["--image-max-tokens", "64"]].concat(),
    ))
}

/// The name of the picture, without its folder, and whether there is an answer, of each line.
fn rows(out: &str) -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(out).unwrap();
    let row = |line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["image"].as_str().unwrap().rsplit('/').next().unwrap();
        (name.to_owned(), row["error"].is_null())
    };
    text.lines().map(row).collect()
}

fn names(rows: &[(String, bool)]) -> Vec<&str> {
    rows.iter().map(|row| row.0.as_str()).collect()
}

/// Copies of a picture under these names in a folder.
fn copies(folder: &Folder, inside: &str, names: &[&[u8]]) -> String {
    let path = folder.path(inside);
    std::fs::create_dir_all(&path).unwrap();
    for name in names {
        let to = Path::new(&path).join(OsStr::from_bytes(name));
        std::fs::copy(picture("wide.png"), to).unwrap();
    }
    path
}

// Other systems do not let such names be.
#[test]
#[cfg(target_os = "linux")]
fn pictures_whose_names_are_no_utf8_are_asked_about_and_told_apart() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let scans = copies(&folder, "scans", &[b"\xe8.png", b"\xe9.png", b"a.png"]);
    let by_pattern = format!("{scans}/*.png");
    for (inputs, out) in [(&scans, "folder.jsonl"), (&by_pattern, "pattern.jsonl")] {
        let out = folder.path(out);
        batch(&model, inputs, &out).ok();
        assert_eq!(
            names(&rows(&out)),
            ["a.png", "\\xE8.png", "\\xE9.png"],
            "{inputs}"
        );
        // What has no line is asked about again, and nothing else.
        let text = std::fs::read_to_string(&out).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("xE9")).collect();
        std::fs::write(&out, format!("{}\n", kept.join("\n"))).unwrap();
        let again = batch(&model, inputs, &out);
        assert!(again.stderr.contains("1 answer written"), "{again:?}");
        assert_eq!(rows(&out).len(), 3);
    }
}

// Other systems do not let such names be.
#[test]
#[cfg(target_os = "linux")]
fn two_pictures_that_would_be_written_alike_are_refused() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let scans = copies(&folder, "scans", &[b"\xe9.png", b"\\xE9.png"]);
    batch(&model, &scans, &out).fails(2, "Rename one");
}

#[test]
fn patterns_take_what_a_shell_would_and_nothing_twice() {
    let folder = Folder::new();
    copies(&folder, "s/one/two", &[b"c.png", b"d.txt"]);
    copies(&folder, "s/one", &[b"b.png", b".hidden.png"]);
    copies(&folder, "s", &[b"a.png", b"[x].png"]);
    for (pattern, expected) in [
        ("s/*.png", &["[x].png", "a.png"][..]),
        (
            "s/**/*.png",
            &["[x].png", "a.png", ".hidden.png", "b.png", "c.png"],
        ),
        ("s/**/**/c.png", &["c.png"]),
        (
            "s/**",
            &["[x].png", "a.png", ".hidden.png", "b.png", "c.png", "d.txt"],
        ),
        ("s/*/?.png", &["b.png"]),
        ("./s/on[a-e]/../[[]x].png", &["[x].png"]),
        ("s/[x].png", &["[x].png"]),
        ("s/[!a]*", &["[x].png"]),
        ("s/a.png/*", &[]),
        ("s/none/*.png", &[]),
    ] {
        let mut plan = command(&["plan", "--json", pattern]);
        plan.current_dir(folder.path(""));
        let ran = finish(plan.spawn().unwrap());
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let images = plan["images"].as_array().unwrap();
        let found: Vec<&str> = images
            .iter()
            .map(|image| image["image"].as_str().unwrap().rsplit('/').next().unwrap())
            .collect();
        match expected {
            // What is not there is reported under the words that name it.
            [] => assert_eq!(
                (images[0]["image"].as_str(), ran.code),
                (Some(pattern), Some(8))
            ),
            expected => assert_eq!(found, expected, "{pattern}"),
        }
    }
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    batch(&model, &folder.path("a**b"), &out).fails(2, "not a pattern");
}

#[test]
fn links_to_nothing_have_a_line_and_links_to_folders_a_note() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let scans = copies(&folder, "scans", &[b"a.png"]);
    copies(&folder, "elsewhere", &[b"z.png"]);
    symlink("nowhere", format!("{scans}/b.png")).unwrap();
    symlink("../elsewhere", format!("{scans}/more")).unwrap();
    let by_pattern = format!("{scans}/**/*.png");
    for (inputs, out) in [(&scans, "folder.jsonl"), (&by_pattern, "pattern.jsonl")] {
        let out = folder.path(out);
        let ran = batch(&model, inputs, &out);
        assert_eq!(ran.code, Some(6), "{ran:?}");
        let expected = [("a.png".to_owned(), true), ("b.png".to_owned(), false)];
        assert_eq!(rows(&out), expected, "{inputs}");
        assert!(
            ran.stderr
                .contains("scans/more: a link to a folder, left out"),
            "{ran:?}"
        );
    }
    // A pattern that spells the way goes through a link.
    let out = folder.path("spelt.jsonl");
    batch(&model, &format!("{scans}/m*/*.png"), &out).ok();
    assert_eq!(names(&rows(&out)), ["z.png"]);
}

#[test]
fn pictures_that_are_not_called_so_are_left_out_with_a_note() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let scans = copies(&folder, "scans", &[b"a.png", b"b.png.1", b"c"]);
    std::fs::write(format!("{scans}/notes.txt"), "a text").unwrap();
    std::fs::write(format!("{scans}/.hidden"), "").unwrap();
    let out = folder.path("folder.jsonl");
    let ran = batch(&model, &scans, &out);
    assert_eq!(names(&rows(&out)), ["a.png"]);
    let left_out = "a picture whose name does not end like one, left out";
    for name in ["b.png.1", "c"] {
        let note = format!("note: {scans}/{name}: {left_out}");
        assert!(ran.stderr.contains(&note), "{ran:?}");
    }
    assert_eq!(ran.stderr.matches("note: ").count(), 2, "{ran:?}");
    // A pattern takes whatever it fits.
    let out = folder.path("pattern.jsonl");
    batch(&model, &format!("{scans}/[abc]*"), &out).ok();
    assert_eq!(names(&rows(&out)), ["a.png", "b.png.1", "c"]);
}

#[test]
fn a_link_that_leads_in_a_circle_is_named() {
    let folder = Folder::new();
    let scans = copies(&folder, "scans", &[b"a.png"]);
    symlink("circle", format!("{scans}/circle")).unwrap();
    ocelli(&["plan", &format!("{scans}/*/a.png")]).fails(8, "scans/circle");
}

/// The command for one whom permissions bind, which they do not for root; `own` is a copy of it
/// that all may run.
fn unprivileged(own: &str, arguments: &[&str]) -> Ran {
    let is_root = std::fs::metadata(own).unwrap().uid() == 0;
    let mut command = Command::new(own);
    command.args(arguments).env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if is_root {
        command.gid(65_534).uid(65_534);
    }
    finish(command.spawn().unwrap())
}

#[test]
fn folders_that_cannot_be_listed_are_named_before_anything_is_asked() {
    let folder = Folder::new();
    let (own, out) = (folder.path("ocelli"), folder.path("out.jsonl"));
    // By a process of its own: a file that this one writes is busy while another test starts a command.
    let mut copy = Command::new("cp");
    let copied = copy.args([env!("CARGO_BIN_EXE_ocelli"), &own]).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(folder.path(""), Permissions::from_mode(0o755)).unwrap();
    let scans = copies(&folder, "scans", &[b"a.png"]);
    let closed = copies(&folder, "scans/closed", &[b"b.png"]);
    let all = [
        scans.clone(),
        format!("{scans}/**/*.png"),
        format!("{closed}/*.png"),
    ];
    let close = |mode| std::fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
    close(0o000);
    for inputs in &all {
        for command in [&["batch", "-p", "What?", "--out", &out][..], &["plan"]] {
            unprivileged(&own, &[command, &[inputs]].concat())
                .fails(8, "closed: Permission denied");
        }
    }
    assert!(!Path::new(&out).exists());
    // Names without what they stand for: those pictures are reported like all that cannot be read.
    close(0o644);
    for inputs in &all {
        let ran = unprivileged(&own, &["plan", "--json", inputs]);
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let images = plan["images"].as_array().unwrap();
        let last = images.last().unwrap();
        assert!(last["image"].as_str().unwrap().ends_with("b.png"), "{plan}");
        assert_eq!(last["error"]["code"], 8, "{plan}");
    }
    close(0o755);
}
