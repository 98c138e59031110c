//! `ocelli serve`: the line that says where, the README's examples, and the end.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command};

use common::{command, finish, ocelli};

/// Starts a server on any free port and gives its address.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = command(&[&["serve", "--port", "0", "--threads", "2"], arguments].concat())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line
        .strip_prefix("listening on http://")
        .unwrap_or_else(|| panic!("{line:?}"));
    let address = address.trim_end().to_owned();
    child.stderr = Some(lines.into_inner());
    (child, address)
}

fn send(signal: &str, child: &Child) {
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[test]
fn the_examples_of_the_readme_are_answered() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no curl on this machine, the README's examples were NOT run");
        return;
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let (_, section) = readme.split_once("## A server").unwrap();
    let block = section.split("```").nth(1).unwrap();
    let lines = block
        .lines()
        .skip(1)
        .map(|line| line.strip_prefix("$ ").unwrap_or(line));
    let script: Vec<&str> = lines
        .filter(|line| !line.starts_with("ocelli serve"))
        .collect();
    let (child, address) = start(&[]);
    let script = script
        .join("\n")
        .replace("127.0.0.1:8080", &address)
        .replace("curl ", "curl -sS ");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(root)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("\"chat.completion\""), "{said}");
    assert!(
        said.contains("\"done\":true") && said.contains("\"resized_width\""),
        "{said}"
    );
    assert!(!said.contains("\"error\""), "{said}");
    send("-TERM", &child);
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn a_server_ends_with_0_when_it_is_asked_to() {
    for signal in ["-TERM", "-INT"] {
        let (child, _) = start(&[]);
        send(signal, &child);
        assert_eq!(finish(child).code, Some(0), "{signal}");
    }
}

#[test]
fn what_a_server_cannot_be_is_said_in_a_line() {
    ocelli(&["serve", "--port", "0", "--host", "0.0.0.0"]).fails(2, "found no API key");
    ocelli(&["serve", "--port", "0", "-m", "nosuch.gguf"]).fails(8, "nosuch.gguf");
    ocelli(&["serve", "--port", "0", "-m", "="]).fails(2, "need [NAME=]TEXT[,PROJECTOR]");
    ocelli(&["serve", "--keep-alive", "soon"]).fails(2, "need a time");
    let (child, address) = start(&[]);
    let port = address.rsplit(':').next().unwrap();
    ocelli(&["serve", "--port", port]).fails(7, "cannot listen on");
    send("-TERM", &child);
    let mut rest = String::new();
    let mut child = child;
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "", "nothing else is said");
    assert!(child.wait().unwrap().success());
}

#[test]
fn keys_come_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "# for the tests\nfirst\n\nsecond\n").unwrap();
    let path = path.to_str().unwrap();
    let (child, address) = start(&["--api-key-file", path, "--host", "127.0.0.1"]);
    let ask = |key: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let request = format!(
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(ask("second").starts_with("HTTP/1.1 200 "));
    assert!(ask("third").starts_with("HTTP/1.1 401 "));
    send("-TERM", &child);
    assert_eq!(finish(child).code, Some(0));
}
