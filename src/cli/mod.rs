//! Layer 7: the command line. Arguments, prompts, tables, JSON, progress and exit statuses live
//! here and nowhere else; everything that works on a repository is `ops`'s. The only layer that
//! prints, asks, reads the environment or installs signal handlers.
//!
//! The way through it: `args` parses, `commands` has a file for each command, `context` gives a
//! command what it works with, `exit` turns what came of it into words and a status.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

mod args;
mod commands;
mod config;
mod confirm;
mod connection;
mod context;
mod entries;
mod env;
mod exit;
mod fetch_command;
mod figures;
mod gallery;
mod json;
mod lines;
mod output;
mod progress;
mod secrets;
mod selector;
mod settings;
mod signals;
mod stage;
mod table;
mod terminal;
mod text;
mod time;

use crate::base::class::Class;
use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::env::Environment;
use crate::cli::exit::{Contract, Failure};

/// The whole program: reads this process's arguments, runs the command, says what went wrong.
pub fn main() -> ExitCode {
    let arguments = help_as_option(env::arguments());
    let contract = Contract::of(&arguments);
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && (contract != Contract::Usual || asks_for_json(&arguments)) => {
            return ExitCode::from(complain(&misunderstood(&error), asks_for_json(&arguments), contract));
        }
        Err(error) => {
            // Help and version go to standard output with status 0, mistakes to standard error
            // with 2. A reader that has gone away is no reason to complain.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let json = cli.global.json;
    let ended = match contract {
        Contract::Usual => run(cli, contract),
        // The status of a panic, 101, would tell PostgreSQL that the WAL ends here.
        _ => panic::catch_unwind(AssertUnwindSafe(|| run(cli, contract)))
            .unwrap_or_else(|_| Err(Failure::new(Class::Internal, "kamba-vault failed unexpectedly"))),
    };
    ExitCode::from(ended.unwrap_or_else(|failure| complain(&failure, json, contract)))
}

/// `help COMMAND` as `COMMAND --help`, which is how clap's own would have to be spelled out for every
/// command in completions and manual pages.
fn help_as_option(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|first| first == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// Says what went wrong, as JSON to a program, in a line to a server; the exit status.
fn complain(failure: &Failure, json: bool, contract: Contract) -> u8 {
    let json = json && !io::stderr().is_terminal();
    let text = match contract {
        _ if json => failure.render_json(),
        Contract::Usual => failure.render(),
        _ => failure.render_line(),
    };
    // Nobody is left to be told.
    let _ = io::stderr().write_all(text.as_bytes());
    contract.status(failure.exit_status())
}

/// Whether arguments that make no sense as a whole ask for JSON all the same.
fn asks_for_json(arguments: &[OsString]) -> bool {
    !io::stderr().is_terminal()
        && arguments
            .iter()
            .skip(1)
            .take_while(|argument| *argument != "--")
            .any(|argument| argument == "--json")
}

/// A mistake in the arguments, in one line.
fn misunderstood(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing".to_owned(),
        _ => {
            let message = text.strip_prefix("error: ").unwrap_or(&text);
            let message = message.split("\n\n").next().unwrap_or(message);
            message.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    };
    Failure::usage(message)
        .with_hint("'kamba-vault --help' and 'kamba-vault COMMAND --help' show what there is")
}

/// Runs the command; the exit status, or why it failed.
fn run(mut cli: Cli, contract: Contract) -> Result<u8, Failure> {
    let interrupted = contract.status(Class::Interrupted.exit_status());
    let cancel = signals::install(interrupted).map_err(|e| Failure::io("install signal handlers", &e))?;
    // A server's log is no place for progress.
    cli.global.no_progress |= contract != Contract::Usual;
    let context = Context::new(cli.global, Environment::of_process(), cancel)?;
    let outcome = commands::run(cli.command, &context);
    context.finish_progress();
    match outcome {
        Ok(done) => Ok(done.exit_status()),
        // Whatever failed on the way out, it was the user who ended it.
        Err(failure) if context.cancel.is_cancelled() => Err(failure.into_interrupted()),
        Err(failure) => Err(failure),
    }
}
