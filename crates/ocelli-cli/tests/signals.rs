//! Ctrl-C and termination: an exit code, never a death by signal.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use std::io::Read as _;
use std::process::Command;

use common::{Folder, command, finish};

/// Starts a long answer, waits for its first byte, sends a signal, and gives the exit code.
fn code_after(signal: &str) -> Option<i32> {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let mut child = command(&model.arguments("run", &["-n", "4000", "--isa", "scalar", "Hello"]))
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    // What was written is no whole text; only the code counts here.
    drop(child.stdout.take());
    finish(child).code
}

#[test]
fn the_first_ctrl_c_of_a_single_answer_ends_with_130() {
    assert_eq!(code_after("-INT"), Some(130));
}

#[test]
fn termination_ends_with_143() {
    assert_eq!(code_after("-TERM"), Some(143));
}
