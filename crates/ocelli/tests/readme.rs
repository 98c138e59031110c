//! The README's example is the one that the library's documentation tests.

const README: &str = include_str!("../../../README.md");
const LIBRARY: &str = include_str!("../src/lib.rs");

/// Lines of the first code block of `text` that begins with `fence`.
fn block<'a>(text: &'a str, fence: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| *line != fence).skip(1);
    lines.take_while(|line| !line.ends_with("```")).collect()
}

#[test]
fn the_readme_shows_the_example_that_is_tested() {
    let tested: Vec<&str> = block(LIBRARY, "//! ```")
        .into_iter()
        .map(|line| line.trim_start_matches("//!").trim_start())
        .filter(|line| !line.starts_with("# "))
        .collect();
    let shown: Vec<&str> = block(README, "```rust")
        .into_iter()
        .map(str::trim_start)
        .collect();
    assert!(shown.len() > 5, "the README has an example");
    assert_eq!(shown, tested);
}
