//! `ocelli bench` on the tiny shape and on tiny files: what is printed, not how fast it is.

mod common;

use common::{Folder, ocelli};
use serde_json::Value;

fn json(arguments: &[&str]) -> Value {
    let mut all = vec!["bench", "--json", "-t", "2", "-r", "1"];
    if !arguments.contains(&"-n") {
        all.extend(["-n", "4"]);
    }
    all.extend_from_slice(arguments);
    serde_json::from_str(&ocelli(&all).ok()).unwrap_or_else(|error| panic!("{error}"))
}

/// Asserts a number above zero at each path.
#[track_caller]
fn positive(report: &Value, paths: &[&str]) {
    for path in paths {
        let value = report.pointer(path).and_then(Value::as_f64);
        assert!(value.is_some_and(|n| n > 0.0), "{path} in {report:#}");
    }
}

/// Asserts that each path is there and null.
#[track_caller]
fn null(report: &Value, paths: &[&str]) {
    for path in paths {
        assert_eq!(
            report.pointer(path),
            Some(&Value::Null),
            "{path} in {report:#}"
        );
    }
}

#[test]
fn the_json_has_the_machine_every_stage_and_shares_where_there_are_limits() {
    let report = json(&[
        "--shape", "tiny", "--image", "64x64", "-p", "8", "--isa", "scalar",
    ]);
    positive(
        &report,
        &[
            "/machine/read_gbps",
            "/machine/bf16_tflops",
            "/stages/load/seconds",
            "/stages/image_decode/seconds",
            "/stages/preprocess/seconds",
            "/stages/encode/seconds",
            "/stages/encode/share_of_limit",
            "/stages/prefill/seconds",
            "/stages/prefill/share_of_limit",
            "/stages/prefill/tokens_per_second",
            "/stages/decode/seconds",
            "/stages/decode/share_of_limit",
            "/stages/decode/tokens_per_second",
            "/time_to_first_token_s",
            "/runs/0/stages/encode/tera_operations",
        ],
    );
    null(
        &report,
        &[
            // The scalar set has no products of bytes.
            "/machine/int8_tops",
            "/stages/load/share_of_limit",
            "/stages/image_decode/share_of_limit",
            "/stages/preprocess/share_of_limit",
        ],
    );
    assert_eq!(report["machine"]["isa"], "scalar");
    assert_eq!(report["machine"]["threads"], 2);
    assert_eq!(report["stages"], report["runs"][0]["stages"]);
    let run = &report["runs"][0];
    // The family enlarges small pictures to 64 tokens.
    assert_eq!(run["resized"], "256x256");
    assert_eq!(
        (run["patches"].as_u64(), run["image_tokens"].as_u64()),
        (Some(256), Some(64))
    );
    assert_eq!(
        (run["prompt_tokens"].as_u64(), run["new_tokens"].as_u64()),
        (Some(72), Some(4))
    );
    #[cfg(target_os = "linux")]
    positive(&report, &["/peak_memory_mb"]);
}

#[test]
fn operations_say_where_the_time_of_each_stage_went() {
    let report = json(&[
        "--shape",
        "tiny",
        "--image",
        "64x64",
        "-p",
        "8",
        "--operations",
    ]);
    let run = &report["runs"][0];
    for stage in ["encode", "prefill", "decode"] {
        let lines = run["operations"][stage].as_array().unwrap();
        let sum = |name: &str| -> f64 { lines.iter().filter_map(|line| line[name].as_f64()).sum() };
        let seconds = run["stages"][stage]["seconds"].as_f64().unwrap();
        // There is one repeat, so its mean is the median.
        assert!((sum("seconds") - seconds).abs() < 1e-6 * seconds, "{stage}");
        assert!((sum("share_of_stage") - 1.0).abs() < 1e-6, "{stage}");
        let named = |name: &str| {
            let is = |line: &&Value| line["operation"].as_str().unwrap().starts_with(name);
            lines.iter().filter(is).count()
        };
        assert_eq!(named("between operations"), 1, "{stage}: {lines:#?}");
        assert!(named("product ") > 0 && named("norm") == 1, "{stage}");
    }
    // Every product and attention of the prompt is counted, as the stage counts them.
    let prefill = run["operations"]["prefill"].as_array().unwrap();
    let counted: f64 = prefill
        .iter()
        .filter_map(|line| line["tera_operations"].as_f64())
        .sum();
    let expected = run["stages"]["prefill"]["tera_operations"].as_f64();
    assert!(
        (counted / expected.unwrap() - 1.0).abs() < 1e-9,
        "{counted}, {expected:?}"
    );
    null(
        &json(&["--shape", "tiny", "-p", "3"]),
        &["/runs/0/operations"],
    );
}

#[test]
fn every_combination_is_a_case_and_without_a_picture_its_stages_are_null() {
    let report = json(&[
        "--shape", "tiny", "--type", "q8_0", "-p", "5", "-p", "9", "--batch", "1", "--batch", "3",
    ]);
    let cases: Vec<_> = report["runs"].as_array().unwrap().iter().collect();
    let numbers = |name: &str| -> Vec<u64> {
        cases
            .iter()
            .map(|case| case[name].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers("prompt_tokens"), [5, 5, 9, 9]);
    assert_eq!(numbers("batch"), [1, 3, 1, 3]);
    assert_eq!(numbers("new_tokens"), [4, 4, 4, 4]);
    for case in cases {
        positive(
            case,
            &[
                "/stages/prefill/seconds",
                "/stages/decode/tokens_per_second",
            ],
        );
        null(
            case,
            &[
                "/image",
                "/stages/encode/seconds",
                "/stages/encode/share_of_limit",
            ],
        );
    }
}

#[test]
fn one_generated_token_leaves_decoding_without_a_rate() {
    let report = json(&["--shape", "tiny", "-p", "3", "-n", "1"]);
    null(
        &report,
        &["/stages/decode/seconds", "/stages/decode/tokens_per_second"],
    );
    positive(&report, &["/stages/prefill/seconds"]);
}

#[test]
fn a_shape_can_be_written_and_its_files_be_measured_and_run() {
    let folder = Folder::new();
    let target = folder.path("shapes");
    let paths = ocelli(&[
        "bench", "--shape", "tiny", "--type", "bf16", "--write", &target,
    ])
    .ok();
    let paths: Vec<&str> = paths.lines().collect();
    assert!(paths[0].ends_with("tiny-BF16.gguf") && paths[1].ends_with("mmproj-tiny-F16.gguf"));
    let report = json(&["-m", paths[0], "--mmproj", paths[1], "--image", "32x64"]);
    assert_eq!(report["model"]["is_synthetic"], false);
    positive(&report, &["/stages/load/seconds", "/stages/encode/seconds"]);
    ocelli(&["run", "-m", paths[0], "-n", "2", "x"]).ok();
}

#[test]
fn shapes_of_other_families_encode_read_and_generate() {
    // Tokens of a picture of 64 x 64: cells of one square, rows with breaks, patches of one square, of
    // the whole and of two by two tiles with an end for each line.
    for (shape, tokens) in [
        ("tiny-gemma-3", 4),
        ("tiny-mistral-3", 12),
        ("tiny-llava-1.5", 16),
        ("tiny-llava-1.6", 16 + 8 * 9),
    ] {
        let report = json(&[
            "--shape", shape, "--image", "64x64", "-p", "3", "-n", "2", "--isa", "scalar",
        ]);
        assert_eq!(report["runs"][0]["image_tokens"], tokens, "{shape}");
        let stages =
            ["encode", "prefill", "decode"].map(|stage| format!("/stages/{stage}/seconds"));
        positive(&report, &stages.each_ref().map(String::as_str));
    }
}

#[test]
fn a_written_shape_of_another_family_runs() {
    let folder = Folder::new();
    let target = folder.path("shapes");
    for shape in [
        "tiny-gemma-3",
        "tiny-mistral-3",
        "tiny-llava-1.5",
        "tiny-llava-1.6",
    ] {
        let paths = ocelli(&["bench", "--shape", shape, "--write", &target]).ok();
        let paths: Vec<&str> = paths.lines().collect();
        let image = common::picture("photo.png");
        let files = ["run", "-m", paths[0], "--mmproj", paths[1]];
        ocelli(&[&files[..], &["--image", &image, "-n", "2", "x"]].concat()).ok();
    }
}

#[test]
fn the_list_of_shapes_has_every_family() {
    let ran = ocelli(&["bench", "--shape", "none"]);
    for name in [
        "qwen3-vl-2b",
        "gemma-3-4b",
        "gemma-3-12b",
        "mistral-small-3.1-24b",
        "ministral-3-3b",
        "pixtral-12b",
        "llava-1.5-7b",
        "llava-1.6-mistral-7b",
    ] {
        assert!(ran.stderr.contains(name), "{name}: {ran:?}");
    }
    let help = ocelli(&["bench", "--help"]).ok();
    assert!(help.contains("gemma-3-4b") && help.contains("llava-1.5-7b"));
}

#[test]
fn tables_name_every_stage_and_progress_goes_to_standard_error() {
    for (flag, mark) in [("--md", "| encode |"), ("-t1", "\n  encode ")] {
        let ran = ocelli(&[
            "bench",
            "--shape",
            "tiny",
            "--image",
            "40x40",
            "-r",
            "1",
            "-n",
            "2",
            "--operations",
            flag,
        ]);
        assert!(ran.stderr.contains("measuring the machine") && ran.stderr.contains("case 1 of 1"));
        let out = ran.ok();
        for part in [
            mark,
            "read ",
            "image decode",
            "prefill",
            "decode",
            "%",
            "tiny-Q4_K_M",
            "share of stage",
            "attention to the cache",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
    }
}

#[test]
fn wrong_flags_are_named_and_end_with_2() {
    for (arguments, message) in [
        (&["--shape", "gpt"][..], "need one of qwen3-vl-2b"),
        (&["--image", "1024"], "need WxH"),
        (&["--image", "0x9"], "need WxH"),
        (&["-p", "0"], "--prompt-tokens"),
        (&["-n", "0"], "--new-tokens"),
        (&["-r", "0"], "--repeats"),
        (&["--batch", "0"], "--batch"),
        (&["--batch", "1025"], "--batch"),
        (&["--type", "q9"], "unknown type"),
        (&["--isa", "mmx"], "need one of amx"),
        (&["--json", "--md"], "--md"),
        (&["--mmproj", "p.gguf"], "--model"),
        (&["-m", "m.gguf", "--shape", "tiny"], "--shape"),
        (&["--shape", "tiny", "--image", "1x400"], "aspect"),
    ] {
        let mut all = vec!["bench", "-r", "1"];
        all.extend_from_slice(arguments);
        let ran = ocelli(&all);
        assert!(matches!(ran.code, Some(2 | 6)), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(
            ran.stderr.contains(message),
            "{message:?} is not in {ran:?}"
        );
    }
}

#[test]
fn a_model_that_is_not_there_ends_with_8() {
    ocelli(&["bench", "-m", "/nowhere/model.gguf"]).fails(8, "/nowhere/model.gguf");
}
