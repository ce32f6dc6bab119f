//! `snapshot base`: its arguments, and what it says.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::base::units;
use crate::cli::commands::snapshot::{self, Provenance};
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::ops::snapshot::{BaseRequest, Made, snapshot_base};
use crate::postgres::base_backup::RATE;
use crate::postgres::lsn::Lsn;

const EXAMPLES: &str = "\
Examples:
  kamba-vault snapshot base
  kamba-vault snapshot base --url postgresql://backup@db1 --tag weekly
  kamba-vault snapshot base --checkpoint spread --max-rate 50M

The role needs the attribute REPLICATION, and pg_hba.conf a line that lets it in:
  CREATE ROLE backup LOGIN REPLICATION;
  host  replication  backup  10.0.0.0/8  scram-sha-256";

/// Store a whole PostgreSQL cluster, for recovery to any point in time
///
/// Comes by the replication protocol, from a server here or elsewhere, also from a standby, with all
/// tablespaces. Of what an earlier base backup of the cluster has, only changes are stored. Checksums of
/// pages are verified on the way; a page that is corrupt is named, the snapshot is marked "incomplete",
/// and the exit status is 3. Recovery also takes the WAL from its start on: archive it with 'wal push'.
/// PostgreSQL 15 or newer.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BaseArgs {
    /// The server as a connection URL, without its password
    ///
    /// Such as postgresql://backup@db1. A password belongs into PGPASSFILE or PGPASSWORD, where no process
    /// list shows it. Without it DATABASE_URL, PGHOST, PGUSER, PGSERVICE and so on count.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// How the checkpoint is made that it begins with
    #[arg(long, value_enum, value_name = "HOW", default_value = "fast")]
    pub checkpoint: Checkpoint,

    /// Do not wait until the server has archived the WAL that the copy needs
    #[arg(long)]
    pub no_wait: bool,

    /// Let the server send no more than so many bytes a second, such as 50M
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub max_rate: Option<u32>,

    /// Find PostgreSQL's client library beside the programs in this folder
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,

    /// What the snapshot carries.
    #[command(flatten)]
    pub provenance: Provenance,
}

/// How a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Checkpoint {
    /// At once: the server is busy with its disks for a while
    Fast,
    /// Over the server's usual time, which can be minutes
    Spread,
}

/// A limit in kibibytes per second.
fn rate(text: &str) -> Result<u32, String> {
    let (least, most) = (u64::from(*RATE.start()) << 10, u64::from(*RATE.end()) << 10);
    let rate = units::parse_bytes(text).filter(|rate| (least..=most).contains(rate));
    rate.and_then(|rate| u32::try_from(rate >> 10).ok())
        .ok_or_else(|| format!("expected a size from {} to {}", units::bytes(least), units::bytes(most)))
}

/// Makes the snapshot.
pub fn run(args: BaseArgs, context: &Context) -> Result<Done, Failure> {
    let request = BaseRequest {
        settings: connection::settings(None, args.url.as_deref(), &context.environment)?,
        tools: connection::tools(args.pg_bin_dir, context),
        fast: args.checkpoint == Checkpoint::Fast,
        wait_for_archive: !args.no_wait,
        max_rate: args.max_rate,
    };
    let repository = context.open()?;
    let provenance = snapshot::provenance(args.provenance, context);
    let made = snapshot_base(&repository, &provenance, &request, context.monitor(), &context.cancel)?;
    snapshot::report(&made, &provenance, context)
}

/// What a base backup is of, for people.
pub(super) fn words(made: &Made) -> String {
    let Some(base) = &made.base else { return String::new() };
    let (start, stop) = (Lsn(base.start), Lsn(base.stop));
    let mut out =
        format!("  cluster {} on timeline {}, WAL from {start} to {stop}\n", base.system, base.timeline);
    if !base.has_checksums() {
        out.push_str("  pages have no checksums: nothing says whether they are corrupt\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_what_a_server_takes() {
        assert_eq!(rate("50M"), Ok(50 << 10));
        assert_eq!(rate("32K"), Ok(32));
        assert_eq!(rate("1G"), Ok(1 << 20));
        for wrong in ["31K", "2G", "fast", ""] {
            assert!(rate(wrong).is_err_and(|said| said.contains("from 32")), "{wrong}");
        }
    }
}
