//! The README's examples of requests, run as they stand there.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::client::Server;

const README: &str = include_str!("../../../../README.md");

/// Stands in for curl, so that the test needs none: says what the shell hands over.
const CURL: &str = r#"
curl() {
    url=$1; shift
    while [ $# -gt 0 ]; do
        case $1 in
            -H) header=$2; shift 2 ;;
            -d) data=$2; shift 2 ;;
            *) echo "unknown $1" >&2; exit 9 ;;
        esac
    done
    if [ "$data" = @- ]; then data=$(cat); fi
    printf '%s\001%s\001%s\002' "$url" "$header" "$data"
}
"#;

/// The commands of the block that starts the server, without that start.
fn commands() -> String {
    let block = README
        .lines()
        .skip_while(|line| !line.starts_with("$ ocelli serve --port 8080"));
    let lines = block.skip(1).take_while(|line| !line.starts_with("```"));
    let commands: Vec<&str> = lines
        .map(|line| line.strip_prefix("$ ").unwrap_or(line))
        .collect();
    assert!(commands.len() > 4, "the README has examples of requests");
    commands.join("\n")
}

#[test]
fn the_requests_of_the_readme_are_answered() {
    let server = Server::start();
    let script = format!("set -e\n{CURL}\n{}", commands());
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let ran = Command::new("sh")
        .args(["-c", &script])
        .current_dir(repository)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let said = String::from_utf8(ran.stdout).unwrap();
    let mut answered = 0;
    for request in said
        .split('\u{2}')
        .filter(|request| !request.trim().is_empty())
    {
        let [url, header, body] = request.split('\u{1}').collect::<Vec<_>>()[..] else {
            panic!("{request}");
        };
        let path = url.trim().strip_prefix("http://127.0.0.1:8080").unwrap();
        let reply = server.request("POST", path, &format!("{header}\r\n"), body);
        let answer = reply.ok();
        let chat = &answer["choices"][0]["message"]["content"];
        let text = chat.as_str().or(answer["message"]["content"].as_str());
        assert!(text.is_some_and(|text| !text.is_empty()), "{answer}");
        answered += 1;
    }
    assert!(answered >= 2, "{said}");
}
