//! Lists what a GGUF file holds: `cargo run -p ocelli-gguf --example list -- FILE`.

#![allow(clippy::print_stdout, reason = "its purpose")]

use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: list FILE")?;
    let start = Instant::now();
    let gguf = ocelli_gguf::Gguf::open(Path::new(&path))?;
    let elapsed = start.elapsed();
    println!(
        "{}: version {}, {} bytes",
        gguf.name(),
        gguf.version(),
        gguf.total_bytes()
    );
    for (key, value) in gguf.metadata().iter() {
        println!("{key} = {value}");
    }
    for tensor in gguf.tensors() {
        println!(
            "{} {:?} {}, {} bytes",
            tensor.name(),
            tensor.shape(),
            tensor.ty(),
            tensor.bytes()
        );
    }
    println!("opened in {:.1} ms", elapsed.as_secs_f64() * 1e3);
    Ok(())
}
