//! `restore pitr`: its arguments, the plan and the result in words.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};

use crate::base::class::Class;
use crate::base::clock::Timestamp;
use crate::cli::commands::restore_files::{Lines, outcome};
use crate::cli::commands::restore_pitr_result::{Document, words};
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::fetch_command::{absolute, fetch_command};
use crate::cli::time;
use crate::ops::restore_pitr::verify::{Relations, VerifyRequest, verify};
use crate::ops::restore_pitr::{self, PitrRequest, Target, TimelineWish, execute, plan};
use crate::postgres::lsn::Lsn;

const EXAMPLES: &str = "\
Examples:
  kamba-vault restore pitr --target /srv/pg --latest
  kamba-vault restore pitr --target /srv/pg --time '2026-11-22 02:59:30+01:00' --dry-run
  kamba-vault restore pitr --target /srv/pg --lsn 16/B374D848 --exclusive --action pause
  kamba-vault restore pitr --target /var/lib/postgresql/15/main --latest --delta
  kamba-vault restore pitr --target /srv/pg --name before_migration --tablespace 16384=/fast/ts --verify

Then: pg_ctl -D /srv/pg start";

/// Restore a whole PostgreSQL cluster as it was at any moment
///
/// Chooses the base backup by itself, makes sure that all WAL and every history file that the recovery needs is
/// in the repository, and only then begins to write. What is left is a folder to start: the server fetches the
/// WAL with 'wal fetch', recovers to the target and opens on a new timeline. A folder whose restore was
/// interrupted does not start; --delta goes on with it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("goal").required(true).args(["latest", "time", "lsn", "xid", "name", "immediate"]))]
pub struct PitrArgs {
    /// The cluster's folder: empty or not there, but for --delta
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,

    /// To the end of the WAL
    #[arg(long)]
    pub latest: bool,

    /// To the last commit of this time or before; without an offset it is this machine's local time
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,

    /// To this position in the WAL
    #[arg(long, value_name = "LSN")]
    pub lsn: Option<Lsn>,

    /// To the end of this transaction, its number as pg_current_xact_id() gives it
    #[arg(long, value_name = "XID")]
    pub xid: Option<u64>,

    /// To the restore point that pg_create_restore_point() made
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// As soon as the base backup is consistent
    #[arg(long)]
    pub immediate: bool,

    /// Stop right before the target instead of right after it
    #[arg(long)]
    pub exclusive: bool,

    /// Follow this timeline: a number, current (the base backup's) or latest
    #[arg(long, value_name = "T", default_value = "latest", value_parser = timeline)]
    pub timeline: TimelineWish,

    /// Begin with this base backup
    #[arg(long, value_name = "SNAPSHOT")]
    pub base: Option<String>,

    /// The cluster, if the repository holds several
    #[arg(long, value_name = "ID")]
    pub system_id: Option<u64>,

    /// Put a tablespace into this folder instead of where it lay; may be repeated
    #[arg(long = "tablespace", value_name = "OID=DIR", value_parser = tablespace)]
    pub tablespaces: Vec<(u32, PathBuf)>,

    /// Over what is there: restore only what differs, and delete what does not belong
    #[arg(long)]
    pub delta: bool,

    /// What the server does at the target
    #[arg(long, value_enum, value_name = "WHAT", default_value = "promote")]
    pub action: Action,

    /// Recover up to the first WAL segment that is missing, although there is more behind it
    #[arg(long)]
    pub allow_gap: bool,

    /// With --delta: restore over WAL in the folder that the repository does not have
    #[arg(long)]
    pub yes: bool,

    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "verify")]
    pub dry_run: bool,

    /// Afterwards start it on a private socket, let it recover, check all relations, and stop it
    ///
    /// It is not opened for writing and nothing is archived: afterwards it can be started for good. With
    /// pg_amcheck where it is installed, and the extension amcheck in the databases.
    #[arg(long)]
    pub verify: bool,

    /// With --verify: the cluster's superuser
    #[arg(long, value_name = "NAME", default_value = "postgres")]
    pub superuser: String,

    /// Let everything belong to the numbers of its owner and group, whatever their names are here
    #[arg(long)]
    pub numeric_ids: bool,

    /// Find pg_ctl and pg_amcheck in this folder instead of PATH
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,
}

/// What the server does at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Open for writing, on a new timeline
    Promote,
    /// Wait, open for reading
    Pause,
    /// Shut down
    Shutdown,
}

fn timeline(text: &str) -> Result<TimelineWish, String> {
    match text {
        "latest" => Ok(TimelineWish::Latest),
        "current" => Ok(TimelineWish::Current),
        number => match number.parse() {
            Ok(number @ 1..) => Ok(TimelineWish::Number(number)),
            _ => Err("expected a number from 1, current or latest".to_owned()),
        },
    }
}

fn tablespace(text: &str) -> Result<(u32, PathBuf), String> {
    let parts = text.split_once('=').and_then(|(oid, folder)| Some((oid.parse().ok()?, folder)));
    match parts {
        Some((oid, folder)) if !folder.is_empty() => Ok((oid, folder.into())),
        _ => Err("expected OID=DIR, such as 16384=/fast/ts".to_owned()),
    }
}

/// Restores.
pub fn run(args: &PitrArgs, context: &Context) -> Result<Done, Failure> {
    let goal = goal(args, context)?;
    let settings = context.settings()?;
    let command = fetch_command(context.environment.program()?, &settings, &context.global)?;
    let repository = context.open()?;
    let base = match &args.base {
        Some(text) => Some(context.find(&repository, text)?.0.id),
        None => None,
    };
    let request = PitrRequest {
        target: absolute(&args.target)?,
        goal,
        exclusive: args.exclusive,
        timeline: args.timeline,
        action: match args.action {
            Action::Promote => restore_pitr::Action::Promote,
            Action::Pause => restore_pitr::Action::Pause,
            Action::Shutdown => restore_pitr::Action::Shutdown,
        },
        base,
        system: args.system_id,
        tablespaces: args.tablespaces.clone(),
        delta: args.delta,
        allow_gap: args.allow_gap,
        discard_wal: args.yes,
        numeric_ids: args.numeric_ids,
        fetch: command.words,
    };
    let mut plan = plan(&repository, &request, context.progress(), &context.cancel)?;
    plan.notes.extend(command.lacking);
    if args.dry_run {
        let document = Document::new(&request, &plan, None, None);
        context.result(&document, || words(&document))?;
        return Ok(Done::Complete);
    }
    let lines = Lines { context, all: context.global.verbose > 0 };
    let restored = execute(&repository, &request, &plan, &lines, context.progress(), &context.cancel)?;
    let verified = match args.verify && restored.is_whole() {
        true => {
            let how = VerifyRequest {
                tools: connection::tools(args.pg_bin_dir.clone(), context),
                temp: context.environment.temp_dir(),
                role: args.superuser.clone(),
            };
            Some(verify(&request, &plan, &how, context.progress(), &context.cancel)?)
        }
        false => None,
    };
    let document = Document::new(&request, &plan, Some(&restored), verified.as_ref());
    context.result(&document, || words(&document))?;
    match (outcome(&restored.files)?, verified.map(|verified| verified.relations)) {
        (_, Some(Relations::Corrupt(_))) => Ok(Done::Damaged),
        (_, Some(Relations::Failed(said))) => {
            let message = format!("pg_amcheck could not check the relations: {said}");
            Err(Failure::new(Class::Failed, message).with_hint(
                "the cluster itself recovered; run pg_amcheck when it is started, with --install-missing",
            ))
        }
        (done, _) => Ok(done),
    }
}

fn goal(args: &PitrArgs, context: &Context) -> Result<Target, Failure> {
    if let Some(text) = &args.time {
        return Ok(Target::Time(moment(text, context)?));
    }
    if let Some(lsn) = args.lsn {
        return Ok(Target::Lsn(lsn));
    }
    if let Some(xid) = args.xid {
        return Ok(Target::Xid(xid));
    }
    if let Some(name) = &args.name {
        return Ok(Target::Name(name.clone()));
    }
    Ok(if args.immediate { Target::Immediate } else { Target::Latest })
}

/// A time to the microsecond. One that is written in whole seconds means their beginning, as in PostgreSQL.
fn moment(text: &str, context: &Context) -> Result<Timestamp, Failure> {
    let usage = |message: String| {
        Failure::usage(message)
            .with_hint("such as '2026-11-22 02:59:30+01:00', or without an offset for local time")
    };
    let whole_text = with_minutes(text.trim());
    let found = time::leading(&whole_text, &context.zone()).map_err(usage)?;
    let found = found.filter(|found| found.len == whole_text.len());
    let found = found.ok_or_else(|| usage(format!("'{text}' is no time")))?;
    let second = 1_000_000_000;
    let whole = !text.contains('.') && found.time.0.rem_euclid(second) == second - 1;
    Ok(if whole { Timestamp(found.time.0 - (second - 1)) } else { found.time })
}

/// A time as PostgreSQL writes it, `2026-11-22 02:59:30+01`, with the minutes of its offset.
fn with_minutes(text: &str) -> String {
    let sign = text.rfind(['+', '-']).filter(|sign| text[..*sign].contains(':'));
    let is_short = sign.is_some_and(|sign| {
        let digits = &text[sign + 1..];
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_short { format!("{text}:00") } else { text.to_owned() }
}

/// The folder's owner, if it is somebody else than this process.
pub(super) fn other_owner(folder: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let owner = folder.metadata().ok()?.uid();
    (owner != rustix::process::geteuid().as_raw()).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        assert_eq!(timeline("3"), Ok(TimelineWish::Number(3)));
        assert_eq!(timeline("current"), Ok(TimelineWish::Current));
        for bad in ["0", "-1", "", "newest"] {
            assert!(timeline(bad).is_err(), "{bad}");
        }
        assert_eq!(with_minutes("2026-11-22 02:59:30.5+01"), "2026-11-22 02:59:30.5+01:00");
        for same in ["2026-11-22 02:59:30+01:30", "2026-11-22 02:59", "2026-11-22", "+01", "ä:-0x"] {
            assert_eq!(with_minutes(same), same);
        }
        assert_eq!(tablespace("5=/a=b"), Ok((5, "/a=b".into())));
        for bad in ["5", "5=", "=x", "x=/y", "-1=/y"] {
            assert!(tablespace(bad).is_err(), "{bad}");
        }
    }
}
