//! Files that the command writes: they run, and nothing is left behind when writing fails.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, ocelli, picture};
use serde_json::Value;

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

#[test]
fn force_replaces_files_and_nothing_else() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let taken = folder.path("taken.gguf");
    std::fs::create_dir(&taken).unwrap();
    ocelli(&["quantize", &model.text, &taken, "q8_0", "--force"]).fails(8, "taken.gguf");
    // What is read may be what is replaced: it takes the name when it is complete.
    let before = std::fs::metadata(&model.text).unwrap().len();
    ocelli(&["quantize", &model.text, &model.text, "q8_0", "--force"]).ok();
    assert!(std::fs::metadata(&model.text).unwrap().len() < before);
    model.run(&["-n", "1", "Hi"]).ok();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Least cosine of any stage of the report.
fn least_cosine(report: &Value) -> f64 {
    let stages = report["quality"]["stages"].as_array().unwrap();
    assert!(
        stages.iter().any(|s| s["name"] == "vision.layer.0"),
        "{report}"
    );
    assert!(
        stages.iter().any(|s| s["name"] == "vision.output"),
        "{report}"
    );
    for stage in stages {
        let (all, worst) = (stage["cosine"].as_f64(), stage["worst_row"].as_f64());
        assert!(worst <= all && all.unwrap() <= 1.0 + 1e-9, "{stage}");
    }
    let cosines = stages.iter().map(|stage| stage["cosine"].as_f64().unwrap());
    cosines.fold(1.0, f64::min)
}

#[test]
fn a_quantised_projector_comes_with_a_report_of_every_layer_and_of_answers() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let quantize = |ty: &str| {
        let out = folder.path(&format!("mmproj-{ty}.gguf"));
        json(&ocelli(&["quantize", &model.mmproj, &out, ty, "--json"]).ok())
    };
    let (fine, coarse) = (quantize("q8_0"), quantize("q4_0"));
    assert!(
        least_cosine(&fine) > least_cosine(&coarse),
        "{fine} {coarse}"
    );
    assert!(least_cosine(&fine) > 0.99, "{fine}");
    // The text model lies beside the projector.
    assert_eq!(fine["quality"]["answers"]["of"], 3, "{fine}");
    let out = folder.path("again.gguf");
    let ran = ocelli(&[
        "quantize",
        &model.mmproj,
        &out,
        "f16",
        "--text",
        &model.text,
    ]);
    assert!(ran.stderr.contains("vision.layer.0"), "{ran:?}");
    assert!(
        ran.stderr.contains("3 of 3 answers are the same"),
        "{ran:?}"
    );
    assert_eq!(ran.ok(), format!("{out}\n"));
}

#[test]
fn no_report_is_made_where_none_is_wanted_or_nothing_was_quantised_that_sees() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let out = folder.path("out.gguf");
    for arguments in [
        [&model.mmproj, "q8_0", "--no-report"],
        [&model.text, "q8_0", "--quiet"],
    ] {
        let [input, ty, flag] = arguments;
        let ran = ocelli(&["quantize", input, &out, ty, flag, "--json", "--force"]);
        assert!(json(&ran.ok())["quality"].is_null());
    }
}

#[test]
fn what_is_assumed_about_a_file_is_told_by_inspect_and_by_a_verbose_run() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        let factors = "rope_freqs.weight";
        pair.text.add_tensor(1, factors, &[16], (1.0, 0.0));
    });
    let note = "tensor 'rope_freqs.weight' is not needed and was left out";
    let table = ocelli(&["inspect", &model.text]).ok();
    assert!(table.contains(note), "{table}");
    let report = json(&ocelli(&["inspect", "--json", &model.text]).ok());
    assert_eq!(report["files"][0]["assumed"][0], note);
    let ran = model.run(&["-n", "1", "--verbose", "Hi"]);
    assert!(ran.stderr.contains(note), "{ran:?}");
    assert!(!model.run(&["-n", "1", "Hi"]).stderr.contains(note));
}

#[test]
fn a_folder_for_parts_is_made_and_goes_again_when_nothing_came_of_it() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let out = folder.path("new/parts");
    ocelli(&["split", &model.text, "--out", &out]).fails(4, "text.gguf");
    assert!(!std::path::Path::new(&out).exists());
    let merged = folder.path("merged.gguf");
    ocelli(&["merge", &model.text, &model.mmproj, &merged]).ok();
    ocelli(&["split", &merged, "--out", &out]).ok();
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
}
