//! Times a tokenizer: `cargo run --release -p ocelli-text --example tokenizer_speed -- VOCABULARY.gguf TEXT`.
//! TEXT is a file, or `hostile` for ten megabytes each of what makes bad tokenizers slow.

#![allow(clippy::print_stdout, reason = "a report for the terminal")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use ocelli_gguf::Gguf;
use ocelli_text::{Piece, Tokenizer, Vocabulary};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vocabulary, text] = arguments.as_slice() else {
        return Err("usage: tokenizer_speed VOCABULARY.gguf TEXT".into());
    };
    let start = clock();
    let file = Gguf::open(Path::new(vocabulary))?;
    let read = since(start);
    let tokenizer = Tokenizer::new(Vocabulary::from_metadata(file.metadata())?)?;
    println!(
        "{} tokens: file {read:.1?}, tokenizer {:.1?}",
        tokenizer.len(),
        since(start) - read
    );

    if text != "hostile" {
        let text = std::fs::read_to_string(text)?;
        time(
            &tokenizer,
            "the file",
            &text.repeat(1 + (10 << 20) / text.len().max(1)),
        );
        return Ok(());
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
    let start = clock();
    let tokens = tokenizer.encode(&pieces).len();
    let seconds = since(start).as_secs_f64();
    let megabytes = text.len() as f64 / 1e6;
    println!(
        "{name:>18}: {megabytes:.1} MB, {tokens} tokens, {seconds:.2} s, {:.1} MB/s",
        megabytes / seconds
    );
}

/// Time that this thread has had a processor, where the system tells (Linux); else the time of day.
/// On a busy machine only the former says how fast the code is.
fn clock() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = spent.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(
        || START.get_or_init(Instant::now).elapsed(),
        Duration::from_nanos,
    )
}

fn since(start: Duration) -> Duration {
    clock() - start
}
