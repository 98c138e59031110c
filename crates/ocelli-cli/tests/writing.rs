//! Files that the command writes: they run, and nothing is left behind when writing fails.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, ocelli, picture};

const ASK: [&str; 5] = ["-n", "4", "--image-max-tokens", "64", "What?"];

#[test]
fn a_merged_file_and_what_it_is_split_into_answer_as_the_pair_does() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let wide = picture("wide.png");
    let image = ["--image", wide.as_str()];
    let expected = model.run(&[&image[..], &ASK[..]].concat()).ok();
    let merged = folder.path("merged.gguf");
    ocelli(&["merge", &model.text, &model.mmproj, &merged]).ok();
    let run = |files: &[&str]| ocelli(&[&["run"], files, &image[..], &ASK[..]].concat()).ok();
    assert_eq!(run(&["-m", &merged]), expected);
    let parts = folder.path("parts");
    std::fs::create_dir(&parts).unwrap();
    let written = ocelli(&["split", &merged, "--out", &parts]).ok();
    let files: Vec<&str> = written.lines().collect();
    assert_eq!(files.len(), 2, "{written}");
    assert_eq!(run(&["-m", files[0]]), expected);
}

#[test]
fn a_quantised_model_runs_and_says_its_type() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let small = folder.path("small-q8_0.gguf");
    ocelli(&["quantize", &model.text, &small, "q8_0"]).ok();
    assert!(
        std::fs::metadata(&small).unwrap().len() < std::fs::metadata(&model.text).unwrap().len()
    );
    assert!(ocelli(&["inspect", &small]).ok().contains("Q8_0"));
    ocelli(&[
        "run",
        "-m",
        &small,
        "--mmproj",
        &model.mmproj,
        "-n",
        "2",
        "Hi",
    ])
    .ok();
}

#[test]
fn bad_inputs_and_existing_files_end_with_their_code_and_leave_nothing() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let out = folder.path("out.gguf");
    let missing = folder.path("missing.gguf");
    ocelli(&["quantize", &missing, &out, "q8_0"]).fails(8, "missing.gguf");
    let bad = folder.file("bad.gguf", b"GGUF\x03\0\0\0");
    ocelli(&["quantize", &bad, &out, "q8_0"]).fails(3, "bad.gguf");
    ocelli(&["quantize", &model.text, &out, "q99"]).fails(2, "q99");
    ocelli(&["merge", &model.mmproj, &model.text, &out]).fails(4, "mmproj.gguf");
    assert!(!std::path::Path::new(&out).exists());
    let kept = folder.file("kept.gguf", b"mine");
    ocelli(&["quantize", &model.text, &kept, "q8_0"]).fails(8, "kept.gguf");
    assert_eq!(std::fs::read(&kept).unwrap(), b"mine");
    ocelli(&[
        "convert",
        &folder.path("nowhere"),
        "--out",
        &folder.path("."),
    ])
    .fails(8, "nowhere");
}
