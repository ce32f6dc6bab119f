//! `ls SNAPSHOT[:PATH]`: what is in a snapshot.

use clap::Args;
use serde::Serialize;

use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::text::printable;
use crate::ops::{self, look};
use crate::vfs::{Entry, EntryKind};

const EXAMPLES: &str = "\
Examples:
  kamba-vault ls latest
  kamba-vault ls latest@db=shop:shop/tables
  kamba-vault ls --recursive --json latest~1";

/// List what is in a snapshot
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LsArgs {
    /// An id or its beginning, latest, latest~2, latest@db=NAME, or a time; with a path, what is
    /// below it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: String,

    /// Go into folders
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Lines are gathered up to this many bytes before they are written.
const BLOCK: usize = 64 << 10;

/// One entry, for programs: a line each, since a folder can be larger than memory.
#[derive(Serialize)]
struct Document<'a> {
    path: &'a str,
    kind: &'static str,
    size: Option<u64>,
}

/// Lists the entries.
pub fn run(args: &LsArgs, context: &Context) -> Result<Done, Failure> {
    let repository = context.open()?;
    let (snapshot, path) = context.find(&repository, &args.snapshot)?;
    let view = look::view(&repository, &snapshot, context.progress(), &context.cancel)?;
    let path = path.unwrap_or_default();
    let top = look::entry(&view, &snapshot, &path)?;
    context.finish_progress();
    let mut lines = String::new();
    let mut stopped = None;
    let walked = look::walk(&view, &top, &path, args.recursive, &mut |path, entry| {
        lines.push_str(&if context.json() { json(path, entry) } else { words(path, entry) });
        if lines.len() < BLOCK {
            return Ok(());
        }
        let written = context.output.text(&lines);
        lines.clear();
        if written.is_ok() && !context.output.reader_gone() {
            return Ok(());
        }
        stopped = Some(written);
        Err(ops::Error::Repo(crate::repo::Error::Interrupted))
    });
    // Why the listing was broken off says more than that it was.
    match stopped {
        Some(written) => return written.map(|()| Done::Complete),
        None => walked?,
    }
    context.output.text(&lines)?;
    Ok(Done::Complete)
}

fn json(path: &str, entry: &Entry) -> String {
    let kind = match entry.kind {
        EntryKind::Directory => "directory",
        EntryKind::File => "file",
        EntryKind::Special => "special",
    };
    let line = serde_json::to_string(&Document { path, kind, size: entry.size }).unwrap_or_default();
    line + "\n"
}

fn words(path: &str, entry: &Entry) -> String {
    let size = entry.size.map_or("-".to_owned(), units::bytes);
    let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
    format!("{size:>10}  {}{slash}\n", printable(path))
}
