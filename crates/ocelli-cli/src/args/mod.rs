//! The command line: commands, flags, their values and their help. Nothing here acts.

mod answer;
mod bench;
mod commands;
mod folder;
mod model;
mod models;
mod named;
mod serve;
mod values;
mod writing;

pub(crate) use answer::AnswerArgs;
pub(crate) use bench::BenchArgs;
pub(crate) use commands::{
    ImageArgs, InspectArgs, RunArgs, StageArgs, TraceArgs, VerifyArgs, VideoArgs,
};
pub(crate) use folder::{BatchArgs, PlanArgs};
pub(crate) use model::{Kv, ModelArgs, Precision};
pub(crate) use models::{ListArgs, PullArgs};
pub(crate) use serve::{ContextPolicy, ImageUrls, ServeArgs};
pub(crate) use values::Time;
pub(crate) use writing::{ConvertArgs, MergeArgs, QuantizeArgs, RepairArgs, SplitArgs, WriteArgs};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::failure::{Failure, one_line};

/// Ask questions about pictures with vision-language models, on your own machine.
#[derive(Debug, Parser)]
#[command(name = "ocelli", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  ocelli run --image photo.jpg \"What is in this picture?\"
  ocelli run -m model.gguf --mmproj mmproj.gguf --image scan.png \"Read it.\"
  ocelli inspect model.gguf

The answer goes to standard output, everything else to standard error.

Exit codes: 0 done, 1 a check failed, 2 wrong use or prompt too long, 3 bad
model file, 4 files do not fit or projector missing, 5 memory, 6 bad image,
7 network, 8 path, 70 internal, 130 Ctrl-C.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer one question, or chat when no question is given on a terminal
    Run(Box<RunArgs>),
    /// Answer one question about every picture of a folder, one line of JSON each
    Batch(Box<BatchArgs>),
    /// Say what a model would see of pictures and what it would cost, without running it
    Plan(Box<PlanArgs>),
    /// Answer OpenAI, Ollama and Anthropic clients over HTTP, many at once
    Serve(Box<ServeArgs>),
    /// Write a Hugging Face model as a text model and a projector
    #[command(after_help = "Example:\n  ocelli convert Qwen3-VL-2B-Instruct --out . --type q4_k_m")]
    Convert(ConvertArgs),
    /// Write a model with fewer bits
    #[command(after_help = "Example:\n  ocelli quantize model-F16.gguf model-Q4_K_M.gguf q4_k_m")]
    Quantize(QuantizeArgs),
    /// Write a text model and its projector as one file
    #[command(after_help = "Example:\n  ocelli merge model.gguf mmproj.gguf whole.gguf")]
    Merge(MergeArgs),
    /// Write a merged file as text model and projector, or a large one as numbered parts
    #[command(after_help = SPLIT_EXAMPLES)]
    Split(SplitArgs),
    /// Write a file of an old converter with current names and keys
    #[command(after_help = "Example:\n  ocelli repair old-mmproj.gguf mmproj.gguf")]
    Repair(RepairArgs),
    /// Say what model files are, whether and why they pair, and the memory they need
    Inspect(InspectArgs),
    /// List the models on this machine, and what pairs with what
    #[command(after_help = "Example:\n  ocelli list")]
    List(ListArgs),
    /// Download a model and its projector from the Hugging Face hub
    Pull(PullArgs),
    /// Write the values of every stage of a model to a file
    Trace(Box<TraceArgs>),
    /// Compare every stage of a model with reference values
    Verify(Box<VerifyArgs>),
    /// Measure how fast a model runs here, as shares of what the machine can do
    Bench(Box<BenchArgs>),
    /// Print a script that completes commands, flags and values in a shell
    #[command(
        after_help = "Example:\n  ocelli completions bash > ~/.local/share/bash-completion/completions/ocelli"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const SPLIT_EXAMPLES: &str = "\
Examples:
  ocelli split whole.gguf --out pair
  ocelli split model.gguf --out parts --max-shard-size 4G";

/// What came of reading the command line.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A command to run.
    Run(Cli),
    /// Help or version, to be printed.
    Text(clap::Error),
}

/// Reads the process's arguments.
///
/// # Errors
/// One line that says what is wrong with them.
pub(crate) fn parse() -> Result<Parsed, Failure> {
    let matches = definition().try_get_matches();
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => Ok(Parsed::Run(cli)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Parsed::Text(error)),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Err(Failure::usage(
                    "no command: need run, batch, plan, serve, inspect, list, pull, convert, quantize, merge, split, repair, trace, verify, bench or completions. Try 'ocelli --help'",
                ))
            }
            _ => Err(Failure::usage(complaint(&error))),
        },
    }
}

/// The command line with what holds for every flag.
fn definition() -> clap::Command {
    with_every_flag(Cli::command())
        .mut_subcommand("trace", without_ignored_flags)
        .mut_subcommand("verify", without_ignored_flags)
}

/// Commands that decode greedily take the flags of `run`, so that a command line can be copied;
/// their help is shorter without those that change nothing.
fn without_ignored_flags(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| {
        let changes_nothing = ["max_tokens", "stop", "schema", "boxes"]
            .contains(&argument.get_id().as_str())
            || argument.get_help_heading() == Some(answer::SAMPLING);
        argument.hide(changes_nothing)
    })
}

fn with_every_flag(command: clap::Command) -> clap::Command {
    command
        .mut_args(negative_values)
        .mut_args(no_empty_variable)
        .mut_subcommands(with_every_flag)
}

/// `-n -1` is a value out of its range, and not an unknown flag `-1`.
fn negative_values(argument: Arg) -> Arg {
    let takes_values = argument.get_action().takes_values() && !argument.is_positional();
    argument.allow_negative_numbers(takes_values)
}

/// An empty variable counts as not set.
fn no_empty_variable(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(std::env::var_os);
    match value.is_some_and(|value| value.is_empty()) {
        true => argument.env(Resettable::Reset),
        false => argument,
    }
}

/// What clap says, without its `error: ` and without the paragraphs about usage and help.
fn complaint(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let of_use = |paragraph: &&str| {
        let paragraph = paragraph.trim_start();
        !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information")
    };
    let kept: Vec<String> = text.split("\n\n").filter(of_use).map(one_line).collect();
    let mut said = kept.join(". ");
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && !argument.starts_with('-')
    {
        said += ". A question is one argument, in quotes; a picture is given with --image FILE";
    }
    format!("{}. Try '--help'", said.trim_end_matches(['.', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_no_line_below_its_help_is_too_long_for_a_terminal() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let text = command.get_after_help().map(ToString::to_string);
            let text = text.unwrap_or_default();
            assert!(text.contains(&format!("  ocelli {name}")), "{name}: {text}");
            for line in text.lines() {
                assert!(line.len() <= 80, "{name}: {line}");
            }
        }
    }

    #[test]
    fn help_of_a_greedy_command_is_without_flags_that_change_nothing() {
        for name in ["trace", "verify"] {
            let help = |command: clap::Command| {
                let found = command
                    .get_subcommands()
                    .find(|c| c.get_name() == name)
                    .cloned();
                found.map(|mut found| found.render_long_help().to_string())
            };
            let shown = help(definition()).unwrap_or_default();
            assert!(
                shown.contains("--system") && shown.contains("--decode"),
                "{shown}"
            );
            assert!(
                !shown.contains("--top-k") && !shown.contains("--max-tokens"),
                "{shown}"
            );
        }
        let arguments = ["ocelli", "trace", "--top-k", "3", "-p", "x", "--out", "t"];
        assert!(definition().try_get_matches_from(arguments).is_ok());
    }

    #[test]
    fn a_value_below_zero_is_told_its_range() {
        for (arguments, need) in [
            (
                &["run", "-n", "-1", "x"][..],
                "found '-1', need a whole number from 1",
            ),
            (&["run", "-c", "-5", "x"], "need a whole number from 1"),
            (
                &["serve", "--port", "-1"],
                "need a whole number from 0 to 65535",
            ),
            (&["serve", "--memory", "-1"], "need a size above 0"),
            (
                &["split", "x", "--out", "y", "--max-shard-size", "-5"],
                "need a size above 0",
            ),
        ] {
            let arguments = std::iter::once(&"ocelli").chain(arguments);
            let error = definition().try_get_matches_from(arguments).unwrap_err();
            assert!(complaint(&error).contains(need), "{}", complaint(&error));
        }
    }

    #[test]
    fn a_complaint_is_one_line_that_ends_with_where_to_look() {
        let error = Cli::try_parse_from(["ocelli", "run", "--tmep", "1"]).unwrap_err();
        let said = complaint(&error);
        assert!(
            said.contains("--tmep") && said.contains("--temp") && !said.contains('\n'),
            "{said}"
        );
        assert!(said.ends_with("Try '--help'"), "{said}");
    }

    #[test]
    fn a_picture_without_its_flag_is_told_where_it_goes() {
        let error = Cli::try_parse_from(["ocelli", "run", "photo.jpg", "What is it?"]).unwrap_err();
        let said = complaint(&error);
        assert!(said.contains("--image FILE"), "{said}");
    }
}
