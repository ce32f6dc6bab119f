//! The commands: each has a file with its arguments and the function that runs it.

pub mod cat;
pub mod check;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod export;
pub mod find;
pub mod init;
pub mod key;
pub mod ls;
pub mod man;
#[cfg(feature = "mount")]
pub mod mount;
pub mod restore;
pub mod restore_files;
pub mod restore_pitr;
mod restore_pitr_result;
pub mod snapshot;
pub mod snapshot_base;
pub mod snapshot_files;
pub mod snapshots;
pub mod stats;
pub mod wal;
pub mod wal_receive;
pub mod wal_status;

use crate::cli::args::Command;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};

/// Runs a command to its end.
pub fn run(command: Command, context: &Context) -> Result<Done, Failure> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Snapshot(args) => snapshot::run(args, context),
        Command::Snapshots(args) => snapshots::run(args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Find(args) => find::run(args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Restore(args) => restore::run(args, context),
        Command::Wal(args) => wal::run(&args, context),
        #[cfg(feature = "mount")]
        Command::Mount(args) => mount::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Key(args) => key::run(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
    }
}
