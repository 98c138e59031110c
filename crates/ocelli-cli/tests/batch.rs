//! Many pictures, one question: every picture has one line, whatever happens on the way.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use std::path::Path;

use common::{Folder, Model, ocelli, picture};
use serde_json::Value;

fn scans(folder: &Folder) -> String {
    std::fs::create_dir_all(folder.path("scans/more")).unwrap();
    for (name, from) in [
        ("b.png", "wide.png"),
        ("a.PNG", "tall.png"),
        ("more/c.png", "photo.png"),
    ] {
        std::fs::copy(picture(from), folder.path(&format!("scans/{name}"))).unwrap();
    }
    folder.file("scans/notes.txt", "no picture");
    folder.path("scans")
}

fn batch(model: &Model, inputs: &str, out: &str, more: &[&str]) -> common::Ran {
    let fixed = [inputs, "--out", out, "-n", "3", "--image-max-tokens", "64"];
    let arguments: Vec<&str> = fixed.iter().chain(more).copied().collect();
    ocelli(&model.arguments("batch", &arguments))
}

fn rows(out: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(out).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn images(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["image"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect()
}

#[test]
fn every_picture_of_a_folder_gets_a_line_in_order() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let ran = batch(&model, &scans(&folder), &out, &["--prompt", "What?"]);
    assert_eq!(ran.ok(), "", "nothing goes to standard output");
    let rows = rows(&out);
    assert_eq!(images(&rows), ["a.PNG", "b.png", "c.png"]);
    for row in &rows {
        assert!(
            row["answer"].is_string() && row["usage"]["completion_tokens"].is_u64(),
            "{row}"
        );
        assert_eq!(row["prompt"], "What?");
    }
}

#[test]
fn a_killed_batch_goes_on_without_repeating_or_losing_a_row() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let scans = scans(&folder);
    batch(&model, &scans, &out, &["--prompt", "What?"]).ok();
    let whole = std::fs::read_to_string(&out).unwrap();
    // As a kill leaves it: a whole line, and the first half of another, also behind the last one.
    let (first, more) = (
        whole.find('\n').unwrap() + 1,
        format!("{whole}{{\"image\":"),
    );
    for kept in [0, first, first + 20, whole.len(), more.len()] {
        std::fs::write(&out, &more[..kept]).unwrap();
        batch(&model, &scans, &out, &["--prompt", "What?"]).ok();
        let answers = |text: &str| -> Vec<(Value, Value)> {
            let row = |line| serde_json::from_str::<Value>(line).unwrap();
            text.lines()
                .map(row)
                .map(|r| (r["image"].clone(), r["answer"].clone()))
                .collect()
        };
        let again = std::fs::read_to_string(&out).unwrap();
        assert_eq!(answers(&again), answers(&whole), "cut at {kept}");
    }
}

#[test]
fn a_picture_that_cannot_be_read_has_a_line_and_the_others_go_on() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let scans = scans(&folder);
    folder.file("scans/aa.png", "not a picture");
    let ran = batch(&model, &scans, &out, &["--prompt", "What?"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let rows = rows(&out);
    assert_eq!(rows.len(), 4);
    let bad: Vec<&Value> = rows
        .iter()
        .filter(|row| row.get("error").is_some())
        .collect();
    assert_eq!(bad.len(), 1);
    assert!(
        bad[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not a supported image")
    );
    assert_eq!(bad[0]["error"]["code"], 6);
    // The code is about the file, however often the work was taken up again.
    let again = batch(&model, &scans, &out, &["--prompt", "What?"]);
    assert_eq!(again.code, Some(6), "{again:?}");
    assert!(again.stderr.contains("1 of 4 pictures failed"), "{again:?}");
}

#[test]
fn answers_of_another_prompt_and_foreign_files_are_left_alone() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let scans = scans(&folder);
    batch(&model, &scans, &out, &["--prompt", "What?"]).ok();
    let before = std::fs::read(&out).unwrap();
    batch(&model, &scans, &out, &["--prompt", "Why?"]).fails(2, "another prompt");
    assert_eq!(std::fs::read(&out).unwrap(), before);
    let notes = folder.file("notes.txt", "my notes\n");
    batch(&model, &scans, &notes, &["--prompt", "What?"]).fails(2, "no answer of a batch");
    assert_eq!(std::fs::read(&notes).unwrap(), b"my notes\n");
}

#[test]
#[cfg(unix)]
fn answers_go_to_regular_files_only() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let scans = scans(&folder);
    // Reading this one would never end.
    batch(&model, &scans, "/dev/full", &["--prompt", "What?"]).fails(2, "no regular file");
    batch(
        &model,
        &scans,
        &folder.path("scans"),
        &["--prompt", "What?"],
    )
    .fails(2, "no regular");
}

#[test]
#[cfg(unix)]
fn two_batches_do_not_write_one_file_at_a_time() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.file("out.jsonl", ""));
    let scans = scans(&folder);
    let other = std::fs::File::open(&out).unwrap();
    other.lock().unwrap();
    batch(&model, &scans, &out, &["--prompt", "What?"]).fails(2, "another program writing");
    drop(other);
    batch(&model, &scans, &out, &["--prompt", "What?"]).ok();
    assert_eq!(rows(&out).len(), 3);
}

#[test]
fn a_model_that_does_not_load_leaves_no_file_of_answers() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    std::fs::write(&model.text, "no model").unwrap();
    let ran = batch(&model, &scans(&folder), &out, &["--prompt", "What?"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn patterns_are_expanded_and_nothing_to_do_is_an_error() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    scans(&folder);
    batch(
        &model,
        &folder.path("scans/**/*.png"),
        &out,
        &["--prompt", "What?"],
    )
    .ok();
    assert_eq!(rows(&out).len(), 2);
    let missing = folder.path("nowhere");
    batch(&model, &missing, &out, &["--prompt", "What?"]).fails(8, "nowhere");
    std::fs::create_dir(folder.path("empty")).unwrap();
    batch(&model, &folder.path("empty"), &out, &["--prompt", "What?"]).fails(2, "no pictures");
}

#[test]
fn places_of_an_answer_are_drawn_on_a_copy_of_the_picture() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("drawn.png"));
    let wide = picture("wide.png");
    model
        .run(&[
            "--image",
            &wide,
            "-n",
            "2",
            "--image-max-tokens",
            "64",
            "--draw",
            &out,
            "Where?",
        ])
        .ok();
    let drawn = std::fs::read(&out).unwrap();
    assert!(drawn.starts_with(b"\x89PNG"));
    model
        .run(&["-n", "2", "--draw", &out, "Where?"])
        .fails(2, "--draw");
}

/// A batch with a schema and room for whole answers.
fn by_schema(model: &Model, inputs: &str, out: &str, schema: &str, tokens: &str) -> common::Ran {
    let limits = ["-n", tokens, "--image-max-tokens", "64"];
    let files = [inputs, "-p", "What?", "--out", out, "--schema", schema];
    ocelli(&model.arguments("batch", &[&files[..], &limits].concat()))
}

#[test]
fn every_answer_follows_the_schema_and_its_value_is_told() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let schema = folder.file("schema.json", r#"{"enum": ["yes", "no", 7]}"#);
    let scans = scans(&folder);
    by_schema(&model, &scans, &out, &schema, "60").ok();
    for row in rows(&out) {
        assert!(row["error"].is_null(), "{row}");
        assert!(
            ["yes".into(), "no".into(), 7.into()].contains(&row["json"]),
            "{row}"
        );
        let answer: Value = serde_json::from_str(row["answer"].as_str().unwrap()).unwrap();
        assert_eq!(answer, row["json"]);
    }
    // The same work goes on; another schema is other work.
    by_schema(&model, &scans, &out, &schema, "60").ok();
    assert_eq!(rows(&out).len(), 3);
    let other = folder.file("other.json", r#"{"enum": ["yes", "no", 8]}"#);
    by_schema(&model, &scans, &out, &other, "60").fails(2, "another schema");
    batch(&model, &scans, &out, &["-p", "What?"]).fails(2, "another schema");
}

#[test]
fn an_answer_that_does_not_come_to_its_end_is_an_error_of_its_row() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let schema = folder.file(
        "schema.json",
        r#"{"type": "string", "pattern": "^[a-z]{40,50}$"}"#,
    );
    let ran = by_schema(&model, &scans(&folder), &out, &schema, "2");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for row in rows(&out) {
        let message = row["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("found 2 tokens that are no whole value"),
            "{row}"
        );
        assert_eq!(
            (&row["error"]["code"], &row["json"]),
            (&1.into(), &Value::Null)
        );
    }
}

#[test]
fn a_bad_schema_ends_the_batch_before_a_picture_is_asked() {
    let folder = Folder::new();
    let (model, out) = (folder.model(|_| {}), folder.path("out.jsonl"));
    let scans = scans(&folder);
    let missing = folder.path("none.json");
    by_schema(&model, &scans, &out, &missing, "9").fails(8, "none.json");
    for (text, message) in [
        ("{\"type\": ", "found no JSON"),
        ("{\"type\": \"nothing\"}", "bad.json"),
        (
            "{\"type\": \"string\", \"enum\": [1]}",
            "never be satisfied",
        ),
        ("[1, 2]", "bad.json"),
    ] {
        let bad = folder.file("bad.json", text);
        by_schema(&model, &scans, &out, &bad, "9").fails(2, message);
        assert!(!Path::new(&out).exists(), "{text}");
    }
}
