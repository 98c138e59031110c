//! Flags of the commands about models by name.

use clap::Args;

/// `ocelli list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ocelli pull`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PULL_EXAMPLES)]
pub(crate) struct PullArgs {
    /// Repository of the Hugging Face hub: user/repo, or user/repo:QUANT
    #[arg(value_name = "USER/REPO[:QUANT]")]
    pub(crate) name: String,
}

const PULL_EXAMPLES: &str = "\
Examples:
  ocelli pull user/repo
  ocelli pull user/repo:Q8_0
  ocelli run -m user/repo:Q8_0 --image a.png \"What is this?\"

A download that breaks off goes on where it ended when the command runs again.";
