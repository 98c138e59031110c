//! The command line: flags, values, help. Wrong use ends with 2 and one line.

mod common;

use common::{command, finish, ocelli};

/// Arguments, and what the complaint must name.
const WRONG: &[(&[&str], &str)] = &[
    (&[], "no command"),
    (&["draw"], "draw"),
    (&["run", "--tmep", "1", "x"], "--temp"),
    (&["run", "a", "b"], "'b'"),
    (
        &["run", "--temp", "hot", "x"],
        "need a number from 0 to 100",
    ),
    (&["run", "--temp", "-1", "x"], "need a number from 0 to 100"),
    (&["run", "--temp", "1e308", "x"], "--temp"),
    (&["run", "--top-p", "2", "x"], "--top-p"),
    (&["run", "--top-p", "-1", "x"], "--top-p"),
    (&["run", "--top-k", "-2147483648", "x"], "--top-k"),
    (&["run", "--min-p", "5", "x"], "--min-p"),
    (&["run", "--repeat-penalty", "0", "x"], "--repeat-penalty"),
    (
        &["run", "--presence-penalty", "3", "x"],
        "--presence-penalty",
    ),
    (
        &["run", "--frequency-penalty", "-3", "x"],
        "--frequency-penalty",
    ),
    (&["run", "--seed", "18446744073709551616", "x"], "--seed"),
    (&["run", "-n", "0", "x"], "--max-tokens"),
    (&["run", "-n", "1.5", "x"], "--max-tokens"),
    (&["run", "-n", "-5", "x"], "-5"),
    (&["run", "-c", "0", "x"], "--ctx"),
    (&["run", "-t", "0", "x"], "--threads"),
    (&["run", "--stop", "", "x"], "--stop"),
    (
        &["run", "--image-min-tokens", "0", "x"],
        "--image-min-tokens",
    ),
    (
        &["run", "--image-max-tokens", "65537", "x"],
        "--image-max-tokens",
    ),
    (
        &[
            "run",
            "--image-min-tokens",
            "9",
            "--image-max-tokens",
            "3",
            "x",
        ],
        "found 9, need at most the 3",
    ),
    (&["run", "--precision", "f16", "x"], "auto, f32"),
    (&["run", "--isa", "mmx", "x"], "need one of amx"),
    (&["run", "--mmproj", "p.gguf", "x"], "without a text model"),
    (&["run", "--messages", "m.json", "x"], "--messages"),
    (
        &["run", "--messages", "m.json", "--image", "i.png"],
        "--messages",
    ),
    (
        &["run", "--image", "-", "--image", "-", "x"],
        "one '-' at most",
    ),
    (&["inspect"], "FILE"),
    (&["trace", "-p", "x"], "--out"),
    (&["trace", "--out", "t.safetensors"], "--prompt"),
    (&["trace", "-p", "x", "--out", "t", "--decode", "-1"], "-1"),
    (&["verify", "-p", "x"], "--reference"),
    (
        &["verify", "-p", "x", "--reference", "r", "--tolerance", "0"],
        "--tolerance",
    ),
    (&["completions", "cobol"], "cobol"),
];

#[test]
fn wrong_use_is_one_line_that_names_the_flag_and_ends_with_2() {
    for (arguments, message) in WRONG {
        ocelli(arguments).fails(2, message);
    }
}

#[test]
fn seventeen_stop_strings_are_one_too_many() {
    let mut arguments = vec!["run", "x"];
    arguments.extend(["--stop", "a"].repeat(17));
    ocelli(&arguments).fails(2, "found 17 strings, need at most 16");
}

#[test]
fn nothing_asked_is_an_error_and_not_an_answer() {
    ocelli(&["run"]).fails(2, "no prompt");
    ocelli(&["run", "  "]).fails(2, "no prompt");
}

#[test]
fn an_instruction_set_from_the_environment_is_checked_too() {
    let child = command(&["run", "x"])
        .env("OCELLI_ISA", "mmx")
        .spawn()
        .unwrap();
    finish(child).fails(2, "found `mmx`");
}

#[test]
fn a_model_from_the_environment_is_used() {
    let child = command(&["run", "x"])
        .env("OCELLI_MODEL", "/nowhere/model.gguf")
        .spawn()
        .unwrap();
    finish(child).fails(8, "/nowhere/model.gguf");
}

#[test]
fn help_names_every_flag_and_gives_examples() {
    let help = ocelli(&["run", "--help"]).ok();
    for flag in [
        "--model",
        "--mmproj",
        "--ctx",
        "--threads",
        "--max-tokens",
        "--system",
        "--temp",
        "--top-k",
        "--top-p",
        "--min-p",
        "--repeat-penalty",
        "--presence-penalty",
        "--frequency-penalty",
        "--seed",
        "--stop",
        "--image-min-tokens",
        "--image-max-tokens",
        "--precision",
        "--isa",
        "--json",
        "--verbose",
        "Examples:",
    ] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
    }
    for (command, what) in [
        ("inspect", "Say what model files are"),
        ("plan", "what a model would see"),
        ("convert", "Write a Hugging Face model"),
    ] {
        let help = ocelli(&[command, "--help"]).ok();
        let first = help.lines().next();
        assert!(first.is_some_and(|line| line.contains(what)), "{help}");
    }
    for command in ["inspect", "plan", "trace", "verify", "bench", "completions"] {
        assert!(
            ocelli(&[command, "--help"]).ok().contains("Example"),
            "{command}"
        );
    }
    assert!(ocelli(&["--version"]).ok().starts_with("ocelli "));
}

#[test]
fn completions_know_the_commands_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = ocelli(&["completions", shell]).ok();
        assert!(
            script.contains("inspect") && script.contains("mmproj"),
            "{shell}"
        );
    }
}
