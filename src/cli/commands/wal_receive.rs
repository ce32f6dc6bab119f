//! `wal receive`: its arguments, and where the spool is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::base::clock::SystemClock;
use crate::base::monitor::Monitor;
use crate::base::units;
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::env;
use crate::cli::exit::{Done, Failure};
use crate::ops::wal::receive::{ReceiveRequest, finish, receive};
use crate::ops::wal::switch::{SwitchRequest, keep_switching};

const EXAMPLES: &str = "\
Examples:
  kamba-vault wal receive --url postgresql://backup@db1
  kamba-vault wal receive --slot vault_eu --spool /var/lib/kamba-vault/spool --spool-limit 20G
  kamba-vault wal receive --finish                          the server is gone for good
  kamba-vault wal receive --switch-only --switch-after 60s  archive_command does the rest

For commits that wait until their WAL is in the spool: synchronous_standby_names = '\"kamba-vault\"'.
The role needs the attribute REPLICATION, as for 'snapshot base'.";

/// Receive WAL as it is written, by streaming replication
///
/// Runs until it is stopped. What it acknowledges to the server is on this machine's disk, encrypted, in
/// the spool; whole segments go from there to the repository. While the repository is away they wait; when
/// the spool is full, the server keeps the rest in its slot. Beside it, archive_command may push the
/// same segments: they are stored once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReceiveArgs {
    /// The server as a connection URL, without its password
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// The replication slot, which is made if it is not there
    #[arg(long, value_name = "NAME", default_value = "kamba_vault")]
    pub slot: String,

    /// Where the spool is; by default below /var/lib for root, else in the user's state folder
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,

    /// How large the spool may get
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = size)]
    pub spool_limit: u64,

    /// Store what the spool holds, also the last, unfinished segment, and end
    ///
    /// For a server that is gone for good. No connection is made.
    #[arg(long, conflicts_with_all = ["url", "slot"])]
    pub finish: bool,

    /// Receive nothing, but end segments in time, so that archive_command gets them
    ///
    /// For servers with archive_command and without streaming: a segment that is not full waits, and
    /// archive_timeout alone does not end it for minutes after a restart. An idle server is left alone. The role
    /// needs no REPLICATION, but GRANT EXECUTE ON FUNCTION pg_switch_wal().
    #[arg(long, conflicts_with_all = ["finish", "slot", "spool", "spool_limit"])]
    pub switch_only: bool,

    /// How long WAL waits in a segment that is not full: 30s, 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = span, requires = "switch_only")]
    pub switch_after: Duration,

    /// Find PostgreSQL's client library beside the programs in this folder
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,
}

fn size(text: &str) -> Result<u64, String> {
    units::parse_bytes(text).ok_or_else(|| "expected a size such as 4G".to_owned())
}

fn span(text: &str) -> Result<Duration, String> {
    match units::parse_span(text) {
        Some(span) if span.is_zero() => Err("every moment would be a segment of its own".to_owned()),
        Some(span) => Ok(span),
        None => Err("expected a number of seconds, or one with a unit, such as 90s or 5m".to_owned()),
    }
}

/// Where the spool is, if there is a place for it.
pub fn spool(named: Option<PathBuf>, context: &Context) -> Result<PathBuf, Failure> {
    let environment = &context.environment;
    let system = || environment.is_root().then(|| Path::new("/var/lib").to_path_buf());
    let default =
        || system().or_else(|| environment.user_state_dir()).map(|dir| dir.join("kamba-vault/spool"));
    named.or_else(|| environment.path(env::SPOOL_DIR)).or_else(default).ok_or_else(|| {
        Failure::usage("there is no place for the spool").with_hint("name a folder with --spool")
    })
}

/// Receives.
pub fn run(args: &ReceiveArgs, context: &Context) -> Result<Done, Failure> {
    if args.switch_only {
        let request = SwitchRequest {
            settings: connection::settings(None, args.url.as_deref(), &context.environment)?,
            tools: connection::tools(args.pg_bin_dir.clone(), context),
            after: args.switch_after,
        };
        keep_switching(&request, &SystemClock, context.progress(), &context.cancel)?;
        return Ok(Done::Complete);
    }
    let spool = spool(args.spool.clone(), context)?;
    if args.finish {
        let repository = Arc::new(context.unlock(&context.settings()?)?);
        let stored = finish(repository, &spool, context.monitor(), &context.cancel)?;
        context.progress().note(&match stored.as_slice() {
            [] => format!("the spool {} is empty", spool.display()),
            names => format!("stored {}", names.join(", ")),
        });
        return Ok(Done::Complete);
    }
    let request = ReceiveRequest {
        settings: connection::settings(None, args.url.as_deref(), &context.environment)?,
        tools: connection::tools(args.pg_bin_dir.clone(), context),
        slot: args.slot.clone(),
        spool,
        spool_limit: args.spool_limit,
    };
    let repository = Arc::new(context.unlock(&context.settings()?)?);
    receive(repository, &request, context.monitor(), &context.cancel)?;
    Ok(Done::Complete)
}
