//! Lists the models of this machine, or downloads one: `models list`, `models pull user/repo:Q4_K_M`.
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::ops::ControlFlow;

use ocelli_store::{Error, Hub, Places, Progress, list, pull, resolve};

fn main() -> Result<(), Error> {
    let environment = |name: &str| std::env::var_os(name);
    let places = Places::from_env(&environment);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            for model in list(&places) {
                let why = model.broken.as_ref().unwrap_or(&model.why);
                println!(
                    "{}\t{}\t{} bytes\t{why}",
                    model.name, model.source, model.size
                );
            }
        }
        ["find", name] => println!("{:#?}", resolve(name, &places)?),
        ["pull", name] => {
            let cache = places.hf_hub.first().cloned().unwrap_or_default();
            let model = pull(name, &Hub::from_env(&environment), &cache, &mut show)?;
            println!("{model:#?}");
        }
        _ => println!("need: list, find NAME or pull USER/REPO[:QUANT]"),
    }
    Ok(())
}

fn show(progress: Progress<'_>) -> ControlFlow<()> {
    if !matches!(progress, Progress::Bytes { .. }) {
        println!("{progress:?}");
    }
    ControlFlow::Continue(())
}
