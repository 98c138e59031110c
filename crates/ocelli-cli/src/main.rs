//! The `ocelli` command: reads arguments, environment and terminal, and leaves all thinking to the library.
//!
//! Standard output carries the answer and nothing else. Every way out has its exit code
//! (`failure.rs`), and one line on standard error says why.
#![forbid(unsafe_code)]

mod args;
mod batch;
mod bench;
mod chat;
mod failure;
mod form;
mod history;
mod inspect;
mod interrupt;
mod load;
mod models;
mod output;
mod pictures;
mod plan;
mod progress;
mod prompt;
mod rows;
mod run;
mod serve;
mod trace;
mod verify;
mod writing;

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;

use args::{Cli, Command, Parsed};
use failure::{Code, Failure, one_line};
use interrupt::Interrupt;
use output::Output;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!(
            "internal: {}. This is a bug; please report it",
            one_line(&panic.to_string())
        ));
        // No unwinding into half-done work, and no signal.
        std::process::exit(i32::from(Code::Internal as u8));
    }));
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                complain(message);
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Writes the one line of an error. Standard error may be closed; the exit code still tells.
fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "error: {message}");
}

fn command() -> Result<(), Failure> {
    let interrupt = Interrupt::install().map_err(|error| {
        Failure::new(
            Code::Internal,
            format_args!("signals: the system refused a handler: {error}"),
        )
    })?;
    let cli = match args::parse()? {
        Parsed::Run(cli) => cli,
        Parsed::Text(text) => return Output::print(|| text.print()),
    };
    match cli.command {
        Command::Run(args) => run::run(&args, &interrupt),
        Command::Batch(args) => batch::batch(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Serve(args) => serve::serve(&args, &interrupt),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Convert(args) => writing::convert(&args, &interrupt),
        Command::Quantize(args) => writing::quantize(&args, &interrupt),
        Command::Merge(args) => writing::merge(&args, &interrupt),
        Command::Split(args) => writing::split(&args, &interrupt),
        Command::Repair(args) => writing::repair(&args, &interrupt),
        Command::List(args) => models::list(&args),
        Command::Pull(args) => models::pull(&args),
        Command::Trace(args) => trace::trace(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Bench(args) => bench::bench(&args, &interrupt),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ocelli", &mut script);
    let mut output = Output::new();
    output.text(&String::from_utf8_lossy(&script));
    output.finish()
}
