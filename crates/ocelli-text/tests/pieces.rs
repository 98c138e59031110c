//! Pieces equal to those of Hugging Face's pre-tokenizers (`tools/text/make_pieces.py`), for every rule.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ocelli_text::PreTokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    texts: Vec<String>,
    /// By rule, lengths of the pieces of each text, in bytes.
    pieces: BTreeMap<String, Vec<String>>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("goldens/pieces.json")).unwrap()
}

fn split<'t>(rule: &PreTokenizer, text: &'t str) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    rule.split(text, &mut |piece| pieces.push(piece));
    pieces
}

fn cut<'t>(text: &'t str, lengths: &str) -> Vec<&'t str> {
    let mut at = 0;
    let lengths = lengths.split_whitespace();
    lengths
        .map(|length| {
            let start = at;
            at += length.parse::<usize>().unwrap();
            &text[start..at]
        })
        .collect()
}

#[test]
fn pieces_are_those_of_the_reference_for_every_rule() {
    let cases = cases();
    let mut wrong = Vec::new();
    for (name, pieces) in &cases.pieces {
        let rule = PreTokenizer::named(name).unwrap();
        for (text, lengths) in cases.texts.iter().zip(pieces) {
            let (found, need) = (split(&rule, text), cut(text, lengths));
            if found != need {
                wrong.push(format!(
                    "{name} {text:?}:\n  found {found:?}\n  need  {need:?}"
                ));
            }
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} wrong\n{}", wrong.join("\n"));
}

#[test]
fn time_grows_with_the_text_for_every_rule() {
    let hostile = [
        "a",
        " ",
        "\n",
        "\u{301}",
        "1",
        "日",
        "'",
        "!",
        " 1",
        " \u{3000}",
    ];
    for name in cases().pieces.keys() {
        let rule = PreTokenizer::named(name).unwrap();
        for unit in hostile {
            let text = unit.repeat((1 << 20) / unit.len());
            // The last character ends every lookahead another way than all before it.
            for text in [format!("{text}x"), format!("{text}\n")] {
                let start = Instant::now();
                assert!(!split(&rule, &text).is_empty());
                // About 30 ms; a rule that looks over the rest at each place takes minutes.
                let time = start.elapsed();
                assert!(time < Duration::from_secs(20), "{name} {unit:?}: {time:?}");
            }
        }
    }
}
