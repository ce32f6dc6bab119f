//! `wal push`, `wal fetch`, `wal receive`, `wal status`: what `archive_command` and `restore_command` call, and what came
//! of it. How the first two end is PostgreSQL's contract: see `exit::Contract`.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};

use crate::base::monitor::Monitor;
use crate::cli::commands::{wal_receive, wal_status};
use crate::cli::context::Context;
use crate::cli::env;
use crate::cli::exit::{Done, Failure};
use crate::ops::wal::ahead::{Ahead, clear_after_recovery};
use crate::ops::wal::batch::{Notes, push_batch};
use crate::ops::wal::fetch::{Fetched, fetch};
use crate::postgres::wal::owner::Owner;
use crate::postgres::wal::{SegmentName, SegmentSize, WalName};

/// Store PostgreSQL's WAL, and bring it back
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct WalArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// One variant for each action.
#[derive(Debug, Subcommand)]
pub enum Action {
    Push(PushArgs),
    Fetch(FetchArgs),
    Receive(wal_receive::ReceiveArgs),
    Status(wal_status::StatusArgs),
}

const PUSH_EXAMPLES: &str = "\
Examples:
  archive_command = 'kamba-vault wal push %p'        in postgresql.conf
  kamba-vault wal push pg_wal/00000001000000000000000A

Exit status: 0 when the file is durable in the repository, or was already, with the same bytes;
1 in every other case, and PostgreSQL tries again.";

/// Store files of the WAL, for archive_command
///
/// What was pushed already is no error; other bytes under the same name are, and so is a segment of
/// another cluster. Give it a key file: a passphrase would be stretched at every call.
#[derive(Debug, Args)]
#[command(after_help = PUSH_EXAMPLES)]
pub struct PushArgs {
    /// The files, in the cluster's pg_wal: what PostgreSQL puts in the place of %p
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The cluster's system identifier, where its data folder is not around the files
    #[arg(long, value_name = "ID")]
    pub system_id: Option<u64>,

    /// With one PATH, also store segments that wait after it, up to N in all, so that the calls for
    /// them end at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub batch: u16,
}

const FETCH_EXAMPLES: &str = "\
Examples:
  restore_command = 'kamba-vault wal fetch %f %p'    in postgresql.conf
  kamba-vault wal fetch 00000001000000000000000A /tmp/segment --system-id 7293847561029384756

Exit status: 0 when the file is there; 1 when the repository has answered that it has no such
file, which ends a recovery; 126 in every other case, which stops the server instead.";

/// Bring back a file of the WAL, for restore_command
///
/// PostgreSQL takes a failure for the end of the WAL, unless its status is above 125. So a
/// repository that cannot be reached gives 126: the server stops, and recovers when it is started
/// again, instead of going on without what it could not get.
#[derive(Debug, Args)]
#[command(after_help = FETCH_EXAMPLES)]
pub struct FetchArgs {
    /// The file's name: what PostgreSQL puts in the place of %f
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Where to write it: what PostgreSQL puts in the place of %p
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// The cluster's system identifier, where its data folder is not the current one
    #[arg(long, value_name = "ID")]
    pub system_id: Option<u64>,

    /// After a segment, fetch this many of those that follow it, in the background; 0 for none
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(0..=256))]
    pub prefetch: u16,

    /// Give 1 in every case of failure: for a standby server, which asks again
    #[arg(long)]
    pub standby: bool,

    /// For a segment that is not there, take its beginning, if that is
    ///
    /// The last segment that a server wrote before it was lost or left its timeline: as 'wal receive'
    /// had it, or as a server archived it, whichever goes further.
    #[arg(long)]
    pub partial: bool,

    /// Only fetch what follows NAME: how this program starts itself
    #[arg(long, hide = true, value_name = "SIZE")]
    pub ahead: Option<u64>,
}

/// Runs the action.
pub fn run(args: &WalArgs, context: &Context) -> Result<Done, Failure> {
    match &args.action {
        Action::Push(args) => run_push(args, context),
        Action::Fetch(args) => match args.ahead {
            Some(size) => run_ahead(args, size, context),
            None => run_fetch(args, context),
        },
        Action::Receive(args) => wal_receive::run(args, context),
        Action::Status(args) => wal_status::run(args, context),
    }
}

fn run_push(args: &PushArgs, context: &Context) -> Result<Done, Failure> {
    let settings = context.settings()?;
    args.paths.iter().take(1).for_each(|path| clear_after_recovery(path));
    let more = if args.paths.len() == 1 { usize::from(args.batch) - 1 } else { 0 };
    let notes = match (&args.paths[..], &settings.cache_dir) {
        ([path], Some(cache)) if more > 0 => Notes::new(cache, &settings.url, path),
        _ => None,
    };
    if let (Some(notes), [path]) = (&notes, &args.paths[..])
        && notes.take(&*context.backend(&settings)?, path)
    {
        return Ok(Done::Complete);
    }
    let repository = context.unlock(&settings)?;
    for path in &args.paths {
        if context.cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let batch = push_batch(&repository, path, args.system_id, more, notes.as_ref(), &context.cancel);
        let pushed = batch.asked?;
        if let Some(error) = batch.ledger {
            let name = pushed.name;
            context.progress().warn(&format!("{name} is stored, but a ledger was not written: {error}"));
        }
    }
    Ok(Done::Complete)
}

fn run_fetch(args: &FetchArgs, context: &Context) -> Result<Done, Failure> {
    let name = WalName::parse(&args.name)
        .ok_or_else(|| Failure::usage(format!("{} is no name of a WAL file", args.name)))?;
    let system = system_id(args, context)?;
    let settings = context.settings()?;
    let ahead = Ahead::beside(&args.path, &settings.url);
    let count = usize::from(args.prefetch);
    if let WalName::Segment(segment) = name
        && count > 0
        && let Some(ahead) = &ahead
        && let Some(size) = ahead.take(segment, system, &args.path, &context.cancel)
    {
        start_ahead(ahead, segment, size, count, context);
        return Ok(Done::Complete);
    }
    let repository = context.unlock(&settings)?;
    match (fetch(&repository, system, name, &args.path)?, name) {
        (Fetched::Absent, WalName::Segment(segment)) if args.partial => {
            ahead.iter().for_each(Ahead::clear);
            let beginning = fetch(&repository, system, WalName::Partial(segment), &args.path)?;
            return Ok(if beginning == Fetched::Absent { Done::Absent } else { Done::Complete });
        }
        (Fetched::Absent, _) => {
            ahead.iter().for_each(Ahead::clear);
            return Ok(Done::Absent);
        }
        (Fetched::Written(Some(size)), WalName::Segment(segment)) if count > 0 => {
            if let Some(ahead) = &ahead {
                start_ahead(ahead, segment, size, count, context);
            }
        }
        (Fetched::Written(_), _) => {}
    }
    Ok(Done::Complete)
}

/// Whose WAL is asked for: the cluster whose data folder the file goes to, or which the current folder is.
fn system_id(args: &FetchArgs, context: &Context) -> Result<u64, Failure> {
    let found = args.system_id.or_else(|| Owner::of_file(&args.path).system);
    found.or_else(|| Owner::of_data_folder(Path::new(".")).system).ok_or_else(|| {
        context.finish_progress();
        Failure::usage("whose WAL this is cannot be told: there is no global/pg_control here")
            .with_hint("run it in the data folder, as PostgreSQL does, or name the cluster with --system-id")
    })
}

/// Starts a process that fetches what comes next, if one is needed. It goes on when this one has ended,
/// in a group of its own, so that no signal for the server's children is one for it. That it cannot be
/// started costs speed only.
fn start_ahead(ahead: &Ahead, name: SegmentName, size: SegmentSize, count: usize, context: &Context) {
    ahead.note(name);
    ahead.tidy(name, size, count);
    if !ahead.is_wanted(name, size, count) {
        return;
    }
    let Ok(program) = context.environment.program() else { return };
    if !ahead.prepare() {
        return;
    }
    let mut command = Command::new(program);
    let mut arguments = env::arguments().into_iter().skip(1);
    // Right after the verb: what follows may stand behind a `--`.
    for argument in arguments.by_ref() {
        let is_verb = argument == OsStr::new("fetch");
        command.arg(argument);
        if is_verb {
            break;
        }
    }
    command.arg(format!("--ahead={}", size.bytes())).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let _ = command.spawn();
}

fn run_ahead(args: &FetchArgs, size: u64, context: &Context) -> Result<Done, Failure> {
    let (name, size) = (WalName::parse(&args.name), SegmentSize::new(size));
    let (Some(WalName::Segment(name)), Some(size)) = (name, size) else {
        return Err(Failure::usage("only what follows a segment can be fetched ahead"));
    };
    let system = system_id(args, context)?;
    let settings = context.settings()?;
    let repository = context.unlock(&settings)?;
    if let Some(ahead) = Ahead::beside(&args.path, &settings.url) {
        ahead.run(&repository, system, name, size, args.prefetch.into(), &context.cancel)?;
    }
    Ok(Done::Complete)
}
