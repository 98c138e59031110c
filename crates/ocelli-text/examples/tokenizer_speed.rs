//! Times a tokenizer: `cargo run --release -p ocelli-text --example tokenizer_speed -- VOCABULARY.gguf [TEXT FILE]`.

#![allow(clippy::print_stdout, reason = "a report for the terminal")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use ocelli_gguf::Gguf;
use ocelli_text::{Piece, Tokenizer, Vocabulary};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vocabulary, text @ ..] = arguments.as_slice() else {
        return Err("usage: tokenizer_speed VOCABULARY.gguf [TEXT FILE]".into());
    };
    let start = Instant::now();
    let file = Gguf::open(Path::new(vocabulary))?;
    let read = start.elapsed();
    let tokenizer = Tokenizer::new(Vocabulary::from_metadata(file.metadata())?)?;
    println!(
        "{} tokens: file {read:.1?}, tokenizer {:.1?}",
        tokenizer.len(),
        start.elapsed() - read
    );

    if let [path] = text {
        let text = std::fs::read_to_string(path)?;
        time(
            &tokenizer,
            "the file",
            &text.repeat(1 + (10 << 20) / text.len().max(1)),
        );
    }
    let ten_megabytes = |text: &str| text.repeat((10 << 20) / text.len());
    for (name, text) in [
        ("letter a", "a"),
        ("spaces", " "),
        ("newlines", "\n"),
        ("combining marks", "\u{301}"),
        ("mixed marks", "\u{301}\u{323}"),
        ("digits", "1"),
        ("CJK", "日本語中文字"),
        ("cut control token", "<|im_end|"),
        ("words", "The quick brown fox jumps over the lazy dog. "),
    ] {
        time(&tokenizer, name, &ten_megabytes(text));
    }
    Ok(())
}

fn time(tokenizer: &Tokenizer, name: &str, text: &str) {
    let pieces = [Piece::user(text)];
    let start = Instant::now();
    let tokens = tokenizer.encode(&pieces).len();
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = text.len() as f64 / 1e6;
    println!(
        "{name:>18}: {megabytes:.1} MB, {tokens} tokens, {seconds:.2} s, {:.1} MB/s",
        megabytes / seconds
    );
}
