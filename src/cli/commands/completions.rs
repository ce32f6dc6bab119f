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

/// How the generated script for Bash labels the words after a subcommand…
const LABEL: &str = "kamba__subcmd__vault__subcmd__";
/// …and what it looks for there: the hyphen in our name is written in two ways (clap_complete 4.6), and
/// without this nothing would be completed after any subcommand.
const STATE: &str = "kamba__vault__subcmd__";

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
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Bash {
        script = script.replace(LABEL, STATE);
    }
    context.output.text(&script)?;
    Ok(Done::Complete)
}
