//! `ls SNAPSHOT[:PATH]`: what is in a snapshot.

use std::ffi::OsString;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::entries::{EntryDocument, long, short};
use crate::cli::exit::{Done, Failure};
use crate::cli::json::line;
use crate::cli::lines::Lines;
use crate::ops::look;

const EXAMPLES: &str = "\
Examples:
  kamba-vault ls latest
  kamba-vault ls -l latest:/srv/uploads
  kamba-vault ls latest@db=shop:shop/tables
  kamba-vault ls --recursive --json latest~1";

/// List what is in a snapshot
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LsArgs {
    /// An id or its beginning, latest, latest~2, latest@db=NAME, or a time; with a path, what is
    /// below it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: OsString,

    /// Show mode, owner, group, size, time of change and what links point to
    #[arg(short, long)]
    pub long: bool,

    /// Go into folders
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Lists the entries.
pub fn run(args: &LsArgs, context: &Context) -> Result<Done, Failure> {
    let repository = context.open()?;
    let (snapshot, path) = context.find(&repository, &args.snapshot)?;
    let view = look::view(&repository, &snapshot, context.progress(), &context.cancel)?;
    let path = path.unwrap_or_default();
    let top = look::entry(&view, &snapshot, &path)?;
    context.finish_progress();
    let (mut lines, zone) = (Lines::new(context), context.zone());
    let walked = look::walk(&view, &top, &path, args.recursive, &mut |path, entry| {
        lines.push(&match (context.json(), args.long) {
            (true, _) => line(&EntryDocument::new(path, entry.kind, entry.size, &entry.meta)),
            (false, true) => long(path, entry.kind, entry.size, &entry.meta, &zone),
            (false, false) => short(path, entry.kind, entry.size, &entry.meta),
        })
    });
    lines.finish(walked)?;
    Ok(Done::Complete)
}
