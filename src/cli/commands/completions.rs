//! `completions SHELL`: a script that a shell sources.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  kamba-vault completions bash > /etc/bash_completion.d/kamba-vault
  kamba-vault completions zsh > ~/.zfunc/_kamba-vault
  kamba-vault completions fish > ~/.config/fish/completions/kamba-vault.fish";

/// Print a script that completes this program's commands and options
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// For this shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs, context: &Context) -> Result<Done, Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "kamba-vault", &mut script);
    context.output.text(&String::from_utf8_lossy(&script))?;
    Ok(Done::Complete)
}
