//! `snapshot db`, `snapshot stdin` and `snapshot command`, the arguments that all snapshots share, and
//! which of them runs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::base::units;
use crate::cli::commands::snapshot_base::{self, BaseArgs};
use crate::cli::commands::snapshot_files::{self, FilesArgs};
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::json::{BaseDocument, StatsDocument};
use crate::cli::text::{self, printable};
use crate::cli::time;
use crate::codec::Level;
use crate::ops;
use crate::ops::snapshot::{
    CommandRequest, DbRequest, Made, StreamRequest, snapshot_command, snapshot_db, snapshot_stdin,
};
use crate::postgres::dump::PassedOn;

/// Store files, a PostgreSQL database or cluster, or any stream as a new snapshot
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct SnapshotArgs {
    /// What is snapshotted.
    #[command(subcommand)]
    pub source: Source,
}

/// One variant for each kind of source.
#[derive(Debug, Subcommand)]
pub enum Source {
    Files(FilesArgs),
    Db(DbArgs),
    Base(BaseArgs),
    Stdin(StdinArgs),
    Command(CommandArgs),
}

/// What every snapshot can carry.
#[derive(Args, Clone, Debug)]
pub struct Provenance {
    /// Give the snapshot a tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub tags: Vec<String>,

    /// Record this host instead of the machine's own name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub host: Option<String>,

    /// Say in words of your own what this snapshot is
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub description: Option<String>,

    /// Compress this hard: auto, none, fast, default, max, or a level of zstd from 1 to 19
    ///
    /// auto tries now and then, on the data itself, what fast and default make of it, and keeps to fast
    /// while that costs little space. max is level 19. With each of them, what a quick look finds not
    /// to shrink is stored as it is. none stores everything as it is, and nothing as the difference to
    /// what was there before.
    #[arg(long, value_name = "LEVEL", default_value = "auto", value_parser = level)]
    pub compression: Level,
}

/// The level of compression that `text` names.
fn level(text: &str) -> Result<Level, String> {
    let (least, highest) = (Level::ZSTD.start(), Level::ZSTD.end());
    let number = || text.parse().ok().filter(|level| Level::ZSTD.contains(level)).map(Level::Zstd);
    match text {
        "auto" => Ok(Level::Auto),
        "none" => Ok(Level::Store),
        "fast" => Ok(Level::Swift),
        "default" => Ok(Level::Thorough),
        "max" => Ok(Level::Zstd(*highest)),
        _ => number().ok_or_else(|| {
            format!("expected auto, none, fast, default, max or a level from {least} to {highest}")
        }),
    }
}

const DB_EXAMPLES: &str = "\
Examples:
  kamba-vault snapshot db --dbname shop
  kamba-vault snapshot db --all-databases --globals --tag nightly
  DATABASE_URL=postgresql://backup@db1/shop kamba-vault snapshot db
  kamba-vault snapshot db --dbname shop -- --exclude-table-data='public.sessions'";

/// Store a PostgreSQL database, through pg_dump
///
/// The dump is split into its tables as it streams, so that what did not change since earlier
/// snapshots is not stored again, and can be given back to the byte. Nothing is kept of a dump
/// that fails. The connection is libpq's: PGHOST, PGUSER, PGPASSFILE, PGSERVICE and so on count;
/// without --dbname and --url, DATABASE_URL does.
#[derive(Debug, Args)]
#[command(after_help = DB_EXAMPLES)]
pub struct DbArgs {
    /// The database
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "all_databases"])]
    pub dbname: Option<String>,

    /// The database as a connection URL, without its password
    ///
    /// Such as postgresql://backup@db1/shop. A password belongs into PGPASSFILE or PGPASSWORD,
    /// where no process list shows it.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Every database of the server but templates and those that allow no connections, in one snapshot
    #[arg(long)]
    pub all_databases: bool,

    /// Also what belongs to no database: roles and tablespaces
    ///
    /// Passwords of roles take a superuser. Without one the rest is stored, the snapshot is marked
    /// "incomplete", and the exit status is 3.
    #[arg(long)]
    pub globals: bool,

    /// Find pg_dump and pg_dumpall in this folder instead of PATH
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,

    /// What the snapshot carries.
    #[command(flatten)]
    pub provenance: Provenance,

    /// Options for pg_dump, after --
    #[arg(last = true, value_name = "PG_DUMP_OPTION")]
    pub dump_options: Vec<OsString>,
}

const STDIN_EXAMPLES: &str = "\
Examples:
  tar -C /srv -c uploads | kamba-vault snapshot stdin --name uploads.tar
  mysqldump shop | kamba-vault snapshot stdin --name shop.sql --tag nightly

Prefer 'snapshot command': it sees whether the command failed.";

/// Store what comes from standard input
///
/// A pipe does not tell whether the program at its other end failed, so the snapshot is marked
/// "end unverified".
#[derive(Debug, Args)]
#[command(after_help = STDIN_EXAMPLES)]
pub struct StdinArgs {
    /// The stream's name in the snapshot
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// Make a snapshot even of nothing at all
    #[arg(long)]
    pub allow_empty: bool,

    /// What the snapshot carries.
    #[command(flatten)]
    pub provenance: Provenance,
}

const COMMAND_EXAMPLES: &str = "\
Examples:
  kamba-vault snapshot command --name vercel.json -- vercel env pull /dev/stdout
  kamba-vault snapshot command --name shop.sql -- mysqldump shop
  kamba-vault snapshot command --name etc.tar -- sh -c 'tar -C / -c etc'";

/// Run a command and store what it prints
///
/// If it fails, is killed or prints nothing, there is no snapshot and the exit status is 1.
#[derive(Debug, Args)]
#[command(after_help = COMMAND_EXAMPLES)]
pub struct CommandArgs {
    /// The stream's name in the snapshot
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// Make a snapshot even if the command prints nothing
    #[arg(long)]
    pub allow_empty: bool,

    /// What the snapshot carries.
    #[command(flatten)]
    pub provenance: Provenance,

    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Makes the snapshot.
pub fn run(args: SnapshotArgs, context: &Context) -> Result<Done, Failure> {
    match args.source {
        Source::Files(args) => snapshot_files::run(args, context),
        Source::Base(args) => snapshot_base::run(args, context),
        Source::Stdin(args) => {
            let input = stdin()?;
            let repository = context.open()?;
            let provenance = provenance(args.provenance, context);
            let request = StreamRequest { name: args.name, allow_empty: args.allow_empty };
            let made = snapshot_stdin(
                &repository,
                &provenance,
                &request,
                input,
                context.monitor(),
                &context.cancel,
            )?;
            report(&made, &provenance, context)
        }
        Source::Command(args) => {
            let repository = context.open()?;
            let provenance = provenance(args.provenance, context);
            let request = CommandRequest {
                name: args.name,
                command: args.command,
                allow_empty: args.allow_empty,
                own_group: !io::stdin().is_terminal(),
            };
            let made =
                snapshot_command(&repository, &provenance, &request, context.monitor(), &context.cancel)?;
            report(&made, &provenance, context)
        }
        Source::Db(args) => {
            let request = DbRequest {
                settings: connection::settings(
                    args.dbname.as_deref(),
                    args.url.as_deref(),
                    &context.environment,
                )?,
                tools: connection::tools(args.pg_bin_dir, context),
                databases: Vec::new(),
                all: args.all_databases,
                globals: args.globals,
                passed_on: PassedOn::new(args.dump_options)?,
            };
            let repository = context.open()?;
            let provenance = provenance(args.provenance, context);
            let made = snapshot_db(&repository, &provenance, &request, context.monitor(), &context.cancel)?;
            report(&made, &provenance, context)
        }
    }
}

/// Standard input without the buffer that Rust puts before it: a stream is read in large blocks,
/// and waited for together with the cancel flag.
fn stdin() -> Result<File, Failure> {
    let input = io::stdin();
    if input.is_terminal() {
        return Err(Failure::usage("standard input is a terminal, not a stream")
            .with_hint("pipe a program's output into it, or use 'snapshot command'"));
    }
    let owned = input.as_fd().try_clone_to_owned();
    owned.map(File::from).map_err(|e| Failure::io("open standard input", &e))
}

pub(super) fn provenance(given: Provenance, context: &Context) -> ops::snapshot::Provenance {
    ops::snapshot::Provenance {
        host: given.host.unwrap_or_else(|| context.environment.host()),
        user: context.environment.user(),
        tags: given.tags,
        description: given.description,
        program: concat!("kamba-vault ", env!("CARGO_PKG_VERSION")).to_owned(),
        level: given.compression,
    }
}

/// A snapshot that was made, for programs: the fields have the names that `snapshots` uses.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    id: String,
    time: String,
    ended: String,
    kind: String,
    host: &'a str,
    tags: &'a [String],
    sources: &'a [String],
    end_unverified: bool,
    incomplete: bool,
    stats: StatsDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<BaseDocument>,
    /// What was read from the repository for the sake of deltas: this run alone knows.
    base_fetched_bytes: u64,
}

/// The document of a snapshot that was made.
pub(super) fn document<'a>(made: &'a Made, provenance: &'a ops::snapshot::Provenance) -> Document<'a> {
    Document {
        id: made.id.to_hex(),
        time: time::rfc3339(made.started),
        ended: time::rfc3339(made.ended),
        kind: made.kind.to_string(),
        host: &provenance.host,
        tags: &provenance.tags,
        sources: &made.sources,
        end_unverified: made.end_unverified,
        incomplete: made.incomplete,
        stats: StatsDocument::new(&made.stats(), made.added_bytes()),
        base: made.base.as_ref().map(BaseDocument::from),
        base_fetched_bytes: made.added.base_fetched_bytes,
    }
}

pub(super) fn report(
    made: &Made,
    provenance: &ops::snapshot::Provenance,
    context: &Context,
) -> Result<Done, Failure> {
    context.result(&document(made, provenance), || words(made))?;
    Ok(if made.incomplete { Done::Incomplete } else { Done::Complete })
}

/// A snapshot that was made, for people.
fn words(made: &Made) -> String {
    let seconds = (made.ended.0.saturating_sub(made.started.0)).max(0) as f64 / 1e9;
    let rate = if seconds > 0.0 { (made.source_bytes as f64 / seconds) as u64 } else { 0 };
    let mut out = format!(
        "snapshot {} of {}\n  read {} in {} ({}/s), {}\n  new {}, stored {}\n",
        made.id,
        printable(&made.sources.join(", ")),
        units::bytes(made.source_bytes),
        time::span(seconds),
        units::bytes(rate),
        text::count(made.items, "item"),
        units::bytes(made.added.new_bytes),
        units::bytes(made.added.stored_bytes),
    );
    out.push_str(&snapshot_base::words(made));
    if made.end_unverified {
        out.push_str("  end unverified: a pipe does not tell whether the program before it failed\n");
    }
    if made.incomplete {
        out.push_str("  incomplete: some of the source could not be read\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_numbers() {
        for (text, want) in [
            ("auto", Level::DEFAULT),
            ("none", Level::Store),
            ("fast", Level::Swift),
            ("default", Level::Thorough),
            ("max", Level::Zstd(19)),
            ("1", Level::Zstd(1)),
            ("3", Level::Zstd(3)),
            ("19", Level::Zstd(19)),
        ] {
            assert_eq!(level(text), Ok(want), "{text}");
        }
        for wrong in ["", "0", "20", "-1", "3.5", "AUTO", "zstd", "99999999999"] {
            assert!(level(wrong).is_err_and(|said| said.ends_with("from 1 to 19")), "{wrong}");
        }
    }
}
