//! `doctor`: what is wrong with this set-up, and what to type.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::commands::wal_receive;
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::env;
use crate::cli::exit::{Done, Failure};
use crate::cli::table::{Align, Table};
use crate::cli::text;
use crate::ops::doctor::{DoctorRequest, Finding, Level, Report, examine};
use crate::postgres::connect::Settings;

const EXAMPLES: &str = "\
Examples:
  kamba-vault doctor --url postgresql://backup@db1/postgres
  kamba-vault doctor --no-server
  kamba-vault doctor --json | jq -r '.findings[] | select(.level == \"problem\") | .fix'

Exit status: 0 without problems, 1 with some; warnings and notes are none.";

/// Say what is wrong with this set-up, and what to type
///
/// Looks at the repository, at the server that is named by --url or by the environment, and at what the
/// one holds of the other: settings, rights, archiving, streaming, the newest base backup, gaps; and
/// estimates how many commits a failure would cost (RPO) and how long a recovery would take (RTO).
/// Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// The server as a connection URL, without its password
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Look at the repository alone, whatever server the environment names
    #[arg(long, conflicts_with = "url")]
    pub no_server: bool,

    /// The replication slot that WAL is received by
    #[arg(long, value_name = "NAME", default_value = "kamba_vault")]
    pub slot: String,

    /// Where received WAL waits; by default as for 'wal receive'
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,

    /// Find PostgreSQL's client library beside the programs in this folder
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,
}

/// The variables that name a server.
const SERVER: [&str; 5] = [env::DATABASE_URL, "PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"];

/// All of it, for programs.
#[derive(Serialize)]
struct Document {
    /// As text: the number is larger than many programs can hold.
    system_id: Option<String>,
    findings: Vec<FindingDocument>,
    rpo_seconds: Option<f64>,
    rto_seconds: Option<f64>,
}

#[derive(Serialize)]
struct FindingDocument {
    check: &'static str,
    level: &'static str,
    message: String,
    fix: Option<String>,
}

/// Looks and tells.
pub fn run(args: &DoctorArgs, context: &Context) -> Result<Done, Failure> {
    let server = server(args, context)?;
    // Without a place for a spool there is none.
    let spool = wal_receive::spool(args.spool.clone(), context).ok();
    let tools = connection::tools(args.pg_bin_dir.clone(), context);
    let request = DoctorRequest { server, tools, slot: args.slot.clone(), spool };
    let repository = context.open()?;
    let report = examine(&repository, &request, &context.cancel)?;
    let document = Document {
        system_id: report.system.map(|system| system.to_string()),
        findings: report.findings.iter().map(FindingDocument::from).collect(),
        rpo_seconds: report.rpo_seconds,
        rto_seconds: report.rto_seconds,
    };
    context.result(&document, || words(&report))?;
    Ok(if report.worst() == Level::Problem { Done::Problems } else { Done::Complete })
}

/// The server that is meant, if one is named.
fn server(args: &DoctorArgs, context: &Context) -> Result<Option<Settings>, Failure> {
    let environment = &context.environment;
    let is_named = args.url.is_some() || SERVER.iter().any(|name| environment.raw(name).is_some());
    if args.no_server || !is_named {
        return Ok(None);
    }
    connection::settings(None, args.url.as_deref(), environment).map(Some)
}

impl From<&Finding> for FindingDocument {
    fn from(finding: &Finding) -> Self {
        let Finding { check, level, message, fix } = finding.clone();
        FindingDocument { check, level: name(level), message, fix }
    }
}

/// A level's name, in JSON and in tables.
fn name(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Problem => "problem",
    }
}

/// A table, with what to type below each finding that asks for it, and a count.
fn words(report: &Report) -> String {
    let mut table = Table::new(&[
        ("level", Align::Left),
        ("check", Align::Left),
        ("finding, and what to type", Align::Left),
    ]);
    for finding in &report.findings {
        table.row([name(finding.level), finding.check, finding.message.as_str()]);
        for line in finding.fix.iter().flat_map(|fix| fix.lines()) {
            table.row(["", "", &format!("> {line}")]);
        }
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count() as u64;
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    format!("{}{}, {}\n", table.render(), text::count(problems, "problem"), text::count(warnings, "warning"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_stands_below_what_is_wrong() {
        let finding = |level, fix: Option<&str>| Finding {
            check: "wal_level",
            level,
            message: "it is \u{1b}[2J".to_owned(),
            fix: fix.map(str::to_owned),
        };
        let findings = vec![finding(Level::Ok, None), finding(Level::Problem, Some("SET x;\nRESTART"))];
        insta::assert_snapshot!(words(&Report { findings, ..Report::default() }), @r"
        level    check      finding, and what to type
        ok       wal_level  it is \u{1b}[2J
        problem  wal_level  it is \u{1b}[2J
                            > SET x;
                            > RESTART
        1 problem, 0 warnings
        ");
    }
}
