//! `trace`, `verify` and `inspect`, on the goldens of the reference.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, ocelli, picture};
use serde_json::Value;

/// A golden case as flags: model, budget, and pictures and prompt unless it is a conversation.
fn golden(case: &str) -> (Vec<String>, String) {
    let suite = ocelli_testkit::goldens().join("qwen3vl");
    let cases: Value =
        serde_json::from_slice(&std::fs::read(suite.join("cases.json")).unwrap()).unwrap();
    let all = cases["cases"].as_array().unwrap();
    let case = all.iter().find(|one| one["name"] == case).unwrap();
    let path = |name: &Value| {
        suite
            .join(name.as_str().unwrap())
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut flags = vec![
        "-m".to_owned(),
        path(&cases["text"]),
        "--mmproj".to_owned(),
        path(&cases["mmproj"]),
    ];
    for (flag, key) in [
        ("--image-min-tokens", "image_min_tokens"),
        ("--image-max-tokens", "image_max_tokens"),
    ] {
        if let Some(tokens) = case[key].as_u64() {
            flags.extend([flag.to_owned(), tokens.to_string()]);
        }
    }
    if let Some(prompt) = case["prompt"].as_str() {
        for image in case["images"].as_array().unwrap() {
            flags.extend(["--image".to_owned(), path(image)]);
        }
        flags.extend(["--prompt".to_owned(), prompt.to_owned()]);
    }
    (flags, path(&case["tensors"]))
}

fn with<'a>(command: &'a str, flags: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![command];
    all.extend(flags.iter().map(String::as_str));
    all.extend(more);
    all
}

#[test]
fn every_golden_with_a_prompt_verifies() {
    for case in [
        "text_only",
        "one_image",
        "two_images_of_equal_size",
        "three_images_of_different_sizes",
    ] {
        let (flags, reference) = golden(case);
        let table = ocelli(&with("verify", &flags, &["--reference", &reference])).ok();
        assert!(
            table.contains("stages agree within 1e-4") && !table.contains("FAIL"),
            "{case}\n{table}"
        );
    }
}

#[test]
fn goldens_of_whole_conversations_verify_from_message_lists() {
    let suite = ocelli_testkit::Suite::load("qwen3vl");
    let folder = Folder::new();
    for case in [
        "text_turns",
        "image_between_texts",
        "second_turn_with_second_image",
    ] {
        let messages = suite.case(case).messages().to_string();
        let list = folder.file("messages.json", messages);
        let (flags, reference) = golden(case);
        let more = ["--messages", &list, "--reference", &reference];
        let table = ocelli(&with("verify", &flags, &more)).ok();
        assert!(
            table.contains("stages agree within 1e-4"),
            "{case}\n{table}"
        );
    }
}

#[test]
fn another_prompt_fails_at_the_first_stage_that_differs() {
    let (mut flags, reference) = golden("one_image");
    *flags.last_mut().unwrap() = "Describe the image!".to_owned();
    let ran = ocelli(&with("verify", &flags, &["--reference", &reference]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.starts_with("error: verify: prompt.tokens: "),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("the first is prompt.tokens"), "{ran:?}");
    let json = ocelli(&with(
        "verify",
        &flags,
        &["--json", "--reference", &reference],
    ));
    assert_eq!(json.code, Some(1), "{json:?}");
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (report["passed"].as_bool(), report["first_failed"].as_str()),
        (Some(false), Some("prompt.tokens"))
    );
}

#[test]
fn a_tolerance_below_rounding_fails_and_says_so() {
    let (flags, reference) = golden("text_only");
    let ran = ocelli(&with(
        "verify",
        &flags,
        &["--tolerance", "1e-12", "--reference", &reference],
    ));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("FAIL"), "{ran:?}");
}

#[test]
fn a_trace_verifies_against_itself_and_names_its_stages() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (out, wide) = (folder.path("t.safetensors"), picture("wide.png"));
    let asked = ["--image", &wide, "--prompt", "What?", "--precision", "f32"];
    let traced = ocelli(&model.arguments(
        "trace",
        &[&asked[..], &["--decode", "3", "--out", &out]].concat(),
    ));
    assert_eq!(traced.ok(), "");
    let file = String::from_utf8_lossy(&std::fs::read(&out).unwrap()).into_owned();
    for stage in [
        "image.0.pixels",
        "image.0.grid",
        "vision.0.patch_embed",
        "vision.0.layer.2",
        "vision.0.output",
        "vision.0.deepstack.1",
        "prompt.tokens",
        "prompt.positions",
        "text.layer.2",
        "\"logits\"",
        "decode.0.logits",
        "decode.2.logits",
        "decode.tokens",
    ] {
        assert!(file.contains(stage), "{stage}");
    }
    let printed = ocelli(&model.arguments(
        "verify",
        &[&asked[..], &["--json", "--reference", &out]].concat(),
    ))
    .ok();
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["passed"], true);
    assert!(
        report["stages"]
            .as_array()
            .unwrap()
            .iter()
            .all(|stage| stage["error"] == 0.0),
        "{report}"
    );
    let fewer = ocelli(&model.arguments(
        "verify",
        &[&asked[..], &["--decode", "1", "--reference", &out]].concat(),
    ));
    assert_eq!(fewer.code, Some(1), "{fewer:?}");
    assert!(fewer.stdout.contains("missing in this run"), "{fewer:?}");
}

#[test]
fn a_trace_of_numbers_that_are_none_is_written_and_ends_with_70() {
    let folder = Folder::new();
    let model = folder.model(|pair| pair.text.tensor("blk.1.ffn_down.weight").values[0] = f32::NAN);
    let out = folder.path("spoilt.safetensors");
    let traced = ocelli(&model.arguments("trace", &["-p", "x", "--out", &out]));
    assert_eq!(traced.code, Some(70), "{traced:?}");
    let expected = "error: numerical_error: non-finite values at text.layer.1.";
    assert!(traced.stderr.contains(expected), "{traced:?}");
    assert!(traced.stderr.contains("stages written"), "{traced:?}");
    assert!(std::fs::metadata(&out).is_ok_and(|file| file.len() > 1000));
}

#[test]
fn bad_targets_and_references_are_found_before_the_work() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let nowhere = folder.path("no/such/t.safetensors");
    ocelli(&model.arguments("trace", &["-p", "x", "--out", &nowhere])).fails(8, "no such folder");
    ocelli(&model.arguments("trace", &["-p", "x", "--out", &folder.path("")]))
        .fails(8, "found a folder");
    let verify = |reference: &str| {
        ocelli(&model.arguments("verify", &["-p", "x", "--reference", reference]))
    };
    verify(&folder.path("none.safetensors")).fails(8, "none.safetensors");
    verify(&folder.file("bad.safetensors", b"not a trace")).fails(2, "bad.safetensors");
}

#[test]
fn sampling_flags_are_taken_by_every_command_and_left_aside_aloud() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let out = folder.path("t.safetensors");
    let flags = [
        "-p",
        "x",
        "--out",
        &out,
        "--temp",
        "1",
        "--seed",
        "3",
        "-n",
        "5",
        "--system",
        "Be brief.",
    ];
    let ran = ocelli(&model.arguments("trace", &flags));
    assert!(ran.stderr.contains("--temp, --seed ignored"), "{ran:?}");
    ran.ok();
}

#[test]
fn inspect_tells_what_files_are_and_why_they_pair() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let table = ocelli(&["inspect", &model.text]).ok();
    for said in [
        "a text model",
        "qwen3vl",
        "F32:",
        "SHA-256",
        "320 tokens",
        "mmproj.gguf",
        "outputs 32 as the model expects",
        "runs         yes",
    ] {
        assert!(table.contains(said), "{said} is not in\n{table}");
    }
    let printed = ocelli(&[
        "inspect",
        "--json",
        "--ctx",
        "128",
        &model.text,
        &model.mmproj,
    ])
    .ok();
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["files"].as_array().unwrap().len(), 2);
    assert_eq!(report["files"][1]["projector_type"], "qwen3vl_merger");
    assert_eq!(report["pairs"][0]["fits"], true);
    let memory = &report["pairs"][0]["memory"];
    // 3 layers of 2 heads of 16, keys and values, 2 bytes each.
    assert_eq!(
        (memory["context"].as_u64(), memory["cache"].as_u64()),
        (Some(128), Some(128 * 3 * 2 * 16 * 2 * 2))
    );
    let only_projector = ocelli(&["inspect", &model.mmproj]).ok();
    assert!(
        only_projector.contains("a vision projector") && only_projector.contains("text.gguf"),
        "{only_projector}"
    );
}

#[test]
fn inspect_tells_why_files_do_not_pair_or_run() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        pair.text.remove_tensor("output_norm.weight");
    });
    let table = ocelli(&["inspect", &folder.path("")]).ok();
    assert!(
        table.contains("no: ") && table.contains("missing tensor 'output_norm.weight'"),
        "{table}"
    );
    let sizes = ocelli_testkit::tiny::Sizes {
        hidden: 64,
        ..Default::default()
    };
    let other = folder.path("other.gguf");
    ocelli_testkit::tiny::qwen3vl_with(1, &sizes)
        .mmproj
        .write_to(other.as_ref());
    let table = ocelli(&["inspect", &model.text, &other]).ok();
    assert!(
        table.contains("mmproj outputs 64, model expects 32"),
        "{table}"
    );
    folder.file("page.gguf", b"<html></html>");
    let table = ocelli(&["inspect", &folder.path("")]).ok();
    assert!(
        table.contains("cannot be opened") && table.contains("web page"),
        "{table}"
    );
}
