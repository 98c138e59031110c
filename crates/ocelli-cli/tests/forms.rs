//! Answers of one question that are bound to a form: a JSON schema, or boxes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Folder, ocelli, root};
use serde_json::Value;

/// `ocelli run` about the example's picture.
fn run(arguments: &[&str]) -> common::Ran {
    let scene = root().join("examples/scene.png");
    let image = ["run", "--image", scene.to_str().unwrap()];
    ocelli(&[&image[..], arguments].concat())
}

#[test]
fn an_answer_by_a_schema_is_its_value_or_an_error_where_it_was_cut_off() {
    let folder = Folder::new();
    let schema = r#"{"type": "object", "properties": {"colour": {"enum": ["red", "orange"]}}, "required": ["colour"]}"#;
    let schema = folder.file("schema.json", schema);
    let question = "What colour is the large ring?";
    let told = run(&["--json", "--schema", &schema, question]).ok();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["json"]["colour"], "orange", "{told}");
    let value: Value = serde_json::from_str(told["answer"].as_str().unwrap()).unwrap();
    assert_eq!(value, told["json"]);
    let cut = run(&["-n", "2", "--schema", &schema, question]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    assert!(cut.stderr.contains("Raise --max-tokens"), "{cut:?}");
    let bad = folder.file("bad.json", r#"{"enum": []}"#);
    run(&["--schema", &bad, question]).fails(2, "enum is empty");
    run(&["--schema", &folder.path("none.json"), question]).fails(8, "none.json");
}

#[test]
fn an_answer_of_boxes_is_in_pixels_and_can_be_drawn() {
    let folder = Folder::new();
    let drawn = folder.path("drawn.png");
    let question = "Where is the large orange ring?";
    let told = run(&["--json", "--boxes", "--draw", &drawn, question]);
    let told: Value = serde_json::from_str(&told.ok()).unwrap();
    let list: Vec<Value> = serde_json::from_str(told["answer"].as_str().unwrap()).unwrap();
    let left = list[0]["bbox_2d"][0].as_f64().unwrap() * 640.0 / 1000.0;
    assert_eq!(told["boxes"][0]["box"][0].as_f64(), Some(left), "{told}");
    assert!(std::fs::metadata(&drawn).unwrap().len() > 0);
    let schema = folder.file("schema.json", "{}");
    run(&["--boxes", "--schema", &schema, question]).fails(2, "--schema");
}

#[test]
fn a_family_that_writes_no_boxes_refuses_them() {
    let gemma = root().join("tests/goldens/gemma3");
    let (text, projector) = (gemma.join("text.gguf"), gemma.join("mmproj.gguf"));
    let (text, projector) = (text.to_str().unwrap(), projector.to_str().unwrap());
    let files = ["-m", text, "--mmproj", projector, "--boxes", "Where?"];
    run(&files).fails(2, "models of this family write no boxes");
}
