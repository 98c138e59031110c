//! The command line: flags, values, help. Wrong use ends with 2 and one line.
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, command, finish, ocelli, picture};

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
    (
        &["batch", "x.png", "-o", "out.jsonl", "-p", " "],
        "found nothing, need a question",
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
        for word in ["inspect", "mmproj"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // The scripts of the other two complete no values of flags.
        if !["powershell", "elvish"].contains(&shell) {
            for value in ["avx512vnni", "qwen3-vl-30b-a3b", "q3_k_l"] {
                assert!(script.contains(value), "{shell}: {value}");
            }
        }
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let mut command = command(&["run", "-n", "3", "What is this?"]);
    command.env("OCELLI_MODEL", "").env("OCELLI_ISA", "");
    finish(command.spawn().unwrap()).ok();
}

#[test]
fn where_a_drawing_goes_is_looked_at_before_the_model_runs() {
    let folder = Folder::new();
    let nowhere = folder.path("none/drawn.png");
    for (target, found) in [
        (&nowhere, "found no such folder"),
        (&folder.path(""), "found a folder"),
    ] {
        let arguments = [
            "run",
            "--image",
            &picture("wide.png"),
            "--draw",
            target,
            "Where?",
        ];
        ocelli(&arguments).fails(8, found);
    }
}

#[test]
fn what_is_wrong_with_a_message_list_is_said_with_its_file() {
    let folder = Folder::new();
    for (text, problem) in [
        ("my notes", "found no JSON, need a list of messages"),
        ("", "found no JSON, need a list of messages"),
        ("[]", "the list is empty"),
        ("[{\"role\": \"user\"}]", "messages[0]"),
    ] {
        let list = folder.file("list.json", text);
        let ran = ocelli(&["run", "--messages", &list]);
        assert!(
            ran.stderr.contains(&format!("--messages {list}: ")),
            "{ran:?}"
        );
        ran.fails(2, problem);
    }
}

#[test]
fn what_is_not_there_is_said_in_the_words_of_a_user() {
    let folder = Folder::new();
    let out = folder.path("out.jsonl");
    let nowhere = folder.path("nowhere");
    ocelli(&["batch", "-p", "x", "-o", &out, &nowhere])
        .fails(8, "found no file or folder of this name");
    ocelli(&["inspect", "nowhere"]).fails(8, "found no file or folder of this name");
}

#[test]
#[cfg(target_os = "linux")]
fn help_that_cannot_be_written_is_an_error_and_one_that_nobody_reads_is_not() {
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut to_full = command(&["--help"]);
    to_full.stdout(full);
    finish(to_full.spawn().unwrap()).fails(8, "cannot write standard output");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut to_nobody = command(&["run", "--help"]);
    to_nobody.stdout(writer);
    finish(to_nobody.spawn().unwrap()).ok();
}

#[test]
#[cfg(unix)]
fn bash_completes_commands_flags_and_their_values() {
    let script = format!(
        "source <({} completions bash) && \
         ask() {{ COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \
                  _ocelli ocelli \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"; }}; \
         ask ocelli ba; ask ocelli run --draw; ask ocelli run --precision ''; ask ocelli completions z; \
         ask ocelli serve --isa avx5; ask ocelli bench --shape qwen2.; ask ocelli convert --type q4_",
        env!("CARGO_BIN_EXE_ocelli")
    );
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-euc", &script]);
    let ran = bash.output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "batch",
            "--draw",
            "auto f32 bf16 int8",
            "zsh",
            "avx512vnni avx512",
            "qwen2.5-vl-3b qwen2.5-vl-7b",
            "q4_1 q4_k_m q4_k_s q4_0",
        ],
        "{:?}",
        ran.stderr
    );
}
